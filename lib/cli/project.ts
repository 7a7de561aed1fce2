import { resolve } from "node:path";

/** The project's folder: the one this file is in, unless `LARKPOST_ROOT` names another. */
export function projectRoot(): string {
  return resolve(process.env["LARKPOST_ROOT"] ?? resolve(import.meta.dirname, "../.."));
}
