import { LarkpostError, NonRetryableError } from "./errors.ts";

// Beside errors.ts, which the webhook loads: these are of no use to it.

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
