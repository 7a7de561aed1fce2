import { createHash } from "node:crypto";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { defaultApp, type KeyRing } from "../../lib/feishu/keys.ts";
import { type RingInput, ring, startMs, verificationToken } from "./push.ts";

/** The keys of one app that takes old card callbacks. */
export function oldRing(input: RingInput = {}): KeyRing {
  return new Map([...ring(input)].map(([route, app]) => [route, { ...app, oldCards: true }]));
}

/** The body of an old card callback. A member given as `undefined` is left out. */
export function oldCardText(members: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    open_id: "ou_5f1d3c0b2a",
    user_id: "8d2e61c4",
    open_message_id: "om_0c4f9a77e1",
    open_chat_id: "oc_93b1d5f266",
    tenant_key: "tenant-1",
    token: "c-41f0d27b9e",
    action: { value: { order: "17", decision: "release" }, tag: "button" },
    ...members,
  });
}

export interface OldCardOptions {
  readonly verificationToken?: string;
  readonly nowMs?: number;
  readonly timestamp?: string;
  readonly nonce?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Any bytes, signed as the platform signs an old card callback: SHA-1 in hex, over what is sent. */
export function oldPush(rawBody: Uint8Array | string, options: OldCardOptions = {}): SealedRequest {
  const { nowMs = startMs, nonce = "1640209375", verificationToken: token = verificationToken } = options;
  const timestamp = options.timestamp ?? String(Math.floor(nowMs / 1000));
  const bytes = Buffer.from(rawBody);
  // Written out here, so that the formula is held against something else than itself.
  const signature = createHash("sha1")
    .update(Buffer.concat([Buffer.from(`${timestamp}${nonce}${token}`), bytes]))
    .digest("hex");
  return {
    app: defaultApp,
    headers: new Map([
      ["content-type", "application/json;charset=utf-8"],
      ["x-lark-request-timestamp", timestamp],
      ["x-lark-request-nonce", nonce],
      ["x-lark-signature", signature],
      ...Object.entries(options.headers ?? {}),
    ]),
    rawBody: bytes,
  };
}
