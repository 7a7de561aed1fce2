import { createHash } from "node:crypto";
import { type Classified, fingerprint, oldCardType, textOrNull, unreadable } from "./classify.ts";
import { inspect, isObject, type JsonObject, maxDepth, parseObject } from "./json.ts";

// The old card callback: plain text, no envelope, and a signature of its own.
// https://open.feishu.cn/document/ukTMukTMukTM/uYzM3QjL2MzN04iNzcDN/configuring-card-callbacks/card-callback-structure

/** Hex digits of SHA-1. */
export const oldSignatureLength = 40;

/** The signature of an old card callback: as `sign`, but SHA-1, with the Verification Token as the key. */
export function signOldCard(input: {
  timestamp: string;
  nonce: string;
  verificationToken: string;
  rawBody: Uint8Array | string;
}): string {
  const { timestamp, nonce, verificationToken, rawBody } = input;
  return createHash("sha1")
    .update(timestamp + nonce + verificationToken)
    .update(rawBody)
    .digest("hex");
}

/**
 * Classifies the body of an old card callback. Its `token` is the credential for updating the card, and differs from
 * click to click; an id is logged and stored, so the id is a hash of it. The Verification Token is not in the body.
 */
export function classifyOldCard(text: string, header: JsonObject): Exclude<Classified, { kind: "challenge" }> {
  if (inspect(text).depth > maxDepth) return unreadable("depth");
  const event = parseObject(text);
  if (event === undefined) return unreadable("json");
  if (!isObject(event["action"])) return unreadable("schema");
  return {
    kind: "callback",
    token: undefined,
    schema: "1.0",
    id: fingerprint(textOrNull(event["token"]) ?? text, [oldCardType]),
    type: oldCardType,
    app: null,
    tenant: textOrNull(event["tenant_key"]),
    createdAtMs: null,
    header,
    event,
    text,
  };
}
