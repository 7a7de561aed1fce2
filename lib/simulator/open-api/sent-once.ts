import { Refusal } from "./answer.ts";

const hourMs = 3_600_000;
const uuidLimit = 50;

/**
 * `uuid`: within an hour the same one sends at most one message, whatever it says; asked again, the
 * answer is that message. While it is still being sent, the answer is 230049.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create
 */
export function createSentOnce() {
  // In the order of their times: what is too old stands at the front.
  const sent = new Map<string, { atMs: number; answeredAtMs: number; messageId: string }>();
  return {
    /**
     * @param scope Within which a uuid is the same: an app in a tenant, and for a forward its target too.
     * @returns The id of the message that was sent, now or before.
     * @throws {Refusal} 230001 when the uuid is over 50 characters; 230049.
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
