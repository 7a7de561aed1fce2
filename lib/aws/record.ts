import { hash as digest } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { SQSRecord } from "aws-lambda";
import { TooLargeError, UnknownVersionError } from "../errors.ts";
import { utf8 } from "../feishu/cipher.ts";
import { classify } from "../feishu/classify.ts";
import { type EventEnvelope, type JobEnvelope, jobId, type UnreadableEnvelope } from "../feishu/envelope.ts";
import { fill, inspect } from "../feishu/json.ts";
import { classifyOldCard } from "../feishu/old-card.ts";

/** Version of the queue message. A reader takes this one; a newer one is failed, so that a rollback loses nothing. */
export const messageVersion = 1;
/** SQS takes 1 MiB, attributes included. */
export const messageLimitBytes = 1_048_576;
/** Kept free, so that a record of any size can still be moved to the dead-letter queue with its attributes. */
export const attributeReserveBytes = 4_096;
const inflatedLimitBytes = 8 * messageLimitBytes;

/** Attributes that the worker puts on a dead record; their presence later tells a redrive from a re-push. */
export const deadReasonAttribute = "deadReason";

/**
 * An event as an SQS body: version, transport, request id, the app that received it, and the platform's own text.
 * Everything else is read from that text again, so a message cannot claim to be what it does not hold. A job has its
 * callback's text, and the payload; compressed, both are in one. An old card has no envelope, and so may look like any:
 * that it is one is said by the job's `schema`, and the token that came in a header is beside it.
 * @throws {TooLargeError} Over the limit even when compressed.
 */
export function toBody(envelope: EventEnvelope | JobEnvelope | UnreadableEnvelope): string {
  const { kind, transport, receivedBy, requestId } = envelope;
  const common = { v: messageVersion, kind, transport, receivedBy, requestId: requestId?.slice(0, 128) ?? null };
  if (kind === "event") return pack(common, { text: envelope.text }, () => envelope.text);
  if (kind === "job") {
    const { schema, header, payload, text } = envelope;
    const refreshToken = schema === "1.0" ? header["refresh_token"] : undefined;
    return pack({ ...common, schema, refreshToken }, { payload, text }, () => JSON.stringify({ payload, text }));
  }
  const rawBody = withoutToken(envelope.rawBody);
  const text = utf8(rawBody);
  const quarantined = { ...common, reason: envelope.reason };
  // What is not UTF-8 goes as base64; `encoding` says so.
  if (text !== undefined && Buffer.byteLength(text) === rawBody.length) return pack(quarantined, { text }, () => text);
  return pack({ ...quarantined, encoding: "base64" }, { text: rawBody.toString("base64") }, () => rawBody);
}

/** Empties the Verification Token, which a plain-text body holds. Latin-1 keeps each byte, also where it is not UTF-8. */
function withoutToken(rawBody: Uint8Array): Buffer {
  const text = Buffer.from(rawBody).toString("latin1");
  return Buffer.from(fill(text, inspect(text).tokens, ""), "latin1");
}

/** The content as it is; where that is too much, `bytes` (which it stands for) compressed. */
function pack(common: object, content: object, bytes: () => string | Uint8Array): string {
  const limit = messageLimitBytes - attributeReserveBytes;
  const plain = JSON.stringify({ ...common, ...content });
  // An escape is six bytes for a unit that took two or three. Judged before it is written: a megabyte of emoji is compressed instead.
  if (plain.length <= limit && Buffer.byteLength(plain) + 4 * unsafeUnits(plain) <= limit) return toSafeText(plain);
  const inflated = Buffer.from(bytes());
  // A reader unpacks no more than this.
  if (inflated.length > inflatedLimitBytes)
    throw new TooLargeError(`Cannot store the event: it has ${inflated.length} bytes`);
  const deflated = toSafeText(JSON.stringify({ ...common, deflated: deflateRawSync(inflated).toString("base64") }));
  if (deflated.length <= limit) return deflated;
  throw new TooLargeError(`Cannot store the event: compressed it still has ${deflated.length} bytes`);
}

