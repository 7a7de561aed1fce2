import { hash as digest } from "node:crypto";
import type { SQSRecord } from "aws-lambda";
import { TooLargeError, UnknownVersionError } from "../errors.ts";
import { utf8 } from "../feishu/cipher.ts";
import { classify } from "../feishu/classify.ts";
import { type EventEnvelope, type JobEnvelope, jobId, type UnreadableEnvelope } from "../feishu/envelope.ts";
import { fieldsOf, fill, inspect, type JsonObject, parseJson, stringOf } from "../feishu/json.ts";
import { classifyOldCard } from "../feishu/old-card.ts";
import type { ErrorDescription } from "../trace/error.ts";

/**
 * Newest version of the queue message. A message of a newer version fails and is retried, so that a rollback loses
 * nothing. Only jobs have changed since version 1, so a worker of an earlier release still reads events.
 */
export const messageVersion = 2;
/** SQS takes 1 MiB, with the attributes. */
export const messageLimitBytes = 1_048_576;
/** Space for the attributes that the dead-letter queue's copy of a record has. */
export const attributeReserveBytes = 4_096;
/** The part of them that `error` may take. The other attributes have 1,130 bytes at most. */
const errorLimitBytes = attributeReserveBytes - 1_296;
/** Above it, in UTF-16 units, a text is compressed. */
const plainLimit = 16_384;
/** A reader inflates no more than this. */
const inflatedLimitBytes = 8 * messageLimitBytes;

/** An attribute of dead records. A record that has it was moved back from the dead-letter queue. */
export const deadReasonAttribute = "deadReason";

/**
 * An event as an SQS body: version, transport, request id, the app that received it, and the platform's own text. The
 * reader classifies that text again, so a message cannot claim to be what it does not hold. A job also has its payload
 * and its place in its chain; compressed, text and payload are in one member. An old card has no envelope to classify, so
 * the job's `schema` names it, and the refresh token of its header is stored too.
 * @throws {TooLargeError} Over the limit even when compressed.
 */
export function toBody(envelope: EventEnvelope | JobEnvelope | UnreadableEnvelope): string {
  const { kind, transport, receivedBy, requestId } = envelope;
  const v = kind === "job" ? messageVersion : 1;
  const common = { v, kind, transport, receivedBy, requestId: requestId?.slice(0, 128) ?? null };
  if (kind === "event") return pack(common, { text: envelope.text }, envelope.text);
  if (kind === "job") {
    const { of, schema, header, payload, text, place, key, depth, chainStartedAtMs } = envelope;
    const refreshToken = of === "callback" && schema === "1.0" ? header["refresh_token"] : undefined;
    const members = { of, schema, refreshToken, place, key, depth, chainStartedAtMs };
    return pack({ ...common, ...members }, { payload, text }, JSON.stringify({ payload, text }));
  }
  const rawBody = withoutToken(envelope.rawBody);
  const text = utf8(rawBody);
  const quarantined = { ...common, reason: envelope.reason };
  // Bytes that are not UTF-8 are stored as base64, and `encoding` says so.
  if (text !== undefined && Buffer.byteLength(text) === rawBody.length) return pack(quarantined, { text }, text);
  return pack({ ...quarantined, encoding: "base64" }, { text: rawBody.toString("base64") }, rawBody);
}

/** What a dead letter has of its error, as JSON. What does not fit is left out: the causes first, and then the frames. */
export function toErrorAttribute({ causes, frames, message, ...error }: ErrorDescription): string | undefined {
  const forms = [{ ...error, message, frames, causes }, { ...error, message, frames }, { ...error, message }, error];
  return forms
    .map((form) => toSafeText(JSON.stringify(form)))
    .find((text) => Buffer.byteLength(text) <= errorLimitBytes);
}

/** Empties the Verification Token in a plain-text body. Latin-1 keeps every byte, also where it is not UTF-8. */
function withoutToken(rawBody: Uint8Array): Buffer {
  const text = Buffer.from(rawBody).toString("latin1");
  return Buffer.from(fill(text, inspect(text).tokens, ""), "latin1");
}

/**
 * The content as it is, or `bytes` (the same content) compressed where they are many: SQS bills by 64 KB, and to escape
 * them twice costs more than to compress them. Content that compression makes too large is stored as it is.
 */
function pack(common: object, content: object, bytes: string | Uint8Array): string {
  const plain = () => toSafeText(JSON.stringify({ ...common, ...content }));
  if (bytes.length <= plainLimit) return plain();
  const inflated = Buffer.from(bytes as string);
  const deflate = () => {
    const deflated = zlib().deflateRawSync(inflated, { level: 1 }).toString("base64");
    return toSafeText(JSON.stringify({ ...common, deflated }));
  };
  const limit = messageLimitBytes - attributeReserveBytes;
  const forms = inflated.length > inflatedLimitBytes ? [] : [deflate, plain];
  for (const form of forms) {
    const body = form();
    if (body.length <= limit && Buffer.byteLength(body) <= limit) return body;
  }
  throw new TooLargeError(`Cannot store the event: it has ${inflated.length} bytes, and too many also when compressed`);
}

