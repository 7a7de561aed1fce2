import type { Clock } from "../../clock.ts";
import { classify, oldCardType } from "../../feishu/classify.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { parseObject } from "../../feishu/json.ts";
import type { KeyRing } from "../../feishu/keys.ts";
import type { Deliver, Message } from "./platform.ts";
import { challengeDeadlineMs, type PushResult, push, type RandomBytes, sealEnvelope } from "./push.ts";

export interface WebhookOptions {
  /** The request address: one for all, or one for events and another for callbacks. */
  readonly url: string | ((message: Message) => string);
  readonly keys: KeyRing;
  readonly clock: Pick<Clock, "nowMs">;
  readonly randomBytes: RandomBytes;
  /**
   * Whether a push after the first is signed `afresh`, with its own timestamp and nonce, or is the `first`
   * request again to the letter. The platform does not say which it does; a receiver has to take both.
   */
  readonly signing?: "afresh" | "first" | undefined;
  /** Changes what would be sent, as someone without the keys might. */
  readonly spoil?: ((sealed: SealedRequest) => SealedRequest) | undefined;
}

/** Delivers over HTTP to the app's request address; each request has a log id of its own. */
export function toWebhook(options: WebhookOptions): Deliver {
  const { url, keys, clock, randomBytes, signing = "afresh", spoil = (sealed) => sealed } = options;
  const firsts = new WeakMap<Message, SealedRequest>();
  return async (message, { signal }) => {
    const requestId = randomBytes(16).toString("hex");
    const first = firsts.get(message);
    const sealed =
      first === undefined
        ? sealEnvelope(message.text, {
            keys,
            nowMs: clock.nowMs(),
            requestId,
            randomBytes,
            isOldCard: isOldCard(message),
          })
        : { ...first, headers: new Map([...first.headers, ["x-tt-logid", requestId]]) };
    if (signing === "first") firsts.set(message, sealed);
    return push(typeof url === "string" ? url : url(message), spoil(sealed), { signal });
  };
}

/** In an envelope of schema 2.0 its type is one like others. */
function isOldCard({ type, text }: Message): boolean {
  return type === oldCardType && classify(text).kind === "unreadable";
}

export interface AddressCheck {
  readonly result: PushResult;
  /** Whether the console would save the address: 200 within a second, and the same challenge in JSON. */
  readonly isBack: boolean;
}

/** Asks a request address for a challenge, as the developer console does before it saves it. */
export async function checkAddress(
  challenge: string,
  options: Omit<WebhookOptions, "url" | "signing" | "spoil"> & { readonly url: string },
): Promise<AddressCheck> {
  const { url, keys, clock, randomBytes } = options;
  const text = JSON.stringify({ challenge, token: "", type: "url_verification" });
  const requestId = randomBytes(16).toString("hex");
  const sealed = sealEnvelope(text, { keys, nowMs: clock.nowMs(), requestId, randomBytes });
  const result = await push(url, sealed, { deadlineMs: challengeDeadlineMs });
  return { result, isBack: result.delivered && parseObject(result.body)?.["challenge"] === challenge };
}
