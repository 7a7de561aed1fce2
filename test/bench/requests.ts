import type { SQSEvent } from "aws-lambda";
import { toBody } from "../../lib/aws/record.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { cardText } from "../support/callbacks.ts";
import { envelopeOf, record } from "../support/events.ts";
import { httpApi, restApi } from "../support/http-events.ts";
import { appId, challengeText, encryptKey, push, unsigned, v2Text, verificationToken } from "../support/push.ts";

/** The keys of the requests below, in the environment and as they are stored in SSM. */
export const keysEnv = { ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
export const storedSecrets = JSON.stringify({
  appId,
  appSecret: "an app secret for tests",
  encryptKeys: [{ value: encryptKey }],
  verificationTokens: [{ value: verificationToken }],
});
export { appId };

/** The events of both fronts: an HTTP API's and a Function URL's are alike. */
export const fronts = { "2.0": httpApi, "1.0": restApi };
export type Front = keyof typeof fronts;

/** What Feishu and a gateway send beside the signature. */
const usualHeaders = {
  "Accept-Encoding": "gzip",
  Host: "a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com",
  "User-Agent": "Go-http-client/1.1",
  "X-Amzn-Trace-Id": "Root=1-68f0c3a1-5d4e3f2a1b0c9d8e7f6a5b4c",
  "X-Forwarded-For": "203.0.113.7",
  "X-Forwarded-Port": "443",
  "X-Forwarded-Proto": "https",
  "X-Request-Id": "8d3f6a1e-0c57-4b92-9e4d-2f7a61c0b835",
  "X-Tt-Logid": "20251009083639C1A5B7D40E92F36A8B1C",
};

function throughGateway({ headers, rawBody }: SealedRequest, front: Front, path = "/webhook"): object {
  const names = [...headers].map(([name, value]) => [name.replace(/\b[a-z]/g, (c) => c.toUpperCase()), value] as const);
  const all = new Map([...names, ...Object.entries(usualHeaders), ["Content-Length", String(rawBody.length)]]);
  return fronts[front]({ headers: all, rawBody }, { path });
}

export function challengeEvent(): object {
  return throughGateway(unsigned(challengeText()), "2.0");
}

/** An event whose text, or with `of: "body"` whose whole request body, has about `bytes` bytes. */
export function messageEvent(
  bytes: number,
  { front = "2.0", of = "text" }: { front?: Front; of?: "text" | "body" } = {},
) {
  // Base64 makes four bytes of three.
  const text = messageText(of === "text" ? bytes : Math.floor((bytes - 64) / 4) * 3);
  return throughGateway(push(text, { nowMs: Date.now() }), front);
}

/** A click on a card's button. It is taken for five minutes. */
export function clickEvent(): object {
  return throughGateway(push(cardText(), { nowMs: Date.now() }), "2.0", "/callback");
}

/** Records of `count` events of 1 KB. */
export function batchEvent(count: number): SQSEvent {
  const text = messageText(1024);
  const id = (n: number) => String(n).padStart(eventId.length, "0");
  return {
    Records: Array.from({ length: count }, (_, n) =>
      record(toBody(envelopeOf(text.replace(eventId, id(n)))), { id: `message-${n}` }),
    ),
  };
}

const eventId = "5e3702a84e847582be8db7fb73283c02";
const sentence = "The pallet left the yard at noon and should be with you before the gate shuts. ";

/** A message of `bytes` bytes. Its content is a long post's: JSON within a JSON string, so full of escaped quotes. */
function messageText(bytes: number): string {
  const paragraph = { tag: "text", text: sentence };
  const textOf = (paragraphs: number, title: string) =>
    v2Text({
      header: { event_id: eventId, tenant_key: "2d94f07b61c8e35a" },
      event: {
        sender: {
          sender_id: {
            open_id: "ou_1b7e40c2d95f4a83b6e0c71f2a9d3548",
            union_id: "on_84d1f7a06c3e49b2a5f81c0e7d62b394",
            user_id: "4c8d21fa",
          },
          sender_type: "user",
          tenant_key: "2d94f07b61c8e35a",
        },
        message: {
          message_id: "om_e150ecf06637b0cb35779f6b356d7131",
          create_time: "1759999998900",
          chat_id: "oc_9f27c4e81b6d40a5b3e8d0721c5f9a64",
          chat_type: "group",
          message_type: "post",
          content: JSON.stringify({ title, content: [Array.from({ length: paragraphs }, () => paragraph)] }),
        },
      },
    });
  // As many paragraphs as fit, and a title that makes up the size.
  const paragraphBytes = JSON.stringify(JSON.stringify(paragraph)).length - 1;
  const paragraphs = Math.max(0, Math.floor((bytes - textOf(0, "").length) / paragraphBytes));
  return textOf(paragraphs, "x".repeat(Math.max(0, bytes - textOf(paragraphs, "").length)));
}
