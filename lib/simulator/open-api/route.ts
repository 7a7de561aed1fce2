import { depthOf, type JsonObject, maxDepth, parseObject } from "../../feishu/json.ts";
import { type Answer, NotSimulated, Refusal } from "./answer.ts";

/** The app and the tenant that a call's token stands for. */
export interface Caller {
  readonly appId: string;
  readonly tenant: string;
}

export interface OpenCall {
  /** Name → the segment of the path at `:name`. */
  readonly params: ReadonlyMap<string, string>;
  readonly query: URLSearchParams;
  readonly body: JsonObject;
  readonly nowMs: number;
  /** When the answer is sent: now, unless a rule delays it. */
  readonly answeredAtMs: number;
}

export interface Call extends OpenCall {
  readonly caller: Caller;
}

interface Place {
  readonly method: string;
  /** A segment that begins with a colon matches any text. */
  readonly path: string;
  /** The code for a body that is not a JSON object. */
  readonly malformed: number;
}

/** An operation with its method and path. An open one needs no token. */
export type Route =
  | (Place & { readonly access: "open"; readonly operation: (call: OpenCall) => Answer })
  | (Place & { readonly access: "tenant"; readonly operation: (call: Call) => Answer });

/** So much of a path is shown. */
export const shownPathLength = 300;

/** The parameters of `path`; `undefined` when it does not match the template. */
export function match(template: string, path: string): ReadonlyMap<string, string> | undefined {
  const expected = template.split("/");
  const segments = path.split("/");
  if (expected.length !== segments.length) return undefined;
  const params = new Map<string, string>();
  for (const [index, name] of expected.entries()) {
    const segment = segments[index] ?? "";
    if (!name.startsWith(":")) {
      if (name !== segment) return undefined;
      continue;
    }
    const value = decoded(segment);
    if (value === undefined || value === "") return undefined;
    params.set(name.slice(1), value);
  }
  return params;
}

/** @throws {NotSimulated} No route has the method and the path. */
export function find(routes: readonly Route[], method: string, path: string) {
  for (const route of routes) {
    const params = route.method === method ? match(route.path, path) : undefined;
    if (params !== undefined) return { route, params };
  }
  throw new NotSimulated(method, path.slice(0, shownPathLength));
}

/** Parses a JSON object. Deep nesting is refused, because other code prints the value again. */
export function object(text: unknown): JsonObject | undefined {
  const value = typeof text === "string" ? parseObject(text) : undefined;
  return depthOf(value, maxDepth + 1) <= maxDepth ? value : undefined;
}

/** @throws {Refusal} `code`, when the member is not a string or is empty. */
export function required(fields: JsonObject, name: string, code: number): string {
  const value = fields[name];
  if (typeof value !== "string" || value === "") throw new Refusal(code, `${name} is required`);
  return value;
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined;
  }
}

/**
 * One page of a list. The token of the next page is where it begins.
 * @param limits.code For a page token that no call has returned.
 */
export function page<Item>(
  items: readonly Item[],
  query: URLSearchParams,
  { code, size, maxSize }: { code: number; size: number; maxSize: number },
): { items: readonly Item[]; has_more: boolean; page_token?: string } {
  const token = query.get("page_token") ?? "";
  const start = Number(/^page_(\d{1,9})$/.exec(token)?.[1] ?? (token === "" ? 0 : Number.NaN));
  if (!(start <= items.length)) throw new Refusal(code, "invalid page_token");
  const wanted = Number(query.get("page_size") ?? size);
  if (!Number.isInteger(wanted) || wanted < 1) throw new Refusal(code, "invalid page_size");
  const end = start + Math.min(wanted, maxSize);
  const shown = items.slice(start, end);
  return end < items.length
    ? { items: shown, has_more: true, page_token: `page_${end}` }
    : { items: shown, has_more: false };
}
