import { existsSync, readdirSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import type { Message, SQS, SQSClientConfig } from "@aws-sdk/client-sqs";
import type { Command } from "commander";
import { laneId, lanesText } from "../../../infra/lanes.js";
import { readProject } from "../../../infra/project.js";
import { parseLanes } from "../../aws/lanes.ts";
import { appKeys, type EncryptKey } from "../../feishu/keys.ts";
import { createQueues } from "../../local/queues.ts";
import { startServices } from "../../local/runtime.ts";
import { queueUrl } from "../../local/sqs.ts";
import { isLockedByOther, lockState, type StoredMessage, storedMessages } from "../../local/state.ts";
import { CommandError, UsageError } from "../command.ts";
import { awsClients } from "../deploy/clients.ts";
import { askSsm, findSecrets, parameterName, regionOf } from "../deploy/parameter-store.ts";
import { defaultState, loadEnv, projectRoot, stateArgs } from "../project.ts";
import { deployedStage } from "../state/deployed.ts";
import { readLocal } from "../state/target.ts";
import { type Lanes, localQueues, type QueueName } from "./letters.ts";
import { askAws, type Look, lookByReceives } from "./sqs.ts";
import { lookAtHeads } from "./take.ts";

export interface PlaceOptions {
  readonly stage?: string;
  readonly region?: string;
  readonly state: string;
}

/** A queue of letters. Where a lane is a FIFO queue, SQS moves its letters to another FIFO queue. */
interface LettersQueue {
  readonly url: string;
  readonly isFifo: boolean;
}

/** The queues of a place, by SQS's protocol. */
export interface Queues {
  readonly sqs: SQS;
  /** Whether no process handles events: `npm start` does not run. */
  readonly isIdle: boolean;
  readonly eventsQueueUrl: string;
  readonly letters: Readonly<Record<QueueName, readonly LettersQueue[]>>;
}

/** Where a command works: a deployed stage, or the state of this machine. */
export interface Place {
  /** As in a sentence: `the stage prod`. */
  readonly name: string;
  readonly root: string;
  readonly stateFolder: string;
  readonly stage: string | undefined;
  readonly region: string | undefined;
  /** What to type to get here: ` --stage prod`, or nothing. With the region, if it was typed. */
  readonly args: string;
  readonly lanes: Lanes;
  /** Takes no message out of the queue. On a stage it ends when `most` are seen. */
  look(queue: QueueName, onSeen?: (seen: number, total: number) => void, most?: number): Promise<Look>;
  queues(): Promise<Queues>;
  /** The keys for what is in the quarantine as it was received; of other letters none is. */
  encryptKeys(queue: QueueName): Promise<readonly EncryptKey[]>;
  /** When the code that handles events was last changed. */
  codeChangedAtMs(): Promise<number>;
  close(): Promise<void>;
}

export function placed(command: Command): Command {
  return command
    .option("--stage <stage>", "a deployed stage, instead of the state of this machine")
    .option("--region <region>", "with --stage: its region (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--state <folder>", "without --stage: where npm start keeps its state", defaultState);
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

/** @param region As it was typed. Without one, the next command looks where this one did. */
export function stageArgs(stage: string, region: string | undefined): string {
  return ` --stage ${stage}${region === undefined ? "" : ` --region ${region}`}`;
}

/** @param cannot The beginning of each message: `Cannot list`. */
export async function findPlace(cannot: string, options: PlaceOptions): Promise<Place> {
  const { stage, region, state } = options;
  const root = projectRoot();
  loadEnv(root);
  const stateFolder = resolve(root, state);
  if (stage !== undefined) {
    const args = stageArgs(stage, region);
    return stagePlace(cannot, { stage, region: regionOf(region), root, stateFolder, args });
  }
  if (region !== undefined) throw new UsageError(`${cannot}: --region is of a stage. Give --stage as well`);
  return localPlace(cannot, { root, stateFolder, args: stateArgs(state) });
}

async function stagePlace(
  cannot: string,
  where: { stage: string; region: string; root: string; stateFolder: string; args: string },
): Promise<Place> {
  const { stage, region } = where;
  const { outputs, name } = await deployedStage(cannot, where);
  const urlOf = (output: "EventsQueueUrl" | "DeadLetterQueueUrl" | "QuarantineQueueUrl") => {
    const url = outputs[output];
    if (url !== undefined) return url;
    throw new CommandError(
      `${cannot}: the stack ${name} in ${region} does not say its ${output}. Deploy it again with this release`,
    );
  };
  const eventsQueueUrl = urlOf("EventsQueueUrl");
  const { DeadLetterFifoQueueUrl: fifoUrl, Lanes } = outputs;
  const letters = {
    dead: [
      { url: urlOf("DeadLetterQueueUrl"), isFifo: false },
      ...(fifoUrl === undefined ? [] : [{ url: fifoUrl, isFifo: true }]),
    ],
    quarantine: [{ url: urlOf("QuarantineQueueUrl"), isFifo: false }],
  };
  // A person at a shell, perhaps far from the region, waits longer than a function.
  const requestHandler = { connectionTimeout: 5_000, socketTimeout: 10_000 };
  const sqs = await sqsClient({ region, requestHandler, maxAttempts: 6 });
  return {
    ...where,
    name: `the stage ${stage} in ${region}`,
    lanes: { list: parseLanes(Lanes), eventsQueue: eventsQueueUrl },
    async look(queue, onSeen, most) {
      const looks = letters[queue].map(({ url, isFifo }) =>
        isFifo ? lookAtHeads(cannot, { sqs, url, most }) : lookByReceives(cannot, { sqs, url, onSeen, most }),
      );
      const seen = await Promise.all(looks);
      return {
        messages: seen.flatMap(({ messages }) => messages),
        total: seen.reduce((sum, { total }) => sum + total, 0),
      };
    },
    queues: async () => ({ sqs, eventsQueueUrl, letters, isIdle: false }),
    async encryptKeys(queue) {
      if (queue !== "quarantine") return [];
      const { ssm } = awsClients({ region });
      const parameter = parameterName(stage, "app");
      const secrets = await askSsm(parameter, findSecrets(ssm, parameter));
      return secrets === undefined ? [] : appKeys(secrets).encryptKeys;
    },
    async codeChangedAtMs() {
      const { lambda } = awsClients({ region });
      // A lane's own numbers change its worker alone.
      const lanes = parseLanes(Lanes).map((lane) => laneId(lane.name));
      const changes = ["", ...lanes].map(async (id) => {
        const found = lambda.getFunction({ FunctionName: `${name}-worker${id}` });
        const { Configuration } = await askAws(cannot, "lambda:GetFunction", found);
        return Date.parse(Configuration?.LastModified ?? "");
      });
      return Math.max(...(await Promise.all(changes)));
    },
    close: async () => sqs.destroy(),
  };
}

async function localPlace(
  cannot: string,
  { root, stateFolder, args }: Pick<Place, "root" | "stateFolder" | "args">,
): Promise<Place> {
  const project = await readProject(root);
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
    root,
    stateFolder,
    stage: undefined,
    region: undefined,
    args,
    lanes: { list: parseLanes(lanesText(project)), eventsQueue: "events" },
    async look(queue) {
      const messages = localQueues[queue].flatMap((name) => storedMessages(stateFolder, name)).map(toMessage);
      return { messages, total: messages.length };
    },
    async queues() {
      if (!existsSync(join(stateFolder, "sqs"))) {
        throw new CommandError(`${cannot}: there is no state in ${shown}. Check --state, or run "npm start" first`);
      }
      const { sqs: endpoint, accessKeyId } = await services();
      const credentials = { accessKeyId, secretAccessKey: "local" };
      const sqs = await sqsClient({ region: "us-east-1", credentials, endpoint });
      stops.unshift(() => sqs.destroy());
      // A lane that npm start has not seen yet has no queues.
      if (isIdle) await createQueues(sqs, project);
      const lettersOf = (queue: QueueName) =>
        localQueues[queue]
          .filter((name) => !isFifo(name) || storedMessages(stateFolder, name).length > 0)
          .map((name) => ({ url: queueUrl(endpoint, name), isFifo: isFifo(name) }));
      const letters = { dead: lettersOf("dead"), quarantine: lettersOf("quarantine") };
      return { sqs, eventsQueueUrl: queueUrl(endpoint, "events"), letters, isIdle };
    },
    async encryptKeys(queue) {
      const value = process.env["ENCRYPT_KEY"] || readLocal(join(stateFolder, "local.json"))?.encryptKey;
      if (queue !== "quarantine" || !value) return [];
      return appKeys({ appId: "", encryptKeys: [{ value }], verificationTokens: [] }).encryptKeys;
    },
    codeChangedAtMs: async () => lastChangeMs(root),
    async close() {
      for (const stop of stops.splice(0)) await stop();
    },
  };
}

/** Loaded here, because a look at this machine's letters needs none. */
async function sqsClient(settings: SQSClientConfig): Promise<SQS> {
  const { SQS } = await import("@aws-sdk/client-sqs");
  return new SQS(settings);
}

/** When a file of the project was last changed that a handler may be made of, or a handler's file was deleted. */
function lastChangeMs(folder: string): number {
  const times = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return /^(\.|node_modules$|dist$)/.test(entry.name) ? [] : [lastChangeMs(path)];
    const isCode = /\.(?:[cm]?[jt]s|json)$|^\.env$/.test(entry.name) && !/\.gen\.ts$/.test(entry.name);
    return isCode && entry.isFile() ? [statSync(path).mtimeMs] : [];
  });
  const isOfHandlers = /[\\/]functions[\\/](?:events|callbacks)$/.test(folder);
  return Math.max(isOfHandlers ? statSync(folder).mtimeMs : 0, ...times);
}

function isFifo(name: string): boolean {
  return name.endsWith(".fifo");
}

function toMessage(row: StoredMessage): Message {
  return {
    MessageId: row.message_id,
    Body: row.body,
    MessageAttributes: JSON.parse(row.message_attributes) as NonNullable<Message["MessageAttributes"]>,
    Attributes: {
      SentTimestamp: String(row.sent_timestamp),
      ...(row.message_group_id === null ? {} : { MessageGroupId: row.message_group_id }),
    },
  };
}
