import { type Clock, pause, withDeadline } from "../clock.ts";
import {
  DeadlineError,
  isError,
  NonRetryableError,
  notSimulatedCode,
  OpenApiError,
  RetryLaterError,
} from "../errors.ts";
import { fieldsOf } from "../feishu/json.ts";
import { networkCode } from "../https.ts";
import { publish, type TraceEntry } from "../trace/trace.ts";
import { refusalParts } from "./refusal-parts.ts";
import { type Sending, type Uuid, uuidMaker, uuidPlace } from "./uuid.ts";
import { type ApiVerdict, verdictOf } from "./verdicts.ts";

/** The run of a handler that makes the calls. */
export interface ApiRun {
  /** The run's idempotency key. A message is sent once per key, however often the handler runs. */
  readonly key: string;
  readonly tenant: string | null;
  readonly signal: AbortSignal;
  /** The time for calls, without what the run needs to record its outcome. */
  readonly remainingMs: () => number;
  /** The event, for the log. A call for a token has none, since many events may wait for the token. */
  readonly event?: Pick<TraceEntry, "id" | "type" | "app" | "requestId">;
}

export interface ApiResponse {
  readonly status: number;
  /** Names are in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: unknown;
}

/** One HTTP exchange. Rejects when there is no answer. */
export type Exchange = (attempt: {
  readonly url: URL;
  readonly authorization: string | undefined;
  readonly uuid: Uuid | undefined;
  readonly signal: AbortSignal;
}) => Promise<ApiResponse>;

export interface ApiRequest extends Sending {
  /** The caller's own token, like a user's. */
  readonly authorization?: string | undefined;
  /** Another tenant than the run's. */
  readonly tenant?: string | undefined;
  /** The call needs no token. */
  readonly isPublic?: boolean;
  /** A second one changes nothing, so it may be repeated without a uuid. */
  readonly isRepeatable?: boolean | undefined;
  /** A `form` may take longer than other calls, and so may a `file` that comes. A `stream` may too, and cannot be sent twice. */
  readonly body?: "form" | "file" | "stream" | undefined;
}

export type Transport = (request: ApiRequest, exchange: Exchange) => Promise<ApiResponse>;

interface TransportOptions {
  readonly origin: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** @param refused The token that the platform refused. */
  readonly token: (tenant: string | null, refused?: string) => Promise<string>;
}

/** Why one attempt failed. */
interface Failure {
  readonly error: OpenApiError;
  /** What can be logged of the platform's words. */
  readonly parts?: Readonly<Record<string, string | undefined>>;
  readonly verdict: ApiVerdict;
  /** No byte of the request was sent, so it can be repeated. */
  readonly isUnsent: boolean;
  /** After how long the platform takes calls again. */
  readonly resetSeconds: number;
}

/** A refusal of a call for a file is read up to here, for its code. */
export const refusalBytes = 64 * 1024;
const maxAttempts = 3;
const attemptMs = 10_000;
const firstBackoffMs = 200;
const defaultResetSeconds = 1;

/** Codes of errors that come before a byte of the request is sent. */
const unsentCodes = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ERR_PROXY_TUNNEL)$/;

/**
 * Adds tokens, deadlines, retries and uuids to the exchanges of one run. Resolves with a successful answer. Rejects with
 * an {@link OpenApiError} when another attempt may succeed, with a {@link RetryLaterError} when the platform said when
 * to retry, and with a {@link NonRetryableError} when no attempt can succeed; the `cause` of both is the OpenApiError.
 */
