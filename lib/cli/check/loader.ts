import { enableCompileCache } from "node:module";
import { pathToFileURL } from "node:url";
import { callbackDispatcher, dispatcher } from "../../handling/dispatcher.ts";
import { lastGoodVariable, loadLastGood } from "../../local/last-good.ts";
import type { HandlerKind } from "../handlers/generate.ts";

// The program of the process in which `check` loads handler files. It says of each, in turn, what is wrong with it.

export interface Loaded {
  /** `undefined` when all is well. */
  readonly problem?: { readonly text: string; readonly stack?: string | undefined } | undefined;
}

interface ToLoad {
  readonly kind: HandlerKind;
  readonly name: string;
  readonly path: string;
}

enableCompileCache();
loadLastGood(process.env[lastGoodVariable]);
process.on("disconnect", () => process.exit(0));
/** A promise that a file leaves behind would end the worker, so it counts as the file's failure. */
let leftBehind = Promise.withResolvers<never>();
process.on("unhandledRejection", (reason) => leftBehind.reject(reason));
process.on("uncaughtException", (error) => leftBehind.reject(error));

process.once("message", async (files: readonly ToLoad[]) => {
  for (const file of files) {
    leftBehind = Promise.withResolvers<never>();
    leftBehind.promise.catch(() => {});
    await process.send?.({ problem: await problemOf(file) } satisfies Loaded);
  }
});

async function problemOf({ kind, name, path }: ToLoad): Promise<Loaded["problem"]> {
  try {
    await Promise.race([load(kind, name, path), leftBehind.promise]);
    return undefined;
  } catch (error) {
    const stack = error instanceof Error ? error.stack : undefined;
    return { text: textOf(error, kind, name), stack };
  }
}

async function load(kind: HandlerKind, name: string, path: string): Promise<void> {
  const list = { [name]: () => import(pathToFileURL(path).href) };
  if (kind === "events") await dispatcher(list)(name)?.load();
  else await callbackDispatcher(list)(name);
  // What it has begun and not awaited has had its chance to fail.
  await new Promise((resolve) => setImmediate(resolve));
}

function textOf(error: unknown, kind: HandlerKind, name: string): string {
  const { code, message = String(error) } = Object(error) as { code?: unknown; message?: string };
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX") {
    return `${message}. Node only strips types, so write it as JavaScript (for an enum, a constant object)`;
  }
  const prefix = `Cannot load functions/${kind}/${name}.ts: `;
  if (message.startsWith(prefix)) return message.slice(prefix.length);
  const shown = error instanceof Error ? `${error.name}: ${message}` : `it threw ${message}, not an error`;
  return `cannot be loaded: ${shown}. Correct it, or move it from the top level into the handler`;
}
