import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** One message of the long connection: a protobuf (proto2) `Frame`. */
export interface Frame {
  /** A bigint, since a double would change an id above 2^53. */
  readonly seqId: bigint;
  readonly logId: bigint;
  readonly service: number;
  /** {@link controlMethod} or {@link dataMethod}; others are ignored. */
  readonly method: number;
  /** In their order on the wire; a key may occur twice. */
  readonly headers: readonly (readonly [key: string, value: string])[];
  /** `undefined` if the frame had none; an empty text is a value, and is echoed. */
  readonly payloadEncoding?: string | undefined;
  readonly payloadType?: string | undefined;
  readonly payload?: Uint8Array | undefined;
  readonly logIdNew?: string | undefined;
}

export const controlMethod = 0;
export const dataMethod = 1;

/**
 * Decodes a frame. As in any protobuf, unknown fields are skipped, and the last of two equal scalars counts. The schema
 * is the official SDKs' (package `pbbp2`); nothing else documents it.
 *
 * @returns `undefined` for bytes that are not a frame or lack a required field. Total.
 */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  try {
    const reader = new BinaryReader(bytes);
    const headers: [string, string][] = [];
    const fields: { -readonly [K in keyof Frame]?: Frame[K] } = {};
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1 && wireType === WireType.Varint) fields.seqId = BigInt(reader.uint64());
      else if (field === 2 && wireType === WireType.Varint) fields.logId = BigInt(reader.uint64());
      else if (field === 3 && wireType === WireType.Varint) fields.service = reader.int32();
      else if (field === 4 && wireType === WireType.Varint) fields.method = reader.int32();
      else if (field === 5 && wireType === WireType.LengthDelimited) headers.push(decodeHeader(reader.bytes()));
      else if (field === 6 && wireType === WireType.LengthDelimited) fields.payloadEncoding = reader.string();
      else if (field === 7 && wireType === WireType.LengthDelimited) fields.payloadType = reader.string();
      else if (field === 8 && wireType === WireType.LengthDelimited) fields.payload = reader.bytes();
      else if (field === 9 && wireType === WireType.LengthDelimited) fields.logIdNew = reader.string();
      else reader.skip(wireType, field);
    }
    const { seqId, logId, service, method, ...rest } = fields;
    if (seqId === undefined || logId === undefined || service === undefined || method === undefined) return undefined;
    return { seqId, logId, service, method, headers, ...rest };
  } catch {
    return undefined;
  }
}

function decodeHeader(bytes: Uint8Array): [string, string] {
  const reader = new BinaryReader(bytes);
  let key: string | undefined;
  let value: string | undefined;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === WireType.LengthDelimited) key = reader.string();
    else if (field === 2 && wireType === WireType.LengthDelimited) value = reader.string();
    else reader.skip(wireType, field);
  }
  if (key === undefined || value === undefined) throw new TypeError("a header lacks its key or its value");
  return [key, value];
}

/** Encodes a frame: its required fields even if they are 0, and the optional ones that it has. */
export function encodeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).uint64(frame.seqId);
  writer.tag(2, WireType.Varint).uint64(frame.logId);
  writer.tag(3, WireType.Varint).int32(frame.service);
  writer.tag(4, WireType.Varint).int32(frame.method);
  for (const [key, value] of frame.headers) {
    writer.tag(5, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).string(value);
    writer.join();
  }
  const { payloadEncoding, payloadType, payload, logIdNew } = frame;
  if (payloadEncoding !== undefined) writer.tag(6, WireType.LengthDelimited).string(payloadEncoding);
  if (payloadType !== undefined) writer.tag(7, WireType.LengthDelimited).string(payloadType);
  if (payload !== undefined) writer.tag(8, WireType.LengthDelimited).bytes(payload);
  if (logIdNew !== undefined) writer.tag(9, WireType.LengthDelimited).string(logIdNew);
  return writer.finish();
}

/** The first value of a key, as in most official SDKs. */
export function headerOf(frame: Frame, key: string): string | undefined {
  return frame.headers.find(([name]) => name === key)?.[1];
}

/** To send once the connection is open, and then at the server's interval. */
export function pingFrame(service: number): Frame {
  return { seqId: 0n, logId: 0n, service, method: controlMethod, headers: [["type", "ping"]] };
}

/** The answer to a message. 200: it is stored or answered. 500: the platform pushes it again. */
export interface Reply {
  readonly code: 200 | 500;
  /** A callback's answer. */
  readonly answer?: object | undefined;
}

/**
 * The reply to a message: the frame that completed it, with the header `biz_rt` (milliseconds of handling) added at the
 * end, and the answer as payload.
 */
export function replyFrame(frame: Frame, { code, answer }: Reply, elapsedMs: number): Frame {
  const data = answer === undefined ? undefined : Buffer.from(JSON.stringify(answer)).toString("base64");
  return {
    ...frame,
    headers: [...frame.headers, ["biz_rt", String(Math.max(0, Math.round(elapsedMs)))]],
    payload: Buffer.from(JSON.stringify({ code, data })),
  };
}
