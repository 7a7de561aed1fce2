import { createHash } from "node:crypto";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { appKeys, defaultApp, type KeyRing, type Secret } from "../../lib/feishu/keys.ts";
import { sealText } from "../../lib/feishu/seal.ts";
import { sign } from "../../lib/feishu/signature.ts";

export const appId = "cli_00000000000000a1";
export const encryptKey = "an encrypt key for tests";
export const verificationToken = "a verification token for tests";
/** Where {@link testClock} starts, and so the time at which a push is signed unless it says another. */
export const startMs = 1_760_000_000_000;

export interface RingInput {
  appId?: string;
  encryptKeys?: readonly (string | Secret)[];
  verificationTokens?: readonly (string | Secret)[];
}

/** The keys of one app on the default route. */
export function ring(input: RingInput = {}): KeyRing {
  return rings({ [defaultApp]: input });
}

/** The keys of several apps, by the name of their route. */
export function rings(apps: Readonly<Record<string, RingInput>>): KeyRing {
  const toSecret = (secret: string | Secret) => (typeof secret === "string" ? { value: secret } : secret);
  return new Map(
    Object.entries(apps).map(([route, app]) => [
      route,
      appKeys({
        appId: app.appId ?? appId,
        encryptKeys: (app.encryptKeys ?? [encryptKey]).map(toSecret),
        verificationTokens: (app.verificationTokens ?? [verificationToken]).map(toSecret),
      }),
    ]),
  );
}

type Members = Readonly<Record<string, unknown>>;

/** A 2.0 envelope. A member given as `undefined` is left out. */
export function v2Text(options: { header?: Members; event?: unknown; envelope?: Members } = {}): string {
  const { header, event = { message: { text: "hello" } }, envelope } = options;
  return JSON.stringify({
    schema: "2.0",
    header: {
      event_id: "event-1",
      event_type: "im.message.receive_v1",
      create_time: "1759999999000",
      token: verificationToken,
      app_id: appId,
      tenant_key: "tenant-1",
      ...header,
    },
    event,
    ...envelope,
  });
}

/** A 1.0 envelope. */
export function v1Text(options: { event?: Members; envelope?: Members } = {}): string {
  return JSON.stringify({
    ts: "1759999999.1234567",
    uuid: "uuid-1",
    token: verificationToken,
    type: "event_callback",
    event: { type: "approval_instance", app_id: appId, tenant_key: "tenant-1", ...options.event },
    ...options.envelope,
  });
}

export function challengeText(members: Members = {}): string {
  return JSON.stringify({
    challenge: "7c5a9b1e-4d2f",
    token: verificationToken,
    type: "url_verification",
    ...members,
  });
}

export interface PushOptions {
  /** The Encrypt Key that encrypts and signs; `null` sends plain text without a signature. */
  encryptKey?: string | null;
  app?: string;
  nowMs?: number;
  timestamp?: string;
  nonce?: string;
  iv?: Uint8Array;
  headers?: Readonly<Record<string, string>>;
}

/** A push as the platform makes it: the text encrypted, the bytes signed. */
export function push(text: string, options: PushOptions = {}): SealedRequest {
  return options.encryptKey === null ? unsigned(text, options) : signedPush(sealedBody(text, options), options);
}

/** A push without signature headers: what a challenge looks like, and what an attacker can send. */
export function unsigned(text: string, options: PushOptions = {}): SealedRequest {
  return bare(sealedBody(text, options), options);
}

/** Any bytes without signature headers. */
export function bare(rawBody: Uint8Array | string, options: PushOptions = {}): SealedRequest {
  return {
    app: options.app ?? defaultApp,
    headers: new Map(Object.entries(options.headers ?? {})),
    rawBody: toBytes(rawBody),
  };
}

/** Any bytes under a right signature: what only the platform, or who holds the key, can send. */
export function signedPush(rawBody: Uint8Array | string, options: PushOptions = {}): SealedRequest {
  const { nowMs = startMs, nonce = "8406917523", app = defaultApp } = options;
  const timestamp = options.timestamp ?? String(Math.floor(nowMs / 1000));
  const bytes = toBytes(rawBody);
  const signature = sign({ timestamp, nonce, encryptKey: options.encryptKey ?? encryptKey, rawBody: bytes });
  return {
    app,
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

/** Bytes are not copied. */
function toBytes(rawBody: Uint8Array | string): Buffer {
  return typeof rawBody === "string"
    ? Buffer.from(rawBody)
    : Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
}

/** The same request with other headers; `undefined` takes one away. */
export function withHeaders(
  request: SealedRequest,
  headers: Readonly<Record<string, string | undefined>>,
): SealedRequest {
  const changed = new Map(request.headers);
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined) changed.delete(name);
    else changed.set(name, value);
  }
  return { ...request, headers: changed };
}

/** The ciphertext of a push, as its `encrypt` member holds it. */
export function ciphertextOf(text: string, options: PushOptions = {}): string {
  const { encrypt } = JSON.parse(sealedBody(text, options).toString("utf8")) as { encrypt: string };
  return encrypt;
}

function sealedBody(text: string, options: PushOptions): Buffer {
  const key = options.encryptKey === undefined ? encryptKey : options.encryptKey;
  const { iv = sha256(`${text.length} ${text.slice(0, 1_000)}`).subarray(0, 16) } = options;
  return sealText(
    text,
    key === null ? undefined : ring({ encryptKeys: [key] }).get(defaultApp)?.encryptKeys[0]?.aes,
    iv,
  );
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
