import { createHash } from "node:crypto";
import { type Clock, within } from "../clock.ts";
import { DeadlineError, isError, NonRetryableError, OpenApiError, RetryLaterError } from "../errors.ts";
import { verdictOf } from "./verdicts.ts";

/** Who calls, and for how long: one run of a handler. */
export interface ApiRun {
  /** The run's idempotency key: what is sent for it is sent once, however often it runs. */
  readonly key: string;
  readonly tenant: string | null;
  readonly signal: AbortSignal;
  /** For calls; what the run needs for its own end is left out. */
  readonly remainingMs: () => number;
  /** Is told of each call that failed for good. */
  readonly tell?: ((call: string, failure: OpenApiError) => void) | undefined;
}

export interface ApiResponse {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: unknown;
}

/** One HTTP exchange: how it is done is the sender's business. Rejects when there was no answer. */
export type Send = (attempt: {
  readonly url: URL;
  readonly authorization: string | undefined;
  readonly uuid: Uuid | undefined;
  readonly signal: AbortSignal;
}) => Promise<ApiResponse>;

/** Where a call takes its `uuid`: a forward in its query, the others in their body. */
export interface Uuid {
  readonly value: string;
  readonly in: "body" | "query";
}

export interface Content {
  readonly query?: Readonly<Record<string, unknown>> | undefined;
  readonly body?: Readonly<Record<string, unknown>> | undefined;
}

export interface ApiCall {
  readonly method: string;
  /** On the API's origin; another is refused. */
  readonly url: URL;
  /** Given when the caller brings a token of its own, a user's for one. */
  readonly authorization?: string | undefined;
  /** Another one than the run's. */
  readonly tenant?: string | undefined;
  /** What is sent, beside what the URL says already. */
  readonly content?: Content;
  /** For a call without a token: to get one. */
  readonly isPublic?: boolean;
  /** A `form` takes its time; a `stream` also cannot be sent twice. */
  readonly body?: "form" | "stream" | undefined;
}

export type Call = (call: ApiCall, send: Send) => Promise<ApiResponse>;

export interface TransportOptions {
  readonly origin: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** @param refused The one that the platform did not take. */
  readonly token: (tenant: string | null, refused?: string) => Promise<string>;
}

const tries = 3;
const attemptMs = 10_000;
const firstBackoffMs = 200;
const longestBackoffMs = 5_000;
/** Without the platform's word on it. */
const rateWaitSeconds = 1;
const uuidLength = 50;

/** Calls that send a message, and take a `uuid`: the same one within an hour sends nothing more. */
const sending: readonly (readonly [RegExp, Uuid["in"]])[] = [
  [/^\/open-apis\/im\/v1\/messages$/, "body"],
  [/^\/open-apis\/im\/v1\/messages\/[^/]+\/reply$/, "body"],
  [/^\/open-apis\/im\/v1\/messages\/(?:[^/]+\/forward|merge_forward)$/, "query"],
  [/^\/open-apis\/im\/v1\/threads\/[^/]+\/forward$/, "query"],
];

/** Codes of errors that come before a byte of the request is sent: to repeat it can do no harm. */
const unsent: ReadonlySet<unknown> = new Set([
  ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"],
]);

/**
 * The calls of one run: tokens, deadlines, retries and uuids around whatever sends. Resolves with a success. Errors: a
 * failure that another attempt may mend is an {@link OpenApiError}, or a {@link RetryLaterError} when the platform said
 * when; one that no attempt mends is a {@link NonRetryableError}, its cause the OpenApiError.
 */
