import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** One message of the long connection: a protobuf (proto2) `Frame`. */
export interface Frame {
  /** All 64 bits count: as a double, an id above 2^53 comes back as another one. */
  readonly seqId: bigint;
  readonly logId: bigint;
  readonly service: number;
  /** {@link controlMethod} or {@link dataMethod}; others are ignored. */
  readonly method: number;
  /** In the order of the wire; a key may stand there twice. */
  readonly headers: readonly (readonly [key: string, value: string])[];
  /** `undefined` where the frame had none: what was there, if only an empty text, is echoed. */
  readonly payloadEncoding?: string | undefined;
  readonly payloadType?: string | undefined;
  readonly payload?: Uint8Array | undefined;
  readonly logIdNew?: string | undefined;
}

export const controlMethod = 0;
export const dataMethod = 1;

/**
 * Reads a frame. Unknown fields are skipped, and of a scalar that comes twice the last counts, as protobuf has
 * it. The schema is the official SDKs' (package `pbbp2`); nothing else documents it.
 *
 * @returns `undefined` for bytes that are no frame, or lack a required field. Total.
 */
export function decodeFrame(bytes: Uint8Array): Frame | undefined {
  try {
    const reader = new BinaryReader(bytes);
    const headers: [string, string][] = [];
    const found: { -readonly [K in keyof Frame]?: Frame[K] } = {};
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1 && wireType === WireType.Varint) found.seqId = BigInt(reader.uint64());
      else if (field === 2 && wireType === WireType.Varint) found.logId = BigInt(reader.uint64());
      else if (field === 3 && wireType === WireType.Varint) found.service = reader.int32();
      else if (field === 4 && wireType === WireType.Varint) found.method = reader.int32();
      else if (field === 5 && wireType === WireType.LengthDelimited) headers.push(decodeHeader(reader.bytes()));
      else if (field === 6 && wireType === WireType.LengthDelimited) found.payloadEncoding = reader.string();
      else if (field === 7 && wireType === WireType.LengthDelimited) found.payloadType = reader.string();
      else if (field === 8 && wireType === WireType.LengthDelimited) found.payload = reader.bytes();
      else if (field === 9 && wireType === WireType.LengthDelimited) found.logIdNew = reader.string();
      else reader.skip(wireType, field);
    }
    const { seqId, logId, service, method, ...rest } = found;
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

/** Writes a frame: the required fields also when they are 0, the others where there are any. */
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

/** The first value under a key, as most official SDKs have it. */
export function headerOf(frame: Frame, key: string): string | undefined {
  return frame.headers.find(([name]) => name === key)?.[1];
}

/** Sent right after the connection stands, and then at the server's interval. */
export function pingFrame(service: number): Frame {
  return { seqId: 0n, logId: 0n, service, method: controlMethod, headers: [["type", "ping"]] };
}

/** What goes back for a message: 200 it is stored (or answered), 500 the platform is to push it again. */
export interface Reply {
  readonly code: 200 | 500;
  /** A callback's answer. */
  readonly answer?: object | undefined;
}

/**
 * The reply to a message: the frame that completed it, its headers in their order with `biz_rt` (milliseconds of
 * handling) behind them, and the verdict as payload.
 */
export function replyFrame(frame: Frame, { code, answer }: Reply, elapsedMs: number): Frame {
  const data = answer === undefined ? undefined : Buffer.from(JSON.stringify(answer)).toString("base64");
  return {
    ...frame,
    headers: [...frame.headers, ["biz_rt", String(Math.max(0, Math.round(elapsedMs)))]],
    payload: Buffer.from(JSON.stringify({ code, data })),
  };
}
