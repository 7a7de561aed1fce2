import { depthOf, isObject, type JsonObject, maxDepth } from "../../feishu/json.ts";
import { type Answer, Refusal } from "./answer.ts";

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

/** @throws {Refusal} 404 when no route has the path; 405 when only routes with other methods have it. */
export function find(routes: readonly Route[], method: string, path: string) {
  let isPath = false;
  for (const route of routes) {
    const params = match(route.path, path);
    if (params === undefined) continue;
    if (route.method === method) return { route, params };
    isPath = true;
  }
  throw new Refusal(isPath ? 99991301 : 99991201);
}

/** Parses a JSON object. Deep nesting is refused, because other code prints the value again. */
export function object(text: unknown): JsonObject | undefined {
  if (typeof text !== "string") return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) && depthOf(value, maxDepth + 1) <= maxDepth ? value : undefined;
  } catch {
    return undefined;
  }
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
