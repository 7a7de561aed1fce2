import { enableCompileCache, flushCompileCache, registerHooks } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { callbackDispatcher, dispatcher } from "../../handling/dispatcher.ts";
import { lastGoodVariable, loadLastGood } from "../../local/last-good.ts";
import type { HandlerKind } from "../handlers/generate.ts";
import { isEngine, isPackage } from "../project.ts";

// The program of the process in which `check` loads handler files. It says of each, in turn, what is wrong with it.

export interface Loaded {
  /** `undefined` when all is well. */
  readonly problem?:
    | { readonly text: string; readonly stack?: string | undefined; readonly missing?: Missing | undefined }
    | undefined;
  /** The paths of the project's own modules that were loaded since the message before. */
  readonly modules: readonly string[];
}

/** A module's path or a package's name that cannot be found, and the path of the module that imports it. */
export interface Missing {
  readonly kind: "module" | "package";
  readonly name: string;
  readonly importer: string;
}

interface ToLoad {
  readonly kind: HandlerKind;
  readonly name: string;
  readonly path: string;
}

enableCompileCache();
loadLastGood(process.env[lastGoodVariable]);
let modules: string[] = [];
registerHooks({
  load(url, context, load) {
    const path = url.startsWith("file:") ? fileURLToPath(url) : undefined;
    if (path !== undefined && !isEngine(path) && !isPackage(path)) modules.push(path);
    return load(url, context);
  },
});
process.on("disconnect", () => process.exit(0));
/** A promise that a file leaves behind would end the worker, so it counts as the file's failure. */
let leftBehind = Promise.withResolvers<never>();
process.on("unhandledRejection", (reason) => leftBehind.reject(reason));
process.on("uncaughtException", (error) => leftBehind.reject(error));

// Its own start, which may take seconds on a busy machine, is not part of a file's time.
process.send?.({ ready: true });
process.on("message", async (file: ToLoad) => {
  leftBehind = Promise.withResolvers<never>();
  leftBehind.promise.catch(() => {});
  const problem = await problemOf(file);
  // Node writes its compile cache at exit, but the parent ends this process.
  flushCompileCache();
  process.send?.({ problem, modules } satisfies Loaded);
  modules = [];
});

async function problemOf({ kind, name, path }: ToLoad): Promise<Loaded["problem"]> {
  try {
    await Promise.race([load(kind, name, path), leftBehind.promise]);
    return undefined;
  } catch (error) {
    const stack = error instanceof Error ? error.stack : undefined;
    return { text: textOf(error, kind, name), stack, missing: missingIn(error) };
  }
}

function missingIn(error: unknown): Missing | undefined {
  const { code, message = "" } = Object(error) as { code?: unknown; message?: string };
  if (code !== "ERR_MODULE_NOT_FOUND") return undefined;
  const [, kind, name, importer] = /^Cannot find (module|package) '(.+)' imported from (.+)/.exec(message) ?? [];
  if (name === undefined || importer === undefined) return undefined;
  return { kind: kind === "package" ? kind : "module", name, importer };
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
  const other = error instanceof SyntaxError ? "" : ", or move it from the top level into the handler";
  return `cannot be loaded: ${shown}. Correct it${other}`;
}