export function createTransport(run: ApiRun, options: TransportOptions): Transport {
  const { origin, clock, random } = options;
  const uuidOf = uuidMaker(run.key);
  return async (request, exchange) => {
    const { method, url } = request;
    const call = `${method} ${withoutIds(url.pathname)}`;
    if (url.origin !== origin) {
      throw new NonRetryableError(
        `Cannot call ${url.origin}: the app's token goes to ${origin} only. Check LARK_DOMAIN`,
      );
    }
    const uuid = uuidOf(request);
    const isSafe = method === "GET" || method === "HEAD" || request.isPublic === true;
    const isRepeatable = isSafe || uuidPlace(request) !== undefined || request.isRepeatable === true;
    const hasToken = request.isPublic === true || request.authorization !== undefined;
    const tenant = request.tenant ?? run.tenant;
    let refused: string | undefined;

    const startMs = clock.nowMs();
    const callMs = () => Math.round(clock.nowMs() - startMs);
    const giveUp = ({ error, parts }: Pick<Failure, "error" | "parts">, thrown: Error = error): Error => {
      const { status, apiCode, logId } = error;
      const failed = { message: "A call of the Open API failed", call, status, apiCode };
      const facts = { ...failed, callMs: callMs(), logId, ...parts };
      publish({ stage: "log", level: "warn", ...run.event, facts });
      return thrown;
    };
    const late = () => new DeadlineError(`Cannot call ${call}: no answer in time`);

    for (let attempt = 1; ; attempt++) {
      run.signal.throwIfAborted();
      const leftMs = run.remainingMs();
      if (leftMs <= 0) throw giveUp({ error: new OpenApiError(`Cannot call ${call}: no time is left`) });
      const token = hasToken
        ? undefined
        : await withDeadline(clock, { ms: leftMs, error: late }, () => options.token(tenant, refused)).catch(
            (error: unknown) => {
              // A failure to get a token is logged by the call for it.
              throw isError(error, DeadlineError)
                ? giveUp({ error: new OpenApiError(error.message, { cause: error }) })
                : error;
            },
          );
      const authorization = token === undefined ? request.authorization : `Bearer ${token}`;

      const ms = request.body === undefined ? Math.min(attemptMs, run.remainingMs()) : run.remainingMs();
      let failure: Failure;
      try {
        const response = await withDeadline(clock, { ms, error: late }, (signal) =>
          exchange({ url, authorization, uuid, signal: AbortSignal.any([signal, run.signal]) }),
        );
        if (isSuccess(response)) {
          const { status, headers, body } = response;
          const facts = { call, status, apiCode: codeOf(body), callMs: callMs(), logId: headers.get("x-tt-logid") };
          if (run.event !== undefined) publish({ stage: "called", level: "debug", ...run.event, facts });
          return response;
        }
        failure = refusalOf(response, call, url.pathname);
      } catch (error) {
        run.signal.throwIfAborted();
        failure = noAnswer(error, call);
      }

      const { error, verdict } = failure;
      const canRepeat = request.body !== "stream" || failure.isUnsent;
      if (verdict === "permanent") throw giveUp(failure, new NonRetryableError(error.message, { cause: error }));
      if (verdict === "token" && token !== undefined && refused === undefined) {
        refused = token;
        if (canRepeat) continue;
        // The event's next attempt must find another token.
        await options.token(tenant, refused);
      }
      const isRate = verdict === "rate";
      const backoffMs = firstBackoffMs * 2 ** attempt;
      const waitMs = Math.round(isRate ? failure.resetSeconds * 1000 * (1 + 0.2 * random()) : random() * backoffMs);
      const isWorthIt = isRate || (verdict === "transient" && (isRepeatable || failure.isUnsent));
      if (isWorthIt && canRepeat && attempt < maxAttempts && waitMs < run.remainingMs()) {
        await pause(clock, waitMs, run.signal);
        continue;
      }
      if (!isRate) throw giveUp(failure);
      const delaySeconds = Math.max(1, Math.ceil(waitMs / 1000));
      throw giveUp(failure, new RetryLaterError(error.message, { delaySeconds, cause: error }));
    }
  };
}

function isSuccess({ status, body }: ApiResponse): boolean {
  return status >= 200 && status < 300 && (codeOf(body) ?? 0) === 0;
}

function refusalOf({ status, headers, body }: ApiResponse, call: string, path: string): Failure {
  const apiCode = codeOf(body);
  const verdict = verdictOf(status, apiCode, path);
  const advice = verdict === "secret" ? ". Check APP_SECRET and APP_ID, and that the app is in use" : "";
  const { parts, platformMessage } = refusalParts(body);
  const named = Object.entries(parts).map(([name, value]) => `, ${name} ${value}`);
  const answer =
    apiCode === notSimulatedCode
      ? `the simulated Feishu has no ${call}: give it an answer in test/simulated/, or use a real app`
      : `the platform answered ${status}, code ${apiCode ?? "none"}${named.join("")}${advice}`;
  const message = `Cannot call ${call}: ${answer}`;
  const error = new OpenApiError(message, { apiCode, status, logId: headers.get("x-tt-logid"), platformMessage });
  const reset = headers.get("x-ogw-ratelimit-reset") ?? "";
  const resetSeconds = /^\d{1,6}$/.test(reset) ? Number(reset) : defaultResetSeconds;
  return { error, parts, verdict, isUnsent: false, resetSeconds };
}

function noAnswer(cause: unknown, call: string): Failure {
  const code = networkCode(cause);
  const reason = isError(cause, DeadlineError) ? "it did not answer in time" : `there was no answer (${code})`;
  const error = new OpenApiError(`Cannot call ${call}: ${reason}`, { cause });
  return { error, verdict: "transient", isUnsent: unsentCodes.test(code), resetSeconds: defaultResetSeconds };
}

/** The `code` of the platform's JSON. */
export function codeOf(body: unknown): number | undefined {
  const { code } = fieldsOf(body);
  return typeof code === "number" ? code : undefined;
}

/** A successful status whose body is not the platform's JSON. */
export function unreadableError(): Error {
  return Object.assign(new Error("The answer is not the platform's"), { code: "UNREADABLE" });
}

/** Replaces the ids in a path: an id may be a person's address. */
function withoutIds(path: string): string {
  return path
    .split("/")
    .map((part) => (/^(v\d+|[a-z][a-z_-]*)?$/.test(part) ? part : "…"))
    .join("/");
}
