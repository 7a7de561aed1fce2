import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { EventDispatcher, generateChallenge, LoggerLevel } from "@larksuiteoapi/node-sdk";

// The same function on the official SDK: its dispatcher verifies and decrypts, the handler sends the event to SQS. The
// path is its HTTP adapter's with `autoChallenge`; the client's settings are ours.

interface HttpEvent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly isBase64Encoded: boolean;
  readonly version?: string;
}

const { ENCRYPT_KEY = "", VERIFICATION_TOKEN = "", EVENTS_QUEUE_URL } = process.env;

const client = new SQSClient({
  maxAttempts: 2,
  requestHandler: { connectionTimeout: 250, requestTimeout: 500, throwOnRequestTimeout: true, socketTimeout: 500 },
});

export const handler = webhook(async (data) => {
  await client.send(new SendMessageCommand({ QueueUrl: EVENTS_QUEUE_URL, MessageBody: JSON.stringify(data) }));
});
/** The same without the queue. */
export const open = webhook(async () => {});

function webhook(send: (data: unknown) => Promise<void>) {
  const dispatcher = new EventDispatcher({
    encryptKey: ENCRYPT_KEY,
    verificationToken: VERIFICATION_TOKEN,
    loggerLevel: LoggerLevel.error,
  }).register({
    "im.message.receive_v1": async (data) => {
      await send(data);
      return "queued";
    },
  });
  return async (event: HttpEvent) => {
    const { body, isBase64Encoded } = event;
    const text = isBase64Encoded ? Buffer.from(body, "base64").toString("utf8") : body;
    const data = Object.assign(Object.create({ headers: headersOf(event) }), JSON.parse(text));
    const { isChallenge, challenge } = generateChallenge(data, { encryptKey: ENCRYPT_KEY });
    if (isChallenge) return answer(200, challenge);
    return (await dispatcher.invoke(data)) === "queued" ? answer(200, {}) : answer(401, {});
  };
}

/** The SDK looks for names in lower case, which a REST API does not send. */
function headersOf({ version, headers }: HttpEvent) {
  if (version === "2.0") return headers;
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function answer(statusCode: number, body: object) {
  return { statusCode, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}
