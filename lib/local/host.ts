import { enableCompileCache, flushCompileCache } from "node:module";
import { toLine } from "../trace/log.ts";
import { subscribe } from "../trace/trace.ts";

// A process of its own: one function, loaded by its path as Lambda would, invoked over IPC; or the long connection,
// which is loaded and runs. What it traces goes to the parent, which prints it. A change of code replaces the
// process, not the module.

export interface Invocation {
  readonly id: number;
  readonly event: unknown;
  /** Epoch milliseconds at which the parent ends this process. */
  readonly endsAtMs: number;
}

export type HostMessage =
  | { readonly ready: true }
  | { readonly broken: string }
  | { readonly line: Record<string, unknown>; readonly detail: string | undefined }
  | { readonly id: number; readonly result?: unknown; readonly error?: string };

/** A parent that has gone cannot be told; this process ends with it. */
const tell = (message: HostMessage) => process.send?.(message, () => {});
// Ctrl-C reaches the whole group; the parent decides when this process may go.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));
subscribe("log", (entry) => tell({ line: toLine(entry), detail: detailOf(entry.error) }));

const [, , path = ""] = process.argv;
// Most of what a fresh process loads, the last one had compiled: that takes a third off its start.
enableCompileCache();
try {
  const { handler } = (await import(path)) as { handler: (event: unknown, context: unknown) => unknown };
  process.on("message", ({ id, event, endsAtMs }: Invocation) => {
    const context = { getRemainingTimeInMillis: () => Math.max(0, endsAtMs - Date.now()) };
    void (async () => handler(event, context))().then(
      (result) => tell({ id, result }),
      (error: unknown) => tell({ id, error: detailOf(error) ?? "undefined" }),
    );
  });
  tell({ ready: true });
  // Now, since the process is not left to end by itself.
  flushCompileCache();
} catch (error) {
  tell({ broken: detailOf(error) ?? "undefined" });
}

/** For the developer's own terminal, and only there: messages may quote payloads, so no log has them. */
function detailOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  try {
    return error instanceof Error ? (error.stack ?? String(error)) : String(error);
  } catch {
    return "(it cannot be printed)";
  }
}
