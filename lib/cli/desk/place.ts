import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type Message, SQS } from "@aws-sdk/client-sqs";
import type { Command } from "commander";
import { startServices } from "../../local/runtime.ts";
import { queueUrl } from "../../local/sqs.ts";
import { isLockedByOther, lockState, storedMessages } from "../../local/state.ts";
import { CommandError, UsageError } from "../command.ts";
import { awsClients, reasonOf } from "../deploy/clients.ts";
import { regionOf } from "../deploy/parameter-store.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { deployedStage } from "../state/deployed.ts";
import { readLocal } from "../state/target.ts";
import type { QueueName } from "./letters.ts";

export interface PlaceOptions {
  readonly stage?: string;
  readonly region?: string;
  readonly state: string;
}

/** What was seen of a queue. */
export interface Look {
  readonly messages: readonly Message[];
  /** How many messages the queue says it has. */
  readonly total: number;
}

/** The queues of a place, by SQS's protocol. */
export interface Queues {
  readonly sqs: SQS;
  /** Whether nobody handles events: `npm start` does not run. */
  readonly isIdle: boolean;
  readonly urls: Readonly<Record<QueueName | "events", string>>;
}

/** Where a command works: a deployed stage, or the state of this machine. */
export interface Place {
  /** As in a sentence: `the stage prod`. */
  readonly name: string;
  readonly root: string;
  readonly stateFolder: string;
  readonly stage: string | undefined;
  readonly region: string | undefined;
  /** What to type to get here: ` --stage prod`, or nothing. */
  readonly args: string;
  /** Takes no message out of the queue. On a stage it ends when `most` are seen. */
  look(queue: QueueName, onSeen?: (seen: number, total: number) => void, most?: number): Promise<Look>;
  queues(): Promise<Queues>;
  /** When the code that handles events was last changed. */
  codeChangedAtMs(): Promise<number>;
  close(): Promise<void>;
}

export function placed(command: Command): Command {
  return command
    .option("--stage <stage>", "a deployed stage, instead of the state of this machine")
    .option("--region <region>", "with --stage: its region (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--state <folder>", "without --stage: where npm start keeps its state", ".larkpost");
}

/** Does work that Ctrl-C aborts. A second Ctrl-C ends the process. */
export async function stoppable<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopping = new AbortController();
  const stop = () => stopping.abort();
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.once(signal, stop);
  try {
    return await work(stopping.signal);
  } finally {
    for (const signal of signals) process.off(signal, stop);
  }
}

/** @param cannot The beginning of each message: `Cannot list`. */
export async function findPlace(cannot: string, options: PlaceOptions): Promise<Place> {
  const { stage, region, state } = options;
  const root = projectRoot();
  loadEnv(root);
  const stateFolder = resolve(root, state);
  if (stage !== undefined) return stagePlace(cannot, { stage, region: regionOf(region), root, stateFolder });
  if (region !== undefined) throw new UsageError(`${cannot}: --region is of a stage. Give --stage as well`);
  return localPlace(cannot, { root, stateFolder, isDefault: state === ".larkpost" });
}

async function stagePlace(
  cannot: string,
  given: { stage: string; region: string; root: string; stateFolder: string },
): Promise<Place> {
  const { stage, region } = given;
  const { outputs, name } = await deployedStage(cannot, given);
  const urlOf = (output: "EventsQueueUrl" | "DeadLetterQueueUrl" | "QuarantineQueueUrl") => {
    const url = outputs[output];
    if (url !== undefined) return url;
    throw new CommandError(
      `${cannot}: the stack ${name} in ${region} does not say its ${output}. Deploy it again with this release`,
    );
  };
  const urls = {
    events: urlOf("EventsQueueUrl"),
    dead: urlOf("DeadLetterQueueUrl"),
    quarantine: urlOf("QuarantineQueueUrl"),
  };
  // A person at a shell, perhaps far from the region, waits longer than a function.
  const requestHandler = { connectionTimeout: 5_000, socketTimeout: 10_000 };
  const sqs = new SQS({ region, requestHandler, maxAttempts: 6 });
  return {
    ...given,
    name: `the stage ${stage} in ${region}`,
    args: ` --stage ${stage}`,
    look: (queue, onSeen, most) => lookByReceives(cannot, { sqs, url: urls[queue], onSeen, most }),
    queues: async () => ({ sqs, urls, isIdle: false }),
    async codeChangedAtMs() {
      const { lambda } = await awsClients({ region });
      const found = lambda.getFunction({ FunctionName: `${name}-worker` });
      const { Configuration } = await asked(cannot, "lambda:GetFunction", found);
      return Date.parse(Configuration?.LastModified ?? "");
    },
    close: async () => sqs.destroy(),
  };
}

/** So many receives in a row without a new message end a look: SQS picks by chance, and may never show the rest. */
const patience = 40;
const receivesAtOnce = 4;

/** Receives with a visibility timeout of 0 until every message was seen, or nothing new comes. */
async function lookByReceives(
  cannot: string,
  given: {
    sqs: SQS;
    url: string;
    onSeen: ((seen: number, total: number) => void) | undefined;
    most: number | undefined;
  },
): Promise<Look> {
  const { sqs, url, onSeen, most = Number.POSITIVE_INFINITY } = given;
  const total = await countOf(cannot, sqs, url);
  const seen = new Map<string, Message>();
  let idle = 0;
  const receiveAll = async () => {
    while (seen.size < Math.min(total, most) && idle < patience) {
      const before = seen.size;
      const messages = await receive(cannot, sqs, url, { max: 10, hiddenSeconds: 0 });
      for (const message of messages) seen.set(message.MessageId ?? "", message);
      idle = seen.size > before ? 0 : idle + 1;
      onSeen?.(seen.size, total);
    }
  };
  await Promise.all(Array.from({ length: receivesAtOnce }, receiveAll));
  return { messages: [...seen.values()], total: Math.max(total, seen.size) };
}

