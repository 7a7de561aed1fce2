import type { Clock } from "../../clock.ts";
import { classify, oldCardType } from "../../feishu/classify.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { parseObject } from "../../feishu/json.ts";
import type { KeyRing } from "../../feishu/keys.ts";
import type { Deliver, Message } from "./platform.ts";
import { challengeDeadlineMs, type PushResult, push, type RandomBytes, sealEnvelope } from "./push.ts";

export interface WebhookOptions {
  /** The request address, or a function that chooses it by the message. */
  readonly url: string | ((message: Message) => string);
  readonly keys: KeyRing;
  readonly clock: Pick<Clock, "nowMs">;
  readonly randomBytes: RandomBytes;
  /**
   * Whether a retry is signed `afresh`, with a new timestamp and nonce, or repeats the `first` request unchanged.
   * Feishu does not document which; a receiver must accept both.
   */
  readonly signing?: "afresh" | "first" | undefined;
  /** Changes the sealed request, as an attacker without the keys could. */
  readonly spoil?: ((sealed: SealedRequest) => SealedRequest) | undefined;
}

/** Delivers over HTTP to the app's request address. Each push has its own log id. */
export function toWebhook(options: WebhookOptions): Deliver {
  const { url, keys, clock, randomBytes, signing = "afresh", spoil = (sealed) => sealed } = options;
  const firsts = new WeakMap<Message, SealedRequest>();
  return async (message, { signal }) => {
    const requestId = randomBytes(16).toString("hex");
    const first = firsts.get(message);
    const sealed = first === undefined ? seal(message, requestId) : withLogId(first, requestId);
    if (signing === "first") firsts.set(message, sealed);
    return push(typeof url === "string" ? url : url(message), spoil(sealed), { signal });
  };

  function seal(message: Message, requestId: string): SealedRequest {
    const sealing = { keys, nowMs: clock.nowMs(), requestId, randomBytes, isOldCard: isOldCard(message) };
    return sealEnvelope(message.text, sealing);
  }
}

function withLogId(sealed: SealedRequest, requestId: string): SealedRequest {
  return { ...sealed, headers: new Map([...sealed.headers, ["x-tt-logid", requestId]]) };
}

/** The old card callback has no envelope. In an envelope of schema 2.0, its type is one like any other. */
function isOldCard({ type, text }: Message): boolean {
  return type === oldCardType && classify(text).kind === "unreadable";
}

interface AddressCheck {
  readonly result: PushResult;
  /** Whether the console would save the address: it answered 200 within a second, with the same challenge in JSON. */
  readonly isAccepted: boolean;
}

/** Sends a challenge to a request address, as the developer console does before it saves the address. */
export async function checkAddress(
  challenge: string,
  options: Omit<WebhookOptions, "url" | "signing" | "spoil"> & { readonly url: string },
): Promise<AddressCheck> {
  const { url, keys, clock, randomBytes } = options;
  const text = JSON.stringify({ challenge, token: "", type: "url_verification" });
  const requestId = randomBytes(16).toString("hex");
  const sealed = sealEnvelope(text, { keys, nowMs: clock.nowMs(), requestId, randomBytes });
  const result = await push(url, sealed, { deadlineMs: challengeDeadlineMs });
  return { result, isAccepted: result.delivered && parseObject(result.body)?.["challenge"] === challenge };
}
