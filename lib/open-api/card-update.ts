import type { Clock } from "../clock.ts";
import { CardTokenError, isError, OpenApiError } from "../errors.ts";
import { fieldsOf } from "../feishu/json.ts";

const cardTokenMs = 30 * 60_000;
const maxUpdates = 2;
/** The card's token is malformed, expired or used up. */
const cardTokenCodes: ReadonlySet<number | undefined> = new Set([300020, 300030, 300040]);

/**
 * Updates the card that was clicked, by the token of its callback.
 * https://open.feishu.cn/document/server-docs/im-v1/message-card/delay-update-message-card
 */
export function cardUpdater(
  post: (path: string, body: Readonly<Record<string, unknown>>) => Promise<unknown>,
  clock: Pick<Clock, "nowMs">,
) {
  let updates = 0;
  return async (
    card: unknown,
    { token, clickedAtMs }: { token: unknown; clickedAtMs: number | null },
  ): Promise<void> => {
    if (typeof token !== "string" || token === "") throw cardTokenError("the callback carried no credential");
    const isOver = clickedAtMs !== null && clock.nowMs() - clickedAtMs >= cardTokenMs;
    if (isOver) throw cardTokenError("30 minutes have passed since the click");
    if (updates >= maxUpdates) throw cardTokenError("it was updated twice");
    // Counted before the answer, since two updates may run at once.
    updates++;
    const { type, data } = fieldsOf(card);
    try {
      await post("/open-apis/interactive/v1/card/update", { token, card: type === "raw" ? data : card });
    } catch (error) {
      const failure = openApiErrorOf(error);
      // A refused update does not count. Without an answer it may have happened, so it counts.
      if (failure?.status !== undefined) updates--;
      if (!cardTokenCodes.has(failure?.apiCode)) throw error;
      throw cardTokenError(`the platform answered ${failure?.apiCode}`, error);
    }
  };
}

function cardTokenError(problem: string, cause?: unknown): CardTokenError {
  const advice = "Update the message: PATCH /open-apis/im/v1/messages/:message_id";
  return new CardTokenError(`Cannot update the card by its click: ${problem}. ${advice}`, { cause });
}

function openApiErrorOf(error: unknown): OpenApiError | undefined {
  if (isError(error, OpenApiError)) return error;
  const cause = error instanceof Error ? error.cause : undefined;
  return isError(cause, OpenApiError) ? cause : undefined;
}
