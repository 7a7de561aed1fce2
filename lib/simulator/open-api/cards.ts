import type { KnownParts } from "../../feishu/checked-card.ts";
import { isObject } from "../../feishu/json.ts";
import { groupChat } from "../samples/facts.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { cardFault, cardLimitBytes, isShared } from "./content.ts";
import { isOf, type Message, type Messages } from "./messages.ts";
import type { Call, Route } from "./route.ts";
import { isId } from "./world.ts";

/** The credential that a card callback carries, `event.token`. */
export interface CardToken {
  /** `c-…` */
  readonly token: string;
  /** The message that holds the clicked card. */
  readonly messageId: string;
  /** When the callback was made; by default now. */
  readonly atMs?: number;
}

interface Credential {
  readonly messageId: string;
  readonly atMs: number;
  isAnswered: boolean;
  uses: number;
}

const lifeMs = 30 * 60_000;
const maxUses = 2;
const answerMs = 3_000;

/**
 * Delayed card update: a callback's token allows two updates within 30 min, after the callback was answered.
 * Unless `isStrict`, an unknown token is accepted as that of a callback that was answered just now, because the callback
 * may have been pushed from elsewhere.
 * https://open.feishu.cn/document/ukTMukTMukTM/uMDO1YjLzgTN24yM4UjN
 */
export function createCards(options: {
  readonly nowMs: () => number;
  readonly newId: () => string;
  readonly isStrict: boolean;
  readonly messages: Messages;
  readonly known: KnownParts;
}) {
  const { nowMs, newId, isStrict, messages, known } = options;
  const credentials = new Map<string, Credential>();

  function register({ token, messageId, atMs = nowMs() }: CardToken): Credential {
    const credential = { messageId, atMs, isAnswered: false, uses: 0 };
    credentials.set(token, credential);
    return credential;
  }

  function assume(token: string, { caller }: Call): Credential {
    const { messageId } = messages.add(
      {
        messageId: `om_${newId()}`,
        chatId: groupChat,
        sender: { kind: "app", id: caller.appId },
        tenant: caller.tenant,
        msgType: "interactive",
        content: JSON.stringify({ schema: "2.0", body: { elements: [] } }),
      },
      true,
    );
    const credential = register({ token, messageId });
    credential.isAnswered = true;
    return credential;
  }

  function update(call: Call): Answer {
    const { token, card } = call.body as { token?: unknown; card?: unknown };
    if (typeof token !== "string" || !/^c-[\w-]{1,200}$/.test(token)) throw new Refusal(300020);
    const checked = checkedCard(card, known);
    const registered = credentials.get(token);
    if (registered === undefined && isStrict) throw new Refusal(300030);
    const credential = registered ?? assume(token, call);
    if (call.nowMs - credential.atMs >= lifeMs) throw new Refusal(300030);
    // Feishu documents no code for this case. On the platform, the card may also change back.
    if (!credential.isAnswered) throw new Refusal(10002, "the callback was not answered yet");
    if (credential.uses >= maxUses) throw new Refusal(300040);

    const message: Message = messages.named(credential.messageId);
    if (message.isRecalled) throw new Refusal(200000);
    if (!isOf(message, call.caller.appId)) throw new Refusal(200310);
    credential.uses++;
    messages.change(message, "updated", { msgType: "interactive", content: checked });
    return success();
  }

  const path = "/open-apis/interactive/v1/card/update";
  const routes: Route[] = [{ method: "POST", path, access: "tenant", malformed: 100030, operation: update }];
  return {
    routes,
    register: (token: CardToken): void => void register(token),
    /** Whether a click on the message waits for its answer, which it does for 3 s at most. */
    isInteracting: (messageId: string): boolean =>
      [...credentials.values()].some(
        (credential) =>
          credential.messageId === messageId && !credential.isAnswered && nowMs() - credential.atMs < answerMs,
      ),
    /**
     * Makes the token of a callback usable, once the callback was answered with 200.
     * @param content The checked JSON of the answer's card, which replaces the clicked card.
     */
    answered(token: string, content?: string): void {
      const credential = credentials.get(token);
      if (credential === undefined) return;
      credential.isAnswered = true;
      const message = content === undefined ? undefined : messages.get(credential.messageId);
      if (message === undefined || content === undefined || message.isRecalled) return;
      messages.change(message, "updated", { msgType: "interactive", content });
    },
  };
}

/** The card's JSON without `open_ids`, the list of the people who see the update. */
function checkedCard(card: unknown, known: KnownParts): string {
  if (!isObject(card)) throw new Refusal(10002, "card is required");
  const { open_ids: viewers, ...rest } = card as Record<string, unknown>;
  const content = JSON.stringify(rest);
  if (Buffer.byteLength(content) > cardLimitBytes) throw new Refusal(100000);
  const fault = cardFault(rest, known);
  if (fault !== undefined) throw new Refusal(11311, fault);
  if (!isShared(rest)) {
    if (!Array.isArray(viewers) || viewers.length === 0) throw new Refusal(300090);
    if (!viewers.every((id) => typeof id === "string" && isId("open_id", id))) throw new Refusal(200320);
  }
  return content;
}