export function caller(run: ApiRun, { origin, clock, random, token }: TransportOptions): Call {
  const sent = new Map<string, number>();

  /**
   * What a run sends to one receiver is told apart by its order, not by what it says: a handler that runs again may
   * word it otherwise (the time, a model's answer), and still means the same message.
   */
  function uuidOf({ url, content }: ApiCall): string {
    const place = JSON.stringify([run.key, url.pathname, content?.body?.["receive_id"] ?? null]);
    const nth = (sent.get(place) ?? 0) + 1;
    sent.set(place, nth);
    return createHash("sha256").update(`${nth} ${place}`).digest("hex").slice(0, uuidLength);
  }

  return async (call, send) => {
    const { method, url } = call;
    const what = `${method} ${withoutIds(url.pathname)}`;
    if (url.origin !== origin) {
      throw new NonRetryableError(
        `Cannot call ${url.origin}: the app's token goes to ${origin} only. Check LARK_DOMAIN`,
      );
    }
    const uuidIn = method === "POST" ? sending.find(([path]) => path.test(url.pathname))?.[1] : undefined;
    const uuid = uuidIn === undefined || hasUuid(call, uuidIn) ? undefined : { in: uuidIn, value: uuidOf(call) };
    const isSafe = method === "GET" || method === "HEAD" || uuidIn !== undefined || call.isPublic === true;
    const hasOwn = call.isPublic === true || call.authorization !== undefined;
    let refused: string | undefined;

    const giveUp = (failure: OpenApiError, thrown: Error = failure): Error => {
      run.tell?.(what, failure);
      return thrown;
    };

    for (let attempt = 1; ; attempt++) {
      run.signal.throwIfAborted();
      const leftMs = run.remainingMs();
      if (leftMs <= 0) throw giveUp(new OpenApiError(`Cannot call ${what}: no time is left`));
      const late = () => new DeadlineError(`Cannot call ${what}: no answer in time`);
      const given = hasOwn
        ? undefined
        : await within(clock, leftMs, late, () => token(call.tenant ?? run.tenant, refused)).catch((error: unknown) => {
            // The token's own failures are told where it is asked for.
            throw isError(error, DeadlineError) ? giveUp(new OpenApiError(error.message, { cause: error })) : error;
          });
      const authorization = given === undefined ? call.authorization : `Bearer ${given}`;

      let failure: OpenApiError;
      let resetSeconds = rateWaitSeconds;
      let isUnsent = false;
      try {
        const ms = call.body === undefined ? Math.min(attemptMs, run.remainingMs()) : run.remainingMs();
        const response = await within(clock, ms, late, (signal) =>
          send({ url, authorization, uuid, signal: AbortSignal.any([signal, run.signal]) }),
        );
        const { status, headers, body } = response;
        const apiCode = codeOf(body);
        if (status >= 200 && status < 300 && (apiCode ?? 0) === 0) return response;
        const isSecret = verdictOf(status, apiCode, url.pathname) === "secret";
        const advice = isSecret ? ". Check APP_SECRET and APP_ID, and that the app is in use" : "";
        const found = `the platform answered ${status}, code ${apiCode ?? "none"}${advice}`;
        const logId = headers.get("x-tt-logid");
        failure = new OpenApiError(`Cannot call ${what}: ${found}`, { apiCode, status, logId });
        const reset = headers.get("x-ogw-ratelimit-reset") ?? "";
        if (/^\d{1,6}$/.test(reset)) resetSeconds = Number(reset);
      } catch (error) {
        run.signal.throwIfAborted();
        const code = networkCode(error);
        const reason = isError(error, DeadlineError) ? "it did not answer in time" : `there was no answer (${code})`;
        failure = new OpenApiError(`Cannot call ${what}: ${reason}`, { cause: error });
        isUnsent = unsent.has(code);
      }

      const verdict =
        failure.status === undefined ? "transient" : verdictOf(failure.status, failure.apiCode, url.pathname);
      const isOnce = call.body === "stream" && !isUnsent;
      if (verdict === "permanent") throw giveUp(failure, new NonRetryableError(failure.message, { cause: failure }));
      if (verdict === "token" && given !== undefined && refused === undefined) {
        refused = given;
        if (!isOnce) continue;
        // The next attempt of the event is to find another one.
        await token(call.tenant ?? run.tenant, refused);
      }
      if (verdict === "rate") {
        const waitMs = Math.round(resetSeconds * 1000 * (1 + 0.2 * random()));
        if (isOnce || attempt >= tries || waitMs >= run.remainingMs()) {
          const delaySeconds = Math.max(1, Math.ceil(waitMs / 1000));
          throw giveUp(failure, new RetryLaterError(failure.message, { delaySeconds, cause: failure }));
        }
        await sleep(clock, waitMs, run.signal);
        continue;
      }
      const waitMs = Math.round(random() * Math.min(longestBackoffMs, firstBackoffMs * 2 ** attempt));
      const isWorthIt = verdict === "transient" && (isSafe || isUnsent) && !isOnce;
      if (!isWorthIt || attempt >= tries || waitMs >= run.remainingMs()) throw giveUp(failure);
      await sleep(clock, waitMs, run.signal);
    }
  };
}

/** The caller's own counts where the platform reads it. */
function hasUuid({ url, content }: ApiCall, place: Uuid["in"]): boolean {
  const uuid = content?.[place]?.["uuid"] ?? (place === "query" ? url.searchParams.get("uuid") : undefined);
  return typeof uuid === "string" && uuid !== "";
}

/** The platform's own code in an answer. */
export function codeOf(body: unknown): number | undefined {
  const { code } = Object(body) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** A short word for what went wrong on the way; `fetch` has it in the cause. */
export function networkCode(error: unknown): string {
  const { code, cause } = Object(error) as { code?: unknown; cause?: unknown };
  const found = (Object(cause) as { code?: unknown }).code ?? code;
  return typeof found === "string" ? found : "unknown";
}

/** A path without what stands for its parameters: an id may be somebody's address. */
function withoutIds(path: string): string {
  return path
    .split("/")
    .map((part) => (/^(v\d+|[a-z][a-z_-]*)?$/.test(part) ? part : "…"))
    .join("/");
}

function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const cancel = clock.after(ms, resolve);
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return promise.finally(() => {
    cancel();
    signal.removeEventListener("abort", stop);
  });
}
