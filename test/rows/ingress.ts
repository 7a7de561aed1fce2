import type { Row } from "./row.ts";

export const ingressRows: readonly Row[] = [];
