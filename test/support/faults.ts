import http from "node:http";
import { type Exchange, exchangeOver } from "../../lib/local/exchange.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";

/** What goes wrong with one call. */
export type Fault =
  /** Answered with this error, as AWS words it, and not forwarded. */
  | { readonly kind: "error"; readonly status: number; readonly type: string }
  /** Forwarded, and the answer is lost: the connection is cut. */
  | { readonly kind: "lost" }
  /** Forwarded, and never answered. */
  | { readonly kind: "mute" }
  /** Neither forwarded nor answered. */
  | { readonly kind: "stall" }
  /** Like `stall`, but forwarded at last, by `release`: a request that arrives long after its caller gave up. */
  | { readonly kind: "hold" }
  /** Not forwarded, and the connection is cut: it had died while its owner was frozen. */
  | { readonly kind: "cut" }
  /** Forwarded; the answer's checksum is another one. */
  | { readonly kind: "checksum" }
  /** Forwarded; the answer is `{}`. */
  | { readonly kind: "empty" };

export const unavailable: Fault = { kind: "error", status: 503, type: "com.amazonaws.sqs#ServiceUnavailable" };
export const internal: Fault = {
  kind: "error",
  status: 500,
  type: "com.amazonaws.dynamodb.v20120810#InternalServerError",
};
export const throttled: Fault = {
  kind: "error",
  status: 400,
  type: "com.amazon.coral.availability#ThrottlingException",
};
export const denied: Fault = { kind: "error", status: 403, type: "com.amazon.coral.service#AccessDeniedException" };
export const expired: Fault = { kind: "error", status: 403, type: "com.amazon.coral.service#ExpiredTokenException" };

export interface Call {
  /** `SendMessage`, `PutItem`, … */
  readonly action: string;
  /** Which try of the client this is, from 1. */
  readonly attempt: number;
  /** The same try once more, since its connection had ended. */
  readonly isRepeated: boolean;
  readonly body: Readonly<Record<string, unknown>>;
  readonly authorization: string;
  /** The connection has carried a call before. */
  readonly reused: boolean;
}

export interface Faults {
  readonly endpoint: string;
  /**
   * Makes calls of an action (`*`: any) go wrong. `when` picks them: a probability, a script, or all. The
   * first rule that picks a call decides. Returns the rule's end.
   */
  inject(action: string, fault: Fault, when?: (call: Call, nth: number) => boolean): () => void;
  /** Ends every rule, forgets what is held back, and counts from 0 again. */
  reset(): void;
  /** Is told every call as it arrives, until the returned function is called. */
  watch(listener: (call: Call) => void): () => void;
  /** No rule is in force and nobody watches: calls might as well go {@link Faults.straight}. */
  isIdle(): boolean;
  /** Hands a call on without a connection, and counts it like the others. */
  straight: Exchange;
  /** How often a kind of fault was injected. */
  injected(kind: Fault["kind"]): number;
  /** Calls that arrived, retries included. */
  calls(action: string): number;
  /** Forwards what was held back, oldest first. */
  release(): Promise<void>;
  /** Resolves once nothing is on its way; calls that are never answered do not count. */
  quiet(): Promise<void>;
  /** Cuts the connections that are kept open between two calls. */
  closeIdle(): void;
  stop(): Promise<void>;
}

/** Picks a share of the calls, by an injected randomness. */
export function share(probability: number, random: () => number): () => boolean {
  return () => random() < probability;
}

export const firstTry = ({ attempt, isRepeated }: Call): boolean => attempt === 1 && !isRepeated;

/** The call that a request of AWS's JSON protocols is. */
export const actionOf = (headers: http.IncomingHttpHeaders): string =>
  String(headers["x-amz-target"]).replace(/^.*\./, "");

/**
 * An HTTP proxy on 127.0.0.1 between a client of AWS and an embedded service, which loses, delays and refuses calls as told.
 *
 * @param rewrite Changes what is forwarded of a call; whoever watches sees what was asked.
 */
