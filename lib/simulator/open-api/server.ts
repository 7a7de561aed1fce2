import type { IncomingMessage, ServerResponse } from "node:http";
import { http } from "../../node-http.ts";
import { guard, listenOnLoopback } from "../loopback.ts";
import { largestFileBytes } from "./uploads.ts";

export interface ApiRequest {
  readonly method: string;
  /** Path and query, as in the request line. */
  readonly url: string;
  readonly authorization: string | undefined;
  /** `undefined` when it was too long. */
  readonly body: string | undefined;
  /** If the body is a form (`multipart/form-data`), its fields. A file is its bytes. */
  readonly form?: FormFields | undefined;
}

type FormFields = Readonly<Record<string, string | Uint8Array>>;

export interface ApiResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Instead of the text: a file. */
  readonly bytes?: Uint8Array | undefined;
}

/** `null`: the connection is closed without an answer. */
export type Handle = (request: ApiRequest, signal?: AbortSignal) => Promise<ApiResponse | null>;

const megabyte = 1024 * 1024;
/** The longest text, 150 KB, if each byte is escaped as six; the largest file in its form. */
const bodyLimitBytes = { text: megabyte, form: largestFileBytes + megabyte };
/** Up to this length, a body that is too long is read and dropped, because the client reads no answer before that. */
const maxReadBytes = 64 * megabyte;

export interface ApiServer {
  /** What clients use instead of `https://open.feishu.cn`. */
  readonly url: string;
  close(): Promise<void>;
}

/** Answers a server's requests with `handle`. */
export function listener(handle: Handle) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    void answer(request, response, handle).catch(() => response.destroy());
  };
}

/** Serves `handle` on 127.0.0.1 to programs, not to web pages. Port 0 takes a free one. */
export async function serve(handle: Handle, port: number): Promise<ApiServer> {
  const server = http.createServer(listener(handle));
  return {
    url: `http://127.0.0.1:${await listenOnLoopback(guard(server), port)}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        // An answer that a rule delays may never be sent, because a test's clock may stop.
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, handle: Handle): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => {
    if (!response.writableFinished) gone.abort();
  });
  const { body, form } = await read(request);
  const { method = "GET", url = "/", headers } = request;
  const result = await handle({ method, url, authorization: headers.authorization, body, form }, gone.signal);
  if (result === null) {
    response.destroy();
    return;
  }
  if (body === undefined) response.setHeader("connection", "close");
  const bytes = result.bytes ?? Buffer.from(result.body);
  response.writeHead(result.status, { ...result.headers, "content-length": bytes.length });
  response.end(bytes);
}

async function read(request: IncomingMessage): Promise<Pick<ApiRequest, "body" | "form">> {
  const type = request.headers["content-type"] ?? "";
  const isForm = type.startsWith("multipart/form-data");
  const bytes = await bytesOf(request, isForm ? bodyLimitBytes.form : bodyLimitBytes.text);
  const form = isForm && bytes !== undefined ? await fieldsOfForm(bytes, type) : undefined;
  return { body: form === undefined ? bytes?.toString("utf8") : "", form };
}

function bytesOf(request: IncomingMessage, limitBytes: number): Promise<Buffer<ArrayBuffer> | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length <= limitBytes) chunks.push(chunk);
      else chunks.length = 0;
      if (length > maxReadBytes) request.destroy(new Error("the body has no end"));
    });
    request.on("end", () => resolve(length > limitBytes ? undefined : Buffer.concat(chunks)));
    request.on("error", reject);
  });
}

/**
 * Gives each part of bytes a file name. The official Node client sends none with a Buffer, and a part without one would be
 * read as text.
 */
function withFileNames(form: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  const unnamed =
    /(\r\ncontent-disposition: form-data; name="[^"\r\n]*")(\r\ncontent-type: application\/octet-stream\r\n)/gi;
  const text = form.toString("latin1");
  const named = text.replaceAll(unnamed, '$1; filename="file"$2');
  return named === text ? form : Buffer.from(named, "latin1");
}

/** `undefined` when the body is not a form after all. */
async function fieldsOfForm(bytes: Buffer<ArrayBuffer>, type: string): Promise<FormFields | undefined> {
  try {
    const form = await new Response(withFileNames(bytes), { headers: { "content-type": type } }).formData();
    const fields = [...form].map(async ([name, value]) => {
      return [name, typeof value === "string" ? value : await value.bytes()] as const;
    });
    return Object.fromEntries(await Promise.all(fields));
  } catch {
    return undefined;
  }
}
