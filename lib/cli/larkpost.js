#!/usr/bin/env node
// Static imports come first, so an old Node prints what to do, and not a syntax error of TypeScript.
import "./check-node.js";
import module from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Before the first TypeScript, so that Node finds it compiled. Halves the start of a short command such as `send`. In the
// environment, because child processes use the cache too.
process.env["NODE_COMPILE_CACHE"] ||= join(tmpdir(), "node-compile-cache");
module.enableCompileCache();

let isRead = true;
// `| head` has read enough. What runs until it is stopped stops as on SIGTERM; all else goes on to its end.
process.stdout.on("error", (error) => {
  if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EPIPE") throw error;
  if (isRead) process.emit("SIGTERM", "SIGTERM");
  isRead = false;
});
// `2>&1 | head` as well, where there is nothing to stop.
process.stderr.on("error", (error) => {
  if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EPIPE") throw error;
});
const { run } = await import("./main.ts");
await run(process.argv.slice(2));
