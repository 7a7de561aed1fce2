/** Why a request was refused. It is logged, but not sent: one body answers every refusal. */
export type RefusalReason =
  | "signature"
  | "token"
  | "timestamp"
  | "app"
  | "malformed"
  | "unsigned"
  | "plaintext"
  | "unexpected-encryption"
  | "too-large-unsigned"
  | "challenge";

/** Base class of every error that Larkpost throws on purpose: branch on `code` or on the class. */
export abstract class LarkpostError extends Error {
  abstract readonly code: string;
  /** Written in each class, since a bundler shortens class names and the log must not. */
  abstract override readonly name: string;
  /** Whether the message may be logged, because it quotes no payload. Errors of your own can declare it, too. */
  readonly isMessageSafe: boolean = true;
}

/** The request is not provably from Feishu: 401, and nothing is stored. */
export class UnauthenticatedError extends LarkpostError {
  override readonly name = "UnauthenticatedError";
  readonly code = "UNAUTHENTICATED";
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** A body or a queue message over the limit: 413. */
export class TooLargeError extends LarkpostError {
  override readonly name = "TooLargeError";
  readonly code = "TOO_LARGE";
}

/** A setting is missing or contradicts another: 503 for every request; a local start exits. */
export class ConfigError extends LarkpostError {
  override readonly name = "ConfigError";
  readonly code = "CONFIG";
}

/** A deadline of our own has passed: 503, so that Feishu pushes again. */
export class DeadlineError extends LarkpostError {
  override readonly name = "DeadlineError";
  readonly code = "DEADLINE";
}

/** A handler did not return in time: the record is retried. */
export class HandlerTimeoutError extends LarkpostError {
  override readonly name = "HandlerTimeoutError";
  readonly code = "HANDLER_TIMEOUT";
}

/** A newer release wrote the queue message: it fails and is not acknowledged. */
export class UnknownVersionError extends LarkpostError {
  override readonly name = "UnknownVersionError";
  readonly code = "UNKNOWN_VERSION";
}

/**
 * A handler throws it to be retried later. The record stays hidden for `delaySeconds` (1 to 42,300; SQS allows no more).
 * It is a failed attempt all the same, and the last attempt ends in the dead-letter queue. Waiting for something is no
 * failure: use the context's `defer`.
 */
export class RetryLaterError extends LarkpostError {
  override readonly name = "RetryLaterError";
  override readonly isMessageSafe = false;
  readonly code = "RETRY_LATER";
  readonly delaySeconds: number;

  constructor(message: string, { delaySeconds, ...options }: { delaySeconds: number } & ErrorOptions) {
    super(message, options);
    this.delaySeconds = delaySeconds;
  }
}

/** A handler throws it when a retry is useless. The record goes to the dead-letter queue at once, with the reason. */
export class NonRetryableError extends LarkpostError {
  override readonly name = "NonRetryableError";
  override readonly isMessageSafe: boolean = false;
  readonly code = "NON_RETRYABLE";
}

/** The platform would refuse a callback's answer: a fallback is sent instead. */
export class InvalidAnswerError extends LarkpostError {
  override readonly name = "InvalidAnswerError";
  readonly code = "INVALID_ANSWER";
  /** The member at fault, like `toast.type`. */
  readonly field: string;

  constructor(message: string, { field, ...options }: { field: string } & ErrorOptions) {
    super(message, options);
    this.field = field;
  }
}

/** The platform does not let this app connect. A new attempt would fail as well, so the process ends. */
export class LongConnectionError extends LarkpostError {
  override readonly name = "LongConnectionError";
  readonly code = "LONG_CONNECTION";
  /** The platform's own code, if it sent one. */
  readonly platformCode: number | undefined;

  constructor(message: string, { platformCode }: { platformCode?: number | undefined } = {}) {
    super(message);
    this.platformCode = platformCode;
  }
}

/** The code of the simulated Feishu, and never of the platform, for a call that it does not simulate. */
export const notSimulatedCode = -501;

/** A call of the Open API failed. The message holds no more of the platform's text than names and numbers in it. */
export class OpenApiError extends LarkpostError {
  override readonly name = "OpenApiError";
  readonly code = "OPEN_API";
  /** The platform's code, like 230002; `undefined` if it did not answer. */
  readonly apiCode: number | undefined;
  readonly status: number | undefined;
  /** `X-Tt-Logid`: vendor support asks for it. */
  readonly logId: string | undefined;
  readonly #platformMessage: string | undefined;

  constructor(
    message: string,
    facts: ErrorOptions & Partial<Pick<OpenApiError, "apiCode" | "status" | "logId" | "platformMessage">> = {},
  ) {
    super(message, facts);
    this.apiCode = facts.apiCode;
    this.status = facts.status;
    this.logId = facts.logId;
    this.#platformMessage = facts.platformMessage;
  }

  /** The platform's own words, cut to 500 characters. They may repeat what was sent, so an error that is printed has none. */
  get platformMessage(): string | undefined {
    return this.#platformMessage;
  }
}

/** Base class of errors not worth retrying: NonRetryableError, typed so that a subclass may set its own `name` and `code`. */
const PermanentError: new (message: string, options?: ErrorOptions) => LarkpostError = NonRetryableError;

/**
 * The credential for updating a card is missing, over 30 minutes old, or was used twice. Update the message instead:
 * `PATCH /open-apis/im/v1/messages/:message_id`.
 */
export class CardTokenError extends PermanentError {
  override readonly name = "CardTokenError";
  override readonly code = "CARD_TOKEN";
}

/** `instanceof` that never throws, although a proxy may make it. */
export function isError<T extends Error>(error: unknown, kind: abstract new (...args: never[]) => T): error is T {
  try {
    return error instanceof kind;
  } catch {
    return false;
  }
}