/** Loaded for the first large event, since few functions ever see one. */
function zlib() {
  return process.getBuiltinModule("node:zlib");
}

/**
 * Escapes U+FFFE and U+FFFF, which SQS refuses, and the characters beyond U+FFFF, which the embedded SQS refuses: an
 * emoji must not fail a local run.
 */
function toSafeText(json: string): string {
  return json.replace(/[\ud800-\udfff\ufffe\uffff]+/g, (units) => {
    let escaped = "";
    for (let i = 0; i < units.length; i++) escaped += `\\u${units.charCodeAt(i).toString(16)}`;
    return escaped;
  });
}

type DecodedRecord = EventEnvelope | JobEnvelope | { readonly kind: "undecodable"; readonly reason: string };

/**
 * Reads the event or the job of an SQS record. A body that this project did not write is `undecodable`: a retry cannot
 * help, so the caller quarantines it.
 * @throws {UnknownVersionError} Another release wrote it. The record must fail, since deleting it would lose the event.
 */
export function fromRecord(record: Pick<SQSRecord, "body">): DecodedRecord {
  const parsed = parseJson(record.body);
  if (typeof parsed !== "object" || parsed === null) return { kind: "undecodable", reason: "json" };
  const message = fieldsOf(parsed);
  const { v: version, kind, refreshToken } = message;
  if (version !== undefined && version !== 1 && version !== messageVersion) {
    throw new UnknownVersionError(
      `Cannot read the message: its version is ${JSON.stringify(version)}, this release reads ${messageVersion}. Deploy the newer worker`,
    );
  }
  const { text, payload } = contentOf(message);
  if (version === undefined || (kind !== "event" && kind !== "job") || typeof text !== "string") {
    return { kind: "undecodable", reason: "shape" };
  }
  const transportFields = {
    requestId: stringOf(message["requestId"]) ?? null,
    receivedBy: stringOf(message["receivedBy"]) ?? null,
    transport: message["transport"] === "long-connection" ? "long-connection" : "webhook",
  } as const;
  if (kind === "job") {
    const of = message["of"] === "event" ? "event" : "callback";
    const header = typeof refreshToken === "string" ? { refresh_token: refreshToken } : {};
    const isOldCard = of === "callback" && message["schema"] === "1.0";
    const origin = isOldCard ? classifyOldCard(text, header) : classify(text);
    if (origin.kind !== of) return { kind: "undecodable", reason: origin.kind };
    const { token: _, kind: __, ...notice } = origin;
    return { ...notice, ...transportFields, kind, of, payload, ...chainOf(message, notice) };
  }
  const classified = classify(text);
  if (classified.kind !== "event") return { kind: "undecodable", reason: classified.kind };
  const { token: _, kind: __, ...notice } = classified;
  return { kind, ...notice, ...transportFields };
}

/** A job's place in its chain. In version 1 a callback deferred once, and that was the whole chain. */
function chainOf(message: JsonObject, { id: root, createdAtMs }: Pick<JobEnvelope, "id" | "createdAtMs">) {
  const { place: sent, key, depth, chainStartedAtMs } = message;
  const place = /^[\w-]{1,16}$/.exec(stringOf(sent) ?? "")?.[0] ?? "";
  const id = jobId(root, place);
  return {
    id,
    root,
    place,
    key: stringOf(key) ?? id,
    depth: typeof depth === "number" ? depth : 1,
    chainStartedAtMs: typeof chainStartedAtMs === "number" ? chainStartedAtMs : (createdAtMs ?? 0),
  };
}

/** The members that may be compressed: a job's JSON object, else the text alone. */
function contentOf(message: JsonObject): JsonObject {
  const { kind, text, deflated } = message;
  if (typeof text === "string") return message;
  const bytes = inflate(deflated);
  const inflated = bytes && utf8(bytes);
  return kind === "job" ? fieldsOf(parseJson(inflated ?? "")) : { text: inflated };
}

/** What was received of a body in quarantine, without its Verification Token. A body that this project did not write is as it is. */
export function quarantinedBytes(body: string): Buffer {
  const { text, encoding, deflated } = fieldsOf(parseJson(body));
  if (typeof text === "string") return Buffer.from(text, encoding === "base64" ? "base64" : "utf8");
  return inflate(deflated) ?? Buffer.from(body);
}

function inflate(deflated: unknown): Buffer | undefined {
  if (typeof deflated !== "string") return undefined;
  try {
    return zlib().inflateRawSync(Buffer.from(deflated, "base64"), { maxOutputLength: inflatedLimitBytes });
  } catch {
    return undefined;
  }
}

/** The tenant as a `MessageGroupId`. SQS takes up to 128 letters, digits and ASCII punctuation. Any other key is hashed. */
export function toGroupId(tenant: string): string {
  return /^[\x21-\x7e]{1,128}$/.test(tenant) ? tenant : digest("sha256", tenant);
}

/** A `MessageDeduplicationId` from the parts in which a message differs from others. */
export function toDeduplicationId(parts: readonly unknown[]): string {
  return digest("sha256", JSON.stringify(parts));
}
