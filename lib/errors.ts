/** Why a request was refused. The caller outside never sees it: one body answers every refusal. */
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

/** Base of every error that Larkpost throws on purpose; branch on `code` or on the class. */
export abstract class LarkpostError extends Error {
  abstract readonly code: string;
  /** Spelt out in each class: a bundler shortens what a class is called, and the log would say so. */
  abstract override readonly name: string;
}

/** Not provably from Feishu: 401, and nothing is stored. */
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

/** Our own time ran out: 503, so that Feishu pushes again. */
export class DeadlineError extends LarkpostError {
  override readonly name = "DeadlineError";
  readonly code = "DEADLINE";
}

/** A handler did not return in its time: the record is retried. */
export class HandlerTimeoutError extends LarkpostError {
  override readonly name = "HandlerTimeoutError";
  readonly code = "HANDLER_TIMEOUT";
}

/** A queue message written by a newer release: failed, never acknowledged. */
export class UnknownVersionError extends LarkpostError {
  override readonly name = "UnknownVersionError";
  readonly code = "UNKNOWN_VERSION";
}

/** Thrown by a handler: not now. The record stays hidden for `delaySeconds` (1 to 42,300; SQS allows no more). */
export class RetryLaterError extends LarkpostError {
  override readonly name = "RetryLaterError";
  readonly code = "RETRY_LATER";
  readonly delaySeconds: number;

  constructor(message: string, { delaySeconds, ...options }: { delaySeconds: number } & ErrorOptions) {
    super(message, options);
    this.delaySeconds = delaySeconds;
  }
}

/** Thrown by a handler: never. The record goes to the dead-letter queue now, reason attached. */
export class NonRetryableError extends LarkpostError {
  override readonly name = "NonRetryableError";
  readonly code = "NON_RETRYABLE";
}

/** A callback's answer that the platform would refuse: a fallback goes out instead. */
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

/** The platform will not have this app connect: the process ends, since trying again is of no use. */
export class LongConnectionError extends LarkpostError {
  override readonly name = "LongConnectionError";
  readonly code = "LONG_CONNECTION";
  /** The platform's own code, where it gave one. */
  readonly platformCode: number | undefined;

  constructor(
    message: string,
    { platformCode, ...options }: { platformCode?: number | undefined } & ErrorOptions = {},
  ) {
    super(message, options);
    this.platformCode = platformCode;
  }
}

/** A call of the Open API failed. The platform's own text is left out: it may repeat what was sent. */
export class OpenApiError extends LarkpostError {
  override readonly name = "OpenApiError";
  readonly code = "OPEN_API";
  /** The platform's code, like 230002; `undefined` when there was no answer of its. */
  readonly apiCode: number | undefined;
  readonly status: number | undefined;
  /** `X-Tt-Logid`: what vendor support asks for. */
  readonly logId: string | undefined;

  constructor(
    message: string,
    facts: {
      apiCode?: number | undefined;
      status?: number | undefined;
      logId?: string | undefined;
    } & ErrorOptions = {},
  ) {
    const { apiCode, status, logId, ...options } = facts;
    super(message, options);
    this.apiCode = apiCode;
    this.status = status;
    this.logId = logId;
  }
}

/** What the errors that no attempt mends are made of: each has a name and a code of its own, and passes for a {@link NonRetryableError}. */
export const PermanentError: new (message: string, options?: ErrorOptions) => LarkpostError = NonRetryableError;

/**
 * The credential for updating a card is over (30 minutes), used up (two updates), or none. The message can be updated
 * instead: `PATCH /open-apis/im/v1/messages/:message_id`.
 */
export class CardTokenError extends PermanentError {
  override readonly name = "CardTokenError";
  override readonly code = "CARD_TOKEN";
}

/** `instanceof` that survives whatever was thrown (a proxy may throw from it). */
export function isError<T extends Error>(error: unknown, kind: abstract new (...args: never[]) => T): error is T {
  try {
    return error instanceof kind;
  } catch {
    return false;
  }
}