export async function receive(
  cannot: string,
  sqs: Pick<SQS, "receiveMessage">,
  url: string,
  { max, hiddenSeconds, waitSeconds = 0 }: { max: number; hiddenSeconds: number; waitSeconds?: number },
): Promise<Message[]> {
  const { Messages = [] } = await asked(
    cannot,
    "sqs:ReceiveMessage",
    sqs.receiveMessage({
      QueueUrl: url,
      MaxNumberOfMessages: max,
      VisibilityTimeout: hiddenSeconds,
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: ["All"],
      MessageSystemAttributeNames: ["SentTimestamp", "MessageGroupId"],
    }),
  );
  return Messages;
}

/** Visible, hidden and delayed messages. */
export async function countOf(cannot: string, sqs: Pick<SQS, "getQueueAttributes">, url: string): Promise<number> {
  const kinds = ["", "NotVisible", "Delayed"].map((kind) => `ApproximateNumberOfMessages${kind}` as const);
  const { Attributes = {} } = await asked(
    cannot,
    "sqs:GetQueueAttributes",
    sqs.getQueueAttributes({ QueueUrl: url, AttributeNames: kinds as "ApproximateNumberOfMessages"[] }),
  );
  return Object.values(Attributes).reduce((sum, count) => sum + Number(count), 0);
}

/**
 * AWS's answer.
 * @throws {CommandError} One line: the fault's name, and for a right that is missing that right.
 */
export async function asked<T>(cannot: string, right: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const reason = reasonOf(error);
    throw new CommandError(`${cannot}: ${reason}. ${adviceOn(reason, right)}`, { cause: error });
  }
}

/** What to do when AWS gives no answer. */
export function adviceOn(reason: string, right: string): string {
  return /AccessDenied|Unauthorized|NotAuthorized/i.test(reason)
    ? `You need the right ${right}`
    : "Check the AWS credentials, the region and the network, and type the command again: it goes on where it was";
}

function localPlace(
  cannot: string,
  { root, stateFolder, isDefault }: { root: string; stateFolder: string; isDefault: boolean },
): Place {
  const shown = relative(process.cwd(), stateFolder) || ".";
  const stops: (() => Promise<void> | void)[] = [];
  let isIdle = false;
  async function services(): Promise<{ sqs: string; accessKeyId: string }> {
    try {
      stops.unshift(lockState(stateFolder));
    } catch (error) {
      if (!isLockedByOther(error)) throw error;
      const running = readLocal(join(stateFolder, "local.json"))?.services;
      if (running !== undefined) return running;
      throw new CommandError(`${cannot}: another process starts with the state ${shown}. Type it again in a moment`);
    }
    const { endpoints, accessKeyId, stop } = await startServices(stateFolder);
    stops.unshift(stop);
    isIdle = true;
    return { sqs: endpoints.sqs, accessKeyId };
  }
  return {
    name: `this machine (${shown})`,
    ...{ root, stateFolder, stage: undefined, region: undefined },
    args: isDefault ? "" : ` --state ${shown}`,
    async look(queue) {
      const messages = storedMessages(stateFolder, localNames[queue]).map(
        (row): Message => ({
          MessageId: row.message_id,
          Body: row.body,
          MessageAttributes: JSON.parse(row.message_attributes) as NonNullable<Message["MessageAttributes"]>,
          Attributes: {
            SentTimestamp: String(row.sent_timestamp),
            ...(row.message_group_id === null ? {} : { MessageGroupId: row.message_group_id }),
          },
        }),
      );
      return { messages, total: messages.length };
    },
    async queues() {
      if (!existsSync(join(stateFolder, "sqs"))) {
        throw new CommandError(`${cannot}: there is no state in ${shown}. Check --state, or run "npm start" first`);
      }
      const { sqs: endpoint, accessKeyId } = await services();
      const credentials = { accessKeyId, secretAccessKey: "local" };
      const sqs = new SQS({ region: "us-east-1", credentials, endpoint });
      stops.unshift(() => sqs.destroy());
      const urlOf = (name: keyof typeof localNames) => queueUrl(endpoint, localNames[name]);
      const urls = { events: urlOf("events"), dead: urlOf("dead"), quarantine: urlOf("quarantine") };
      return { sqs, urls, isIdle };
    },
    codeChangedAtMs: async () => lastChangeMs(root),
    async close() {
      for (const stop of stops.splice(0)) await stop();
    },
  };
}

/** When a file of the project was last changed that a handler may be made of. */
function lastChangeMs(folder: string): number {
  const times = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return /^(\.|node_modules$|dist$)/.test(entry.name) ? [] : [lastChangeMs(path)];
    const isCode = /\.(?:[cm]?[jt]s|json)$|^\.env$/.test(entry.name) && !/\.gen\.ts$/.test(entry.name);
    return isCode && entry.isFile() ? [statSync(path).mtimeMs] : [];
  });
  return Math.max(0, ...times);
}

const localNames = { events: "events", dead: "dead-letters", quarantine: "quarantine" };