/**
 * SQS refuses U+FFFE and U+FFFF, which JSON leaves as they are; as escapes they mean the same. So do the
 * characters beyond U+FFFF, which SQS takes but the embedded one refuses: an emoji must not end a local run.
 */
function toSafeText(json: string): string {
  return json.replace(/[\ud800-\udfff\ufffe\uffff]+/g, (units) => {
    let escaped = "";
    for (let i = 0; i < units.length; i++) escaped += `\\u${units.charCodeAt(i).toString(16)}`;
    return escaped;
  });
}

/** UTF-16 units that {@link toSafeText} escapes. */
function unsafeUnits(json: string): number {
  let count = 0;
  for (let i = 0; i < json.length; i++) {
    const unit = json.charCodeAt(i);
    if (unit >= 0xd800 && (unit <= 0xdfff || unit >= 0xfffe)) count++;
  }
  return count;
}

export type DecodedRecord = EventEnvelope | JobEnvelope | { readonly kind: "undecodable"; readonly reason: string };

/**
 * Reads an SQS record back into the event, or the job, that it carries. A body that is none of ours is `undecodable`:
 * retrying will not help, so the caller quarantines it.
 * @throws {UnknownVersionError} Of any version but ours, so perhaps of a newer release: to be failed, never acknowledged.
 */
export function fromRecord(record: Pick<SQSRecord, "body">): DecodedRecord {
  const message = members(record.body);
  if (message === undefined) return { kind: "undecodable", reason: "json" };
  const version = message.get("v");
  if (version !== undefined && version !== messageVersion) {
    throw new UnknownVersionError(
      `Cannot read the message: its version is ${JSON.stringify(version)}, this release reads ${messageVersion}. Deploy the newer worker`,
    );
  }
  const kind = message.get("kind");
  const content = contentOf(message);
  const text = content?.get("text");
  if (version === undefined || (kind !== "event" && kind !== "job") || typeof text !== "string") {
    return { kind: "undecodable", reason: "shape" };
  }
  const carried = {
    requestId: textOf(message.get("requestId")),
    receivedBy: textOf(message.get("receivedBy")),
    transport: message.get("transport") === "long-connection" ? "long-connection" : "webhook",
  } as const;
  if (kind === "job") {
    const refreshToken = message.get("refreshToken");
    const header = typeof refreshToken === "string" ? { refresh_token: refreshToken } : {};
    const callback = message.get("schema") === "1.0" ? classifyOldCard(text, header) : classify(text);
    if (callback.kind !== "callback") return { kind: "undecodable", reason: callback.kind };
    const { token: _, ...notice } = callback;
    return { ...notice, ...carried, kind, id: jobId(notice.id), payload: content?.get("payload") };
  }
  const classified = classify(text);
  if (classified.kind !== "event") return { kind: "undecodable", reason: classified.kind };
  const { token: _, kind: __, ...notice } = classified;
  return { kind, ...notice, ...carried };
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** The members that may be compressed: of a job a JSON object, else the text alone. */
function contentOf(message: ReadonlyMap<string, unknown>): ReadonlyMap<string, unknown> | undefined {
  if (typeof message.get("text") === "string") return message;
  const text = inflatedOf(message);
  if (text === undefined) return undefined;
  return message.get("kind") === "job" ? members(text) : new Map([["text", text]]);
}

function inflatedOf(message: ReadonlyMap<string, unknown>): string | undefined {
  const deflated = message.get("deflated");
  if (typeof deflated !== "string") return undefined;
  try {
    return inflateRawSync(Buffer.from(deflated, "base64"), { maxOutputLength: inflatedLimitBytes }).toString("utf8");
  } catch {
    return undefined;
  }
}

function members(json: string): ReadonlyMap<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? new Map(Object.entries(value)) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The tenant as a `MessageGroupId`, which on a standard queue keeps one busy tenant from delaying the
 * others. SQS takes up to 128 letters, digits and ASCII punctuation; anything else is hashed.
 */
export function toGroupId(tenant: string): string {
  return /^[\x21-\x7e]{1,128}$/.test(tenant) ? tenant : digest("sha256", tenant);
}
