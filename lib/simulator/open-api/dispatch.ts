import { type Clock, pause } from "../../clock.ts";
import { type Answer, NotSimulated, notSimulated, Refusal, refused } from "./answer.ts";
import { type Call, type Caller, find, type OpenCall, object, type Route, shownPathLength } from "./route.ts";
import { createRules, replacementFor } from "./rules.ts";
import type { ApiRequest, ApiResponse } from "./server.ts";

/** A call as it may be shown: without headers, body and query. */
export interface LoggedCall {
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  /** `null` when there was no answer. */
  readonly status: number | null;
  readonly code: number | null;
  readonly logId: string;
}

const maxCalls = 10_000;

/** Finds the operation for each request, applies the rules, and keeps a log of the calls. */
export function createDispatch(options: {
  /** The first route that matches a call is used. */
  readonly routes: () => readonly Route[];
  readonly callerOf: (authorization: string | undefined) => Caller;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly onProblem: (error: unknown) => void;
  readonly onMissing: (call: NotSimulated) => void;
}) {
  const { routes, callerOf, clock, newId, onProblem, onMissing } = options;
  const rules = createRules();
  const calls: LoggedCall[] = [];

  function perform(request: ApiRequest, path: string, query: string, delayMs: number): Answer {
    const { method, authorization, body: text, form } = request;
    const { route, params } = find(routes(), method, path);
    const operation = route.access === "open" ? route.operation : inNameOf(callerOf(authorization), route.operation);
    if (text === undefined) return refused(9499, { status: 413, ext: "the body is too large" });
    // A call that needs no members, as to subscribe, may have no body.
    const body = form ?? object(method === "GET" || text === "" ? "{}" : text);
    if (body === undefined) throw new Refusal(route.malformed, "the body is not a JSON object");
    const nowMs = clock.nowMs();
    return operation({ params, query: new URLSearchParams(query), body, nowMs, answeredAtMs: nowMs + delayMs });
  }

  function answerOf(request: ApiRequest, path: string, query: string, delayMs: number): Answer {
    try {
      return perform(request, path, query, delayMs);
    } catch (error) {
      if (error instanceof Refusal) return refused(error.code, { ext: error.message, headers: error.headers });
      if (error instanceof NotSimulated) {
        onMissing(error);
        return notSimulated(error);
      }
      onProblem(error);
      return refused(10500);
    }
  }

  /** Answers a request; `null` closes its connection. Never rejects. */
  async function handle(request: ApiRequest, signal?: AbortSignal): Promise<ApiResponse | null> {
    const { method, url } = request;
    const mark = url.indexOf("?");
    const path = mark === -1 ? url : url.slice(0, mark);
    const query = mark === -1 ? "" : url.slice(mark + 1);
    const atMs = clock.nowMs();
    const logId = `${new Date(atMs).toISOString().replaceAll(/\D/g, "").slice(0, 14)}${newId().toUpperCase()}`;
    const { fault, delayMs = 0 } = rules.take(method, path) ?? {};
    const replacement = replacementFor(fault);
    const performed = replacement === undefined ? answerOf(request, path, query, delayMs) : replacement;
    const result = fault?.kind === "lose-answer" ? null : performed;
    const code = typeof result?.body["code"] === "number" ? result.body["code"] : null;
    calls.push({ atMs, method, path: path.slice(0, shownPathLength), status: result?.status ?? null, code, logId });
    if (calls.length > maxCalls) calls.shift();
    await pause(clock, delayMs, signal);
    if (result === null) return null;
    return {
      status: result.status,
      headers: { "Content-Type": "application/json; charset=utf-8", "X-Tt-Logid": logId, ...result.headers },
      body: JSON.stringify(result.body),
      bytes: result.bytes,
    };
  }

  return {
    handle,
    addRule: rules.add,
    /** The last 10,000 calls, oldest first. */
    calls: (): readonly LoggedCall[] => [...calls],
  };
}

function inNameOf(caller: Caller, operation: (call: Call) => Answer): (call: OpenCall) => Answer {
  return (call) => operation({ ...call, caller });
}
