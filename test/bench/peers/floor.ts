import { createDecipheriv, createHash, createSecretKey, hash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";

// The least that could answer: the cryptography and, for an event, one TLS request in the form of
// SendMessage; no SDK, no signature for AWS, no check beyond Feishu's own.

interface HttpEvent {
  readonly headers: Record<string, string>;
  readonly body: string;
}

const { ENCRYPT_KEY = "", EVENTS_QUEUE_URL = "" } = process.env;
const key = createSecretKey(createHash("sha256").update(ENCRYPT_KEY).digest());
let options: RequestOptions | undefined;

export async function handler({ headers, body }: HttpEvent): Promise<{ statusCode: number }> {
  const signature = headers["x-lark-signature"];
  if (signature !== undefined) {
    const signed = `${headers["x-lark-request-timestamp"]}${headers["x-lark-request-nonce"]}${ENCRYPT_KEY}${body}`;
    if (hash("sha256", signed) !== signature) return { statusCode: 401 };
  }
  const blob = Buffer.from((JSON.parse(body) as { encrypt: string }).encrypt, "base64");
  const decipher = createDecipheriv("aes-256-cbc", key, blob.subarray(0, 16));
  const text = Buffer.concat([decipher.update(blob.subarray(16)), decipher.final()]).toString("utf8");
  const message = JSON.parse(text) as { challenge?: string };
  return { statusCode: message.challenge === undefined ? await send(text) : 200 };
}

function send(MessageBody: string): Promise<number> {
  // The named exports of an imported "node:https" would load much more than this request needs.
  const { Agent, request } = process.getBuiltinModule("node:https");
  const { hostname, port } = new URL(EVENTS_QUEUE_URL);
  options ??= { hostname, port, method: "POST", path: "/", agent: new Agent({ keepAlive: true }) };
  const payload = JSON.stringify({ QueueUrl: EVENTS_QUEUE_URL, MessageBody });
  const headers = {
    "content-type": "application/x-amz-json-1.0",
    "content-length": Buffer.byteLength(payload),
    "x-amz-target": "AmazonSQS.SendMessage",
  };
  return new Promise((resolve, reject) => {
    const answered = (response: IncomingMessage) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode ?? 0));
    };
    request({ ...options, headers }, answered)
      .once("error", reject)
      .end(payload);
  });
}
