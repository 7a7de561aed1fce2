import { hash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { generate } from "../../lib/cli/handlers/generate.ts";

const root = resolve(import.meta.dirname, "../..");
/** The handler files that the engine's own tests run: those of `functions/` are the user's. */
export const fixtureApp = join(import.meta.dirname, "../fixtures/app");

type Handlers = Readonly<Record<string, string>>;
/** In a URL each of these characters means something: a path that is taken for a URL ends elsewhere. */
export const oddName = "larkpost a#b?c%20d&e-";

/**
 * A clone of the project in a temporary folder, with other handler files: the entries are copies, the
 * rest is linked. `handlers` maps a file's name (an event type) to its source, `callbacks` a callback type.
 *
 * @param options.isWhole Copies lib and infra too, for a test that edits one of their files.
 */
export async function temporaryProject(handlers: Handlers, callbacks: Handlers = {}, { isWhole = false } = {}) {
  const folder = freeFolder(hash("sha1", JSON.stringify([root, handlers, callbacks])).slice(0, 8));
  for (const kind of ["events", "callbacks"]) mkdirSync(join(folder, "functions", kind), { recursive: true });
  const entries = ["callback", "long-connection", "webhook", "worker"].map((name) => `functions/${name}.ts`);
  for (const file of ["package.json", ...entries]) cpSync(join(root, file), join(folder, file));
  for (const name of ["lib", "infra"]) {
    if (isWhole) cpSync(join(root, name), join(folder, name), { recursive: true });
    else symlinkSync(join(root, name), join(folder, name), "dir");
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"), "dir");
  const write = (name: string, source: string, kind: "events" | "callbacks" = "events") =>
    writeFileSync(join(folder, "functions", kind, `${name}.ts`), source);
  for (const [name, source] of Object.entries(handlers)) write(name, source);
  for (const [name, source] of Object.entries(callbacks)) write(name, source, "callbacks");
  await generate({ root: folder });
  return {
    root: folder,
    state: join(folder, "state"),
    /** Writes a handler file, as a developer's editor does. */
    write,
    remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }),
  };
}

/** How many folders of each name this process has had. One that comes again would find modules that are loaded. */
const taken = new Map<string, number>();

/** A new folder. The next run gets the same, so that Node finds there what it compiled for this one. */
export function freeFolder(name: string): string {
  const number = taken.get(name) ?? 0;
  taken.set(name, number + 1);
  const folder = join(tmpdir(), `${oddName}${name}-${number}`);
  try {
    mkdirSync(folder);
    return folder;
  } catch (error) {
    // Another process has it, or one that was killed.
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return freeFolder(name);
    throw error;
  }
}

/** The same with the handlers of `test/fixtures/app`, and others. */
export function fixtureProject(others: { events?: Handlers; callbacks?: Handlers } = {}) {
  const { events, callbacks } = others;
  return temporaryProject({ ...sourcesOf("events"), ...events }, { ...sourcesOf("callbacks"), ...callbacks });
}

function sourcesOf(kind: "events" | "callbacks"): Record<string, string> {
  const files = readdirSync(join(fixtureApp, kind));
  return Object.fromEntries(
    files.map((file) => [basename(file, ".ts"), readFileSync(join(fixtureApp, kind, file), "utf8")]),
  );
}
