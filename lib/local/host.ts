import { flushCompileCache } from "node:module";
import { pathToFileURL } from "node:url";
import { describeError } from "../trace/error.ts";
import { toLine } from "../trace/log.ts";
import { subscribe } from "../trace/trace.ts";
import { lastGoodVariable, loadLastGood } from "./last-good.ts";

// The program of a child process. It loads one module: a function, which the parent invokes over IPC, or the long
// connection, which then runs by itself. Trace entries go to the parent, which prints them. When code changes, the
// parent starts a new process, because Node cannot unload a module.

export interface Invocation {
  readonly id: number;
  readonly event: unknown;
  /** Epoch milliseconds at which the parent ends this process. */
  readonly endsAtMs: number;
}

export type HostMessage =
  /** The module is loaded. */
  | { readonly ready: true }
  /** The module cannot be loaded. */
  | { readonly broken: string }
  /** The answer to a ping: the process is not blocked. */
  | { readonly pong: true }
  /** Sent by the long connection itself. */
  | { readonly isConnected: boolean }
  | { readonly line: Record<string, unknown>; readonly detail: string | undefined }
  | { readonly id: number; readonly result?: unknown; readonly error?: string };

/** The empty callback ignores the error when the parent has exited; this process then exits as well. */
const send = (message: HostMessage) => process.send?.(message, () => {});
// Ctrl-C signals the whole process group. The parent ends this process once its work is done.
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));
subscribe("log", (entry) => send({ line: toLine(entry, describeError), detail: detailOf(entry.error) }));

const [, , path = ""] = process.argv;
loadLastGood(process.env[lastGoodVariable]);
try {
  const { handler } = (await import(pathToFileURL(path).href)) as {
    handler: (event: unknown, context: unknown) => unknown;
  };
  process.on("message", (message: Invocation | { ping: true }) => {
    if ("ping" in message) return void send({ pong: true });
    const { id, event, endsAtMs } = message;
    const context = { getRemainingTimeInMillis: () => Math.max(0, endsAtMs - Date.now()) };
    void (async () => handler(event, context))()
      .then(
        (result) => send({ id, result }),
        (error: unknown) => send({ id, error: detailOf(error) ?? "undefined" }),
      )
      .finally(flushCompileCache);
  });
  send({ ready: true });
  // Node writes its compile cache at exit, but this process is ended by SIGKILL. The worker loads a handler with its
  // first event.
  flushCompileCache();
} catch (error) {
  send({ broken: detailOf(error) ?? "undefined" });
}

/** What a failed `fetch` met is its cause; with two addresses, it is in the `errors` of that. */
function causesOf(error: Error): unknown[] {
  const errors = error instanceof AggregateError ? error.errors : [];
  return [error.cause, ...errors].filter((cause) => cause !== undefined);
}

function causeLines(error: Error, depth = 4): string[] {
  const deeper = (cause: unknown) => (cause instanceof Error && depth > 1 ? causeLines(cause, depth - 1) : []);
  return causesOf(error).flatMap((cause) => [`caused by ${named(String(cause), cause)}`, ...deeper(cause)]);
}

/** Its frames, or its first cause's: V8 gives the error of `Promise.any` none. */
function framesOf(error: Error, depth = 4): string[] {
  const frames = (error.stack ?? "").split(/\n(?= {4}at )/).slice(1);
  const cause = causesOf(error).find((each) => each instanceof Error);
  return frames.length > 0 || cause === undefined || depth === 1 ? frames : framesOf(cause, depth - 1);
}

/** A class that sets no `name` prints as the class it extends. */
function named(text: string, error: unknown): string {
  return error instanceof Error ? text.replace(/^\w*Error\b/, describeError(error).errorClass) : text;
}

/**
 * An error's stack and causes, after Feishu's own words, for the developer's terminal only. Words and message may quote a
 * payload, so they must not be logged.
 */
function detailOf(error: unknown): string | undefined {
  if (error === undefined) return undefined;
  try {
    if (!(error instanceof Error)) return String(error);
    const { cause, platformMessage = Object(cause).platformMessage } = error as {
      cause?: unknown;
      platformMessage?: unknown;
    };
    const isTold = platformMessage === undefined || error.message.includes(String(platformMessage));
    const words = isTold ? [] : [`Feishu says: ${JSON.stringify(platformMessage)}`];
    const [head = ""] = (error.stack ?? String(error)).split(/\n(?= {4}at )/, 1);
    return [...words, named(head, error), ...causeLines(error), ...framesOf(error)].join("\n");
  } catch {
    return "(it cannot be printed)";
  }
}
