import { hash } from "node:crypto";
import { type ListenOptions, Server } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SQS } from "@aws-sdk/client-sqs";
import { projectOf } from "../../../infra/project.js";
import { createQueues } from "../../../lib/local/queues.ts";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { lockState, storedQueues } from "../../../lib/local/state.ts";
import { appId, eventBody } from "../../support/events.ts";

export interface TestLetter {
  readonly id: string;
  readonly type?: string;
  readonly body?: string;
  /** Of the message; none is a letter that SQS moved. */
  readonly attributes?: Readonly<Record<string, string>> | undefined;
  readonly queue?: "dead-letters" | "dead-letters.fifo" | "quarantine" | "events";
  readonly sentAtMs?: number;
  /** Of the message, in a FIFO queue. */
  readonly group?: string;
}

/** What the worker writes beside a letter. */
export function deathOf(given: {
  id: string;
  type?: string;
  at?: string;
  reason?: string;
  redrives?: number;
  diedAtMs?: number;
  fingerprint?: string;
  lane?: string;
}): Record<string, string> {
  const { id, type = "test.event", at = "functions/events/test.event.ts:3:9", fingerprint = "0a1b2c3d" } = given;
  const { reason = "attemptsExhausted", redrives = 0, diedAtMs = Date.now() - 180_000 } = given;
  return {
    deadReason: reason,
    error: JSON.stringify({
      errorClass: "TypeError",
      errorCode: "ECONNRESET",
      at,
      fingerprint,
      frames: [at, "functions/own.ts:7:1"],
    }),
    attempts: "10",
    firstAttemptAt: new Date(diedAtMs - 3_060_000).toISOString(),
    lastAttemptAt: new Date(diedAtMs).toISOString(),
    eventId: id,
    eventType: type,
    redrives: String(redrives),
    ...(given.lane === undefined ? {} : { lane: given.lane }),
  };
}

/** The embedded SQS as a running `npm start` has it, in this process. A desk that finds it starts none. */
export async function runServices(folder: string, config: object = {}) {
  const unlock = lockState(folder);
  const { startFauxqs } = await import("fauxqs");
  const { listen } = Server.prototype;
  // As `embedded.ts` does: fauxqs would listen on every network interface.
  Server.prototype.listen = function (this: Server, options: ListenOptions, ...rest: never[]) {
    return listen.call(this, { ...options, host: "127.0.0.1" }, ...rest);
  } as typeof listen;
  const server = await startFauxqs({ port: 0, logger: false, dataDir: join(folder, "sqs") });
  Server.prototype.listen = listen;
  const endpoint = `http://127.0.0.1:${server.port}`;
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  const sqs = new SQS({ region: "us-east-1", credentials, endpoint });
  await createQueues(sqs, projectOf(config));
  const urlOf = (queue: string) => queueUrl(endpoint, queue);
  return {
    /** As `local.json` has them. */
    services: { sqs: endpoint, dynamo: "http://127.0.0.1:9", accessKeyId: credentials.accessKeyId },
    /** Sends these letters; those before them are gone. */
    async put(letters: readonly TestLetter[]): Promise<void> {
      for (const { name } of storedQueues(folder, Date.now())) await sqs.purgeQueue({ QueueUrl: urlOf(name) });
      for (const { id, type, queue = "dead-letters", body = bodyOf(id, type), attributes = {}, group } of letters) {
        const fifo = group === undefined ? {} : { MessageGroupId: group, MessageDeduplicationId: id };
        const MessageAttributes = valuesOf(attributes);
        await sqs.sendMessage({ QueueUrl: urlOf(queue), MessageBody: body, MessageAttributes, ...fifo });
      }
    },
    /** Hides so many dead letters for a minute, as a desk does that works on them. */
    async hide(count: number): Promise<void> {
      const seen = { MaxNumberOfMessages: count, VisibilityTimeout: 60 };
      await sqs.receiveMessage({ QueueUrl: urlOf("dead-letters"), ...seen });
    },
    async stop(): Promise<void> {
      sqs.destroy();
      await server.stop();
      unlock();
    },
  };
}

/** The state of a machine on which `npm start` has run before. */
export async function makeState(folder: string, config: object = {}): Promise<void> {
  const { stop } = await runServices(folder, config);
  await stop();
}

/** Writes letters as the embedded SQS keeps them: to send 10,000 takes longer than the test. */
export function putLetters(
  folder: string,
  letters: readonly TestLetter[],
  { clear = false, minutesLater = false } = {},
): void {
  const database = new DatabaseSync(join(folder, "sqs", "fauxqs.db"));
  const insert = database.prepare(
    `INSERT INTO sqs_messages (message_id, queue_name, body, md5_of_body, message_attributes, md5_of_message_attributes,
       sent_timestamp, message_group_id) VALUES (?, ?, ?, ?, ?, '', ?, ?)`,
  );
  database.exec("BEGIN");
  if (minutesLater)
    database.exec("UPDATE sqs_messages SET visibility_deadline = 1 WHERE visibility_deadline IS NOT NULL");
  if (clear) database.exec("DELETE FROM sqs_messages");
  for (const {
    id,
    type = "test.event",
    body = bodyOf(id, type),
    attributes = {},
    group = null,
    ...letter
  } of letters) {
    const { queue = "dead-letters", sentAtMs = Date.now() } = letter;
    const values = JSON.stringify(valuesOf(attributes));
    insert.run(`message-of-${id}`, queue, body, hash("md5", body), values, sentAtMs, group);
  }
  database.exec("COMMIT");
  database.close();
}

export function bodyOf(id: string, type = "test.event", madeAtMs = Date.now() - 4_000_000): string {
  const body = eventBody({ id, type, app: appId, event: { text: `the text of ${id}`, app_ticket: "CANARY" } });
  return body.replace("1760000000000", String(madeAtMs));
}

export function valuesOf(attributes: Readonly<Record<string, string>>) {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, StringValue]) => [name, { DataType: "String", StringValue }]),
  );
}
