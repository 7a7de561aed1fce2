import { apiRows } from "./api.ts";
import { callbackRows } from "./callback.ts";
import { deskRows } from "./desk.ts";
import { ingressRows } from "./ingress.ts";
import { lanesRows } from "./lanes.ts";
import { longConnectionRows } from "./long-connection.ts";
import { platformRows } from "./platform.ts";
import type { Row } from "./row.ts";
import { workerRows } from "./worker.ts";

export const rows: readonly Row[] = [
  ...ingressRows,
  ...workerRows,
  ...deskRows,
  ...callbackRows,
  ...platformRows,
  ...apiRows,
  ...longConnectionRows,
  ...lanesRows,
];
