import { globSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isObject, type JsonObject } from "../../feishu/json.ts";
import type { Answer } from "./answer.ts";
import type { Call, Caller, Route } from "./route.ts";
import type { Templates } from "./templates.ts";

/** What a project's own route is called with. */
export interface OwnCall<Params = Readonly<Record<string, string>>> {
  /** The segments of the path at `:name`. */
  readonly params: Params;
  readonly query: URLSearchParams;
  readonly body: JsonObject;
  /** The app that calls, and in which tenant. */
  readonly caller: Caller;
  readonly nowMs: number;
}

/**
 * What a call is answered with: its `data`; the whole body, if it has a numeric `code` (any but 0 refuses the call); or a
 * file's bytes.
 */
export type OwnAnswer = object;

type ParamsOf<Path extends string> = Path extends `${string}/:${infer Name}/${infer Rest}`
  ? Readonly<Record<Name, string>> & ParamsOf<`/${Rest}`>
  : Path extends `${string}/:${infer Name}`
    ? Readonly<Record<Name, string>>
    : unknown;

/** Method and path → a fixed answer, or a function of the call. */
export type OwnAnswers<Keys extends string = string> = {
  readonly [Key in Keys]: OwnAnswer | ((call: OwnCall<ParamsOf<Key>>) => OwnAnswer);
};

type Key = `${"GET" | "POST" | "PUT" | "PATCH" | "DELETE"} /open-apis/${string}`;

/**
 * Answers to calls that the simulated Feishu does not know, or answers otherwise. A file in `test/simulated/` exports
 * them as its default. A segment of a path that begins with a colon matches any text.
 */
export function answers<Keys extends Key>(ownAnswers: OwnAnswers<Keys>): OwnAnswers {
  return ownAnswers as OwnAnswers;
}

/** @throws {TypeError} A key is not a method and a path. */
export function ownRoutes(ownAnswers: OwnAnswers): Route[] {
  return Object.entries(ownAnswers).map(([key, own]): Route => {
    const [, method, path] = /^(GET|POST|PUT|PATCH|DELETE) (\/open-apis\/\S+)$/.exec(key) ?? [];
    if (method === undefined || path === undefined) {
      throw new TypeError(`"${key}" is not a method and a path, like "GET /open-apis/drive/v1/files/:token"`);
    }
    const operation = ({ params, ...call }: Call) =>
      toAnswer(key, typeof own === "function" ? own({ ...call, params: Object.fromEntries(params) } as never) : own);
    return { method, path, access: "tenant", malformed: 9499, operation };
  });
}

/** @throws {TypeError} It is not an answer. */
function toAnswer(key: string, own: unknown): Answer {
  if (own instanceof Uint8Array) {
    return { status: 200, body: {}, bytes: own, headers: { "Content-Type": "application/octet-stream" } };
  }
  const wrong = (what: string) => new TypeError(`Cannot answer "${key}" as test/simulated/ says: ${what}`);
  if (own instanceof Promise) throw wrong("it is a promise, and an answer cannot wait");
  if (!isObject(own)) throw wrong("it is not an object");
  try {
    JSON.stringify(own);
  } catch (error) {
    throw wrong(`it is not JSON: ${String(error)}`);
  }
  const { code } = own;
  if (typeof code !== "number") return { status: 200, body: { code: 0, msg: "success", data: own } };
  return { status: code === 0 ? 200 : 400, body: { msg: code === 0 ? "success" : "refused", ...own } };
}

let loads = 0;

/** What a file in `test/simulated/` may export. */
interface OwnFile {
  readonly default?: OwnAnswers;
  readonly templates?: Templates;
}

/**
 * Loads the answers and the templates in a project's `test/simulated/*.ts`, each time anew.
 * @throws The error of a file, with its path in front. Then nothing has changed.
 */
export async function loadOwn(
  root: string,
  simulated: { setAnswers(answers: readonly OwnAnswers[]): void; setTemplates(templates: Templates): void },
): Promise<void> {
  const files = globSync("test/simulated/*.ts", { cwd: root }).sort();
  loads++;
  const loaded = await Promise.all(
    files.map(async (file) => {
      try {
        const module = (await import(`${pathToFileURL(join(root, file)).href}?${loads}`)) as OwnFile;
        const { default: own = {}, templates = {} } = module;
        if (!isObject(own) || (module.default === undefined && module.templates === undefined)) {
          throw new TypeError("it has no answers as its default export, and no templates");
        }
        ownRoutes(own);
        return { own, templates };
      } catch (error) {
        throw new Error(`Cannot load ${file}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }),
  );
  simulated.setAnswers(loaded.map(({ own }) => own));
  simulated.setTemplates(Object.assign({}, ...loaded.map(({ templates }) => templates)));
}
