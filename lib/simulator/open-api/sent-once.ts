import { Refusal } from "./answer.ts";

const hourMs = 3_600_000;
const uuidLimit = 50;

/**
 * The `uuid` of a call: within an hour, calls with the same uuid send one message, even if their contents differ. The
 * later calls are answered with that message, or with 230049 while it is being sent.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create
 */
export function createSentOnce() {
  // In the order of `atMs`, so that the entries to delete are the first ones.
  const sent = new Map<string, { atMs: number; answeredAtMs: number; messageId: string }>();
  return {
    /**
     * @param scope A uuid identifies a message within it: an app in a tenant and, for a forward, the target.
     * @returns The id of the message that this call or an earlier one sent.
     * @throws {Refusal} 230001 when the uuid has over 50 characters; 230049.
     */
    once(
      { scope, uuid, nowMs, answeredAtMs }: { scope: string[]; uuid: unknown; nowMs: number; answeredAtMs: number },
      send: () => string,
    ): string {
      if (uuid === undefined || uuid === null || uuid === "") return send();
      if (typeof uuid !== "string" || [...uuid].length > uuidLimit) {
        throw new Refusal(230001, `uuid must be a string of at most ${uuidLimit} characters`);
      }
      for (const [key, { atMs }] of sent) {
        if (nowMs - atMs < hourMs) break;
        sent.delete(key);
      }
      const key = JSON.stringify([...scope, uuid]);
      const before = sent.get(key);
      if (before !== undefined) {
        if (nowMs < before.answeredAtMs) throw new Refusal(230049);
        return before.messageId;
      }
      const messageId = send();
      sent.set(key, { atMs: nowMs, answeredAtMs, messageId });
      return messageId;
    },
  };
}
