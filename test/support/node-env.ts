import { tmpdir } from "node:os";
import { join } from "node:path";

const { NODE_COMPILE_CACHE = join(tmpdir(), "larkpost-compile-cache"), PATH = "", GOGC, GLIBC_TUNABLES } = process.env;
const given = Object.entries({ GOGC, GLIBC_TUNABLES }).flatMap(([name, value]) =>
  value === undefined ? [] : [[name, value]],
);

/** What a test's process has of this one's environment, so that it starts as fast. No other setting reaches it. */
export const nodeEnv: Readonly<Record<string, string>> = { PATH, NODE_COMPILE_CACHE, ...Object.fromEntries(given) };
