import { fork } from "node:child_process";
import { join } from "node:path";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { CreateQueueCommand, QueueNameExists, SetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { type limits as defaultLimits, visibilityTimeoutSeconds } from "../../infra/limits.js";
import type { Project } from "../../infra/project.js";
import { ConfigError } from "../errors.ts";
import { createLedgerTable } from "./dynamodb.ts";
import { startFunctions } from "./functions.ts";
import { startGateway } from "./gateway.ts";
import { startPoller } from "./poller.ts";
import { queueArn, queueUrl } from "./sqs.ts";
import { createTables } from "./tables.ts";

export interface RuntimeOptions {
  readonly root: string;
  /** Where queues and ledger are kept. */
  readonly stateFolder: string;
  /** 0 takes a free port. */
  readonly port: number;
  readonly limits: typeof defaultLimits;
  /** The project's own; the tables among them are created. */
  readonly resources?: Project["resources"];
  /** The functions' own settings: keys, app id, log level. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onLine: (functionName: string, line: Record<string, unknown>, detail: string | undefined) => void;
  readonly onNotice: (notice: string) => void;
}

const region = "us-east-1";
const ledgerTable = "ledger";
const stopGraceMs = 5_000;
/** Feishu waits no longer for an answer, so a request is not held back longer for a function that is down. */
const patienceMs = 3_000;

/**
 * A laptop-sized AWS: embedded SQS and DynamoDB, the webhook and the callback function behind HTTP, the
 * worker function behind a poller. It holds none of the flow's logic; the functions run as deployed.
 */
export async function startRuntime(options: RuntimeOptions) {
  const { root, limits, onNotice, onLine } = options;
  const services = await startServices(options.stateFolder, onNotice);
  // In the order they are to be stopped: no more taken in, then what runs may finish, then its deletions.
  const stops: (() => Promise<void>)[] = [services.stop];
  const stop = async () => {
    for (const one of stops.splice(0)) await one();
  };
  try {
    const credentials = { accessKeyId: services.accessKeyId, secretAccessKey: "local" };
    const sqs = new SQSClient({ region, credentials, endpoint: services.endpoints.sqs });
    const dynamo = new DynamoDBClient({ region, credentials, endpoint: services.endpoints.dynamo });
    await createQueues(sqs, limits);
    await createLedgerTable(dynamo, ledgerTable);
    await createTables(dynamo, options.resources ?? {}, ledgerTable);
    dynamo.destroy();
    const url = (name: string) => queueUrl(services.endpoints.sqs, name);

    const env = {
      ...process.env,
      ...options.env,
      // A developer's own account: its credentials would be preferred, and sign what goes to the embedded services.
      AWS_PROFILE: undefined,
      AWS_DEFAULT_PROFILE: undefined,
      AWS_SESSION_TOKEN: undefined,
      AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: undefined,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      AWS_ENDPOINT_URL_SQS: services.endpoints.sqs,
      AWS_ENDPOINT_URL_DYNAMODB: services.endpoints.dynamo,
      EVENTS_QUEUE_URL: url("events"),
      QUARANTINE_QUEUE_URL: url("quarantine"),
      DEAD_LETTER_QUEUE_URL: url("dead-letters"),
      LEDGER_TABLE: ledgerTable,
      MAX_ATTEMPTS: String(limits.maxAttempts),
      MAX_RECEIVE_COUNT: String(limits.maxReceiveCount),
      CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
      STALE_KEYS_SECONDS: String(limits.staleKeysSeconds),
    };
    const modules = new Map(
      ["webhook", "callback", "worker"].map((name) => [name, join(root, "functions", `${name}.ts`)]),
    );
    const functions = startFunctions({ modules, env, onLine, onNotice });
    stops.unshift(() => functions.stop(stopGraceMs));
    await functions.ready();

    const behindHttp = (name: string, timeoutSeconds: number) => async (event: unknown) => {
      // After a crash Lambda has the next request wait for a fresh process, too.
      await functions.whenUp(name, patienceMs);
      return functions.invoke(name, event, timeoutSeconds * 1000);
    };
    const gateway = await startGateway({
      port: options.port,
      invoke: behindHttp("webhook", limits.webhookTimeoutSeconds),
      routes: new Map([["callback", behindHttp("callback", limits.callbackTimeoutSeconds)]]),
    });
    stops.unshift(gateway.stop);
    const poller = startPoller({
      client: sqs,
      queueUrl: url("events"),
      batchSize: limits.batchSize,
      concurrency: limits.maxConcurrency,
      async invoke(event) {
        // It may have gone down since the messages were asked for.
        await functions.whenUp("worker");
        return functions.invoke("worker", event, limits.workerTimeoutSeconds * 1000);
      },
      whenUp: () => functions.whenUp("worker"),
      // Until each record that was running then has been shown again, and some.
      hasCrashed: () => functions.hasCrashed("worker", 3_000 * visibilityTimeoutSeconds(limits)),
      onProblem: onNotice,
    });
    stops.unshift(poller.stop);
    stops.splice(-1, 0, async () => {
      await poller.drained();
      sqs.destroy();
    });
    return {
      /** Where events go; callbacks go to the other one. */
      url: `http://127.0.0.1:${gateway.port}/webhook`,
      callbackUrl: `http://127.0.0.1:${gateway.port}/callback`,
      endpoints: services.endpoints,
      /** The embedded services answer requests with this access key only. */
      accessKeyId: services.accessKeyId,
      /** What the functions run with, for another process that is to use the same queues and ledger. */
      env: env as NodeJS.ProcessEnv,
      /** Addresses that the embedded services listen on. */
      addresses: services.addresses,
      reload: functions.reload,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

export type Runtime = Awaited<ReturnType<typeof startRuntime>>;

async function startServices(folder: string, onNotice: (notice: string) => void) {
  const child = fork(join(import.meta.dirname, "embedded.ts"), [folder], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  let problem = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    problem = (problem + text).slice(-4_000);
  });
  let isReady = false;
  let isStopping = false;
  const started = Promise.withResolvers<{
    ready: { sqs: string; dynamo: string };
    accessKeyId: string;
    addresses: (string | undefined)[];
  }>();
  child.once("message", (message) => started.resolve(message as never));
  const exited = new Promise<void>((resolve) => {
    child.once("exit", (code) => {
      const advice = `Check that no other runtime uses ${folder}; if none does, delete it to start empty`;
      started.reject(new ConfigError(`Cannot start the embedded SQS and DynamoDB: ${advice}`, { cause: problem }));
      if (isReady && !isStopping)
        onNotice(`the embedded SQS and DynamoDB have ended (exit code ${code}): stop and start again`);
      resolve();
    });
  });
  const { ready, accessKeyId, addresses } = await started.promise;
  isReady = true;
  return {
    endpoints: ready,
    accessKeyId,
    addresses,
    async stop() {
      isStopping = true;
      if (child.connected) child.send("stop");
      const timer = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** The three queues with the deployed stack's numbers. They may be there from the last time, with other numbers. */
export async function createQueues(client: SQSClient, limits: typeof defaultLimits): Promise<void> {
  const kept = { MessageRetentionPeriod: String(limits.deadLetterRetentionSeconds) };
  await createQueue(client, "dead-letters", kept);
  await createQueue(client, "quarantine", kept);
  await createQueue(client, "events", {
    VisibilityTimeout: String(visibilityTimeoutSeconds(limits)),
    MessageRetentionPeriod: String(limits.queueRetentionSeconds),
    RedrivePolicy: JSON.stringify({
      deadLetterTargetArn: queueArn("dead-letters", region),
      maxReceiveCount: limits.maxReceiveCount,
    }),
  });
}

async function createQueue(client: SQSClient, name: string, attributes: Record<string, string>): Promise<void> {
  try {
    await client.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
  } catch (error) {
    // By its name: the embedded SQS spells it as old SDKs do, and the class is not found by that.
    if (!(error instanceof Error && error.name.endsWith(QueueNameExists.name))) throw error;
    const endpoint = await client.config.endpoint?.();
    const base = endpoint === undefined ? "" : `${endpoint.protocol}//${endpoint.hostname}:${endpoint.port}`;
    await client.send(new SetQueueAttributesCommand({ QueueUrl: queueUrl(base, name), Attributes: attributes }));
  }
}
