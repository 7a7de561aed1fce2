import type { TLSSocket } from "node:tls";

// The least that could answer: the cryptography and, for an event, one TLS request in the form of SendMessage. No SDK,
// no HTTP client, no signature for AWS, no check beyond Feishu's own. Imported names of these modules would load more.
const { isAscii } = process.getBuiltinModule("node:buffer");
const { createDecipheriv, createHash, createSecretKey, hash } = process.getBuiltinModule("node:crypto");

interface HttpEvent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const { ENCRYPT_KEY = "", EVENTS_QUEUE_URL = "" } = process.env;
const key = createSecretKey(createHash("sha256").update(ENCRYPT_KEY).digest());
let socket: TLSSocket | undefined;

/** From the gateway's event to the message. */
export function open({ headers, body }: HttpEvent) {
  const header = (name: string, sent: string) => headers[name] ?? headers[sent];
  const signature = header("x-lark-signature", "X-Lark-Signature");
  if (signature !== undefined) {
    const timestamp = header("x-lark-request-timestamp", "X-Lark-Request-Timestamp");
    const nonce = header("x-lark-request-nonce", "X-Lark-Request-Nonce");
    const head = `${timestamp}${nonce}${ENCRYPT_KEY}`;
    // A large text costs more to join than to hash in two steps.
    const isSmall = body.length < 8_192;
    const digest = isSmall ? hash("sha256", head + body) : createHash("sha256").update(head).update(body).digest("hex");
    if (digest !== signature) return { statusCode: 401 };
  }
  const blob = Buffer.from(body.slice('{"encrypt":"'.length, -'"}'.length), "base64");
  const decipher = createDecipheriv("aes-256-cbc", key, blob.subarray(0, 16)).setAutoPadding(false);
  const padded = decipher.update(blob.subarray(16));
  const text = padded.toString(isAscii(padded) ? "latin1" : "utf8", 0, padded.length - (padded.at(-1) ?? 0));
  return { statusCode: 200, text, message: JSON.parse(text) as { readonly challenge?: string } };
}

export async function handler(event: HttpEvent) {
  const { statusCode, text = "", message } = open(event);
  if (message === undefined) return { statusCode };
  if (message.challenge !== undefined) return { statusCode, body: JSON.stringify({ challenge: message.challenge }) };
  const answer = await send(JSON.stringify({ QueueUrl: EVENTS_QUEUE_URL, MessageBody: text }));
  return answer.startsWith("HTTP/1.1 200") ? { statusCode, body: "{}" } : { statusCode: 503 };
}

function send(payload: string): Promise<string> {
  const { host, hostname, port } = new URL(EVENTS_QUEUE_URL);
  socket ??= process.getBuiltinModule("node:tls").connect({ host: hostname, port: Number(port) });
  const lines = [
    "POST / HTTP/1.1",
    `Host: ${host}`,
    "Content-Type: application/x-amz-json-1.0",
    "X-Amz-Target: AmazonSQS.SendMessage",
    `Content-Length: ${Buffer.byteLength(payload)}`,
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n${payload}`);
  return new Promise((resolve, reject) => {
    let answer = "";
    const read = (chunk: Buffer) => {
      answer += chunk.toString("latin1");
      if (!answer.endsWith("}")) return;
      socket?.off("data", read).off("error", reject);
      resolve(answer);
    };
    socket?.on("data", read).on("error", reject);
  });
}
