import { randomUUID } from "node:crypto";
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { NonRetryableError } from "../errors.ts";
import { fieldsOf, isObject, stringOf } from "../feishu/json.ts";
import type { ApiAnswer, MessageContent, RequestOptions } from "../handler.ts";
import { bytesOf } from "../https.ts";
import type { ApiRequest } from "./transport.ts";

/** Options of `request` that handlers do not have. */
export interface InnerOptions extends RequestOptions, Pick<ApiRequest, "isRepeatable"> {
  /** A body that is no JSON. */
  readonly form?: { readonly contentType: string; readonly bytes: Buffer };
}

export type InnerRequest = (method: string, path: string, options?: InnerOptions) => Promise<ApiAnswer>;

export const megabyte = 1024 * 1024;
/**
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/image/create
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/file/create
 */
const uploads = {
  image: { path: "/open-apis/im/v1/images", limitBytes: 10 * megabyte, key: /^img_[\w-]+$/ },
  file: { path: "/open-apis/im/v1/files", limitBytes: 30 * megabyte, key: /^file_[\w-]+$/ },
} as const;

/** The body of a message. A file in it is uploaded first, unless it is a key. */
export async function messageOf(
  content: MessageContent,
  request: InnerRequest,
): Promise<{ msg_type: string; content: string }> {
  const message = (msg_type: string, json: unknown) => ({ msg_type, content: JSON.stringify(json) });
  if (typeof content === "string") return message("text", { text: content });
  if (!isObject(content)) throw new NonRetryableError("Cannot send the message: it is neither a text nor an object");
  const { markdown, image, file, name, type, data } = content as Record<string, unknown>;
  // Where a value is missing, an empty card would be sent instead, and the event would be done.
  if ("markdown" in content) {
    if (typeof markdown !== "string") throw new NonRetryableError("Cannot send the Markdown: it is not a text");
    return message("post", { zh_cn: { content: [[{ tag: "md", text: markdown }]] } });
  }
  if ("image" in content) return message("image", { image_key: await keyOf(request, "image", image) });
  if ("file" in content) return message("file", { file_key: await keyOf(request, "file", file, stringOf(name)) });
  return message("interactive", type === "raw" ? data : content);
}

/** The key of a file, which is uploaded unless the source is a key. */
async function keyOf(
  request: InnerRequest,
  kind: keyof typeof uploads,
  source: unknown,
  name?: string,
): Promise<string> {
  const { path, limitBytes, key } = uploads[kind];
  if (typeof source === "string" && key.test(source)) return source;
  const isPath = typeof source === "string";
  if (!isPath && !(source instanceof Uint8Array) && !(Symbol.asyncIterator in Object(source))) {
    throw new NonRetryableError(`Cannot send the ${kind}: it is not a path, a key, a Buffer or a stream`);
  }
  const content = isPath ? (await open(source)).createReadStream() : source;
  const chunks = content instanceof Uint8Array ? [content] : content;
  const bytes = await bytesOf(chunks as AsyncIterable<Uint8Array | string>, limitBytes);
  if (bytes.length > limitBytes) throw tooLarge(`send the ${kind}`, `Feishu takes ${limitBytes / megabyte} MB`);
  const fileName = name ?? (isPath ? basename(source) : kind);
  const file = { file_type: fileType(fileName), file_name: fileName };
  const form = formOf(kind === "image" ? { image_type: "message" } : file, { name: kind, fileName, bytes });
  const { data } = await request("POST", path, { form });
  return String(fieldsOf(data)[`${kind}_key`]);
}

/** Feishu sends no message of the type `file` with a file that was uploaded as a video or a sound. */
function fileType(name: string): string {
  return /\.(pdf|doc|xls|ppt)x?$/i.exec(name)?.[1]?.toLowerCase() ?? "stream";
}

function formOf(
  fields: Readonly<Record<string, string>>,
  { name, fileName, bytes }: { name: string; fileName: string; bytes: Buffer },
): NonNullable<InnerOptions["form"]> {
  const boundary = `larkpost-${randomUUID()}`;
  const head = (about: string) => `--${boundary}\r\ncontent-disposition: form-data; ${about}\r\n`;
  const texts = Object.entries(fields).map(([field, value]) => `${head(`name="${field}"`)}\r\n${value}\r\n`);
  // As browsers escape it.
  const escaped = fileName.replace(/["\r\n]/g, encodeURIComponent);
  const file = `${head(`name="${name}"; filename="${escaped}"`)}content-type: application/octet-stream\r\n\r\n`;
  const parts = [Buffer.from(texts.join("") + file), bytes, Buffer.from(`\r\n--${boundary}--\r\n`)];
  return { contentType: `multipart/form-data; boundary=${boundary}`, bytes: Buffer.concat(parts) };
}

export function tooLarge(what: string, limit: string): NonRetryableError {
  return Object.assign(new NonRetryableError(`Cannot ${what}: it is too large. ${limit}`), { isMessageSafe: true });
}