export async function startFaults(
  target: string | Exchange,
  rewrite: (call: Call) => Readonly<Record<string, unknown>> = ({ body }) => body,
): Promise<Faults> {
  const { exchange, destroy } =
    typeof target === "string" ? exchangeOver(target) : { exchange: target, destroy: () => {} };
  const used = new WeakSet<object>();
  const signatures = new Set<string>();
  const rules = new Set<{ action: string; fault: Fault; when: (call: Call, nth: number) => boolean; seen: number }>();
  const listeners = new Set<(call: Call) => void>();
  const injections = new Map<string, number>();
  const arrivals = new Map<string, number>();
  let held: (() => Promise<unknown>)[] = [];
  let active = 0;
  const waiting: (() => void)[] = [];

  const count = (counts: Map<string, number>, name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);
  const finished = () => {
    if (--active > 0) return;
    for (const resolve of waiting.splice(0)) resolve();
  };

  // It never closes an idle connection by itself: a client's first try, sent just then, would not arrive.
  const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
    active++;
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const { authorization = "" } = request.headers;
      const call: Call = {
        action: actionOf(request.headers),
        attempt: Number(/attempt=(\d+)/.exec(String(request.headers["amz-sdk-request"]))?.[1] ?? 1),
        body: JSON.parse(body.toString("utf8")),
        authorization,
        isRepeated: signatures.has(authorization),
        reused: used.has(request.socket),
      };
      signatures.add(authorization);
      used.add(request.socket);
      count(arrivals, call.action);
      for (const listener of listeners) listener(call);
      const asked = rewrite(call);
      const onward = asked === call.body ? body : Buffer.from(JSON.stringify(asked));
      serve(request, response, onward, pick(call))
        .catch(() => response.destroy())
        .finally(finished);
    });
  });

  const straight: Exchange = async (headers, bytes) => {
    active++;
    try {
      const action = actionOf(headers);
      count(arrivals, action);
      const body = JSON.parse(String(bytes));
      const asked = rewrite({ action, attempt: 1, isRepeated: false, body, authorization: "", reused: true });
      return await exchange(headers, asked === body ? bytes : Buffer.from(JSON.stringify(asked)));
    } finally {
      finished();
    }
  };

  function pick(call: Call): Fault | undefined {
    for (const rule of rules) {
      if (rule.action !== "*" && rule.action !== call.action) continue;
      if (rule.when(call, ++rule.seen)) return rule.fault;
    }
    return undefined;
  }

  async function serve(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    body: Buffer,
    fault: Fault | undefined,
  ): Promise<void> {
    if (fault !== undefined) count(injections, fault.kind);
    switch (fault?.kind) {
      case "error": {
        response.writeHead(fault.status, { "content-type": "application/x-amz-json-1.0" });
        response.end(JSON.stringify({ __type: fault.type, message: "injected" }));
        return;
      }
      case "stall":
        return;
      case "hold":
        held.push(() => exchange(request.headers, body));
        return;
      case "cut":
        request.socket.destroy();
        return;
      case "lost":
        await exchange(request.headers, body);
        request.socket.destroy();
        return;
      case "mute":
        await exchange(request.headers, body);
        return;
    }
    const answer = await exchange(request.headers, body);
    const { "transfer-encoding": _, connection: __, ...headers } = answer.headers;
    const text = fault?.kind === "empty" ? Buffer.from("{}") : answer.body;
    const sent = fault?.kind === "checksum" ? Buffer.from(String(text).replace(/(MD5\w+":")../, "$1zz")) : text;
    response.writeHead(answer.status, { ...headers, "content-length": sent.length });
    response.end(sent);
  }

  const ownPort = await listenOnLoopback(server);
  return {
    endpoint: `http://127.0.0.1:${ownPort}`,
    inject(action, fault, when = () => true) {
      const rule = { action, fault, when, seen: 0 };
      rules.add(rule);
      return () => void rules.delete(rule);
    },
    reset() {
      rules.clear();
      injections.clear();
      arrivals.clear();
      held = [];
    },
    watch(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    isIdle: () => rules.size === 0 && listeners.size === 0,
    straight,
    injected: (kind) => injections.get(kind) ?? 0,
    calls: (action) => arrivals.get(action) ?? 0,
    async release() {
      for (const deliver of held.splice(0)) await deliver();
    },
    quiet: () => (active === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    closeIdle: () => server.closeIdleConnections(),
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      destroy();
    },
  };
}
