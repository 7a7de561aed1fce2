import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { type Lane, lanesOf, lanesText } from "../../infra/lanes.js";
import type { Project } from "../../infra/project.js";
import { ConfigError } from "../errors.ts";
import { createLedgerTable, type TableClient } from "./dynamodb.ts";
import type { EmbeddedOrder, EmbeddedServices } from "./embedded.ts";
import { clientOf, exchangeOver } from "./exchange.ts";
import { startFunctions } from "./functions.ts";
import { startGateway } from "./gateway.ts";
import type { PollerClient } from "./poller.ts";
import { forkModule } from "./process.ts";
import { createQueues, type Numbers, type QueueClient, queuesWithoutLane } from "./queues.ts";
import { queueUrl } from "./sqs.ts";
import { createTables } from "./tables.ts";
import { startWorker, workerEnv } from "./worker.ts";

interface RuntimeOptions {
  readonly root: string;
  /** Folder of the queues' and the ledger's data. The caller has locked it. */
  readonly stateFolder: string;
  /** Port 0 takes a free one. */
  readonly port: number;
  /** The DynamoDB tables among its resources are created. */
  readonly project: Numbers & Pick<Project, "resources">;
  /** The functions' settings: keys, app id, log level. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onLine: (functionName: string, line: Record<string, unknown>, detail: string | undefined) => void;
  readonly onNotice: (notice: string) => void;
  /** Called with what a function is about to be invoked with. */
  readonly onInvoke?: ((functionName: string, event: unknown) => void) | undefined;
}

const region = "us-east-1";
export const ledgerTable = "ledger";
const defaultLane = "default";
/** The embedded services check the access key only. */
const secretAccessKey = "local";
const stopGraceMs = 5_000;
/** How long a request waits for a function that is down. Feishu waits no longer for an answer. */
const maxWaitMs = 3_000;

/**
 * A laptop-sized AWS: embedded SQS and DynamoDB, the webhook and the callback function behind HTTP, and a worker
 * function behind a poller for each lane. The functions run the same code as on AWS.
 */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: each part is stopped in an order that those before it decide
export async function startRuntime(options: RuntimeOptions) {
  const { root, project, onNotice, onLine } = options;
  const { limits } = project;
  const lanes = lanesOf(project);
  const services = await startServices(options.stateFolder);
  for (const notice of services.notices) onNotice(notice);
  // In the order in which they are stopped: first the two that accept work, then the functions, which finish it, then
  // the poller's deletions, then the services.
  const stops: (() => Promise<void>)[] = [services.stop];
  const stop = async () => {
    for (const stopPart of stops.splice(0)) await stopPart();
  };
  try {
    const { endpoints, accessKeyId } = services;
    const toSqs = exchangeOver(endpoints.sqs);
    const toDynamo = exchangeOver(endpoints.dynamo);
    const sqs = clientOf<QueueClient & PollerClient>("AmazonSQS", toSqs.exchange, accessKeyId);
    const dynamo = clientOf<TableClient>("DynamoDB_20120810", toDynamo.exchange, accessKeyId);
    await createQueues(sqs, project);
    await createLedgerTable(dynamo, ledgerTable);
    await createTables(dynamo, project.resources, ledgerTable);
    toDynamo.destroy();
    const env = functionsEnv({ ...options, ...services });
    const fileOf = (name: string) => join(root, "functions", `${name}.ts`);
    const workers = new Map(lanes.map((lane) => [`worker${lane.id}`, lane]));
    const functions = startFunctions({
      modules: new Map([
        ...["webhook", "callback"].map((name) => [name, fileOf(name)] as const),
        ...[...workers.keys()].map((name) => [name, fileOf("worker")] as const),
      ]),
      env,
      ownEnv: new Map([...workers].map(([name, lane]) => [name, workerEnv(lane)])),
      onLine(name, line, detail) {
        const lane = workers.get(name)?.name ?? defaultLane;
        onLine(name, lane === defaultLane ? line : { ...line, lane }, detail);
      },
      onNotice,
      onLaunch: services.endWithParent,
    });
    stops.unshift(() => functions.stop(stopGraceMs));
    await functions.ready();

    const behindHttp = (name: string, timeoutSeconds: number) => async (event: unknown) => {
      // After a crash, Lambda lets the next request wait for a new process as well.
      await functions.whenUp(name, maxWaitMs);
      options.onInvoke?.(name, event);
      return functions.invoke(name, event, timeoutSeconds * 1000);
    };
    const gateway = await startGateway({
      port: options.port,
      invoke: behindHttp("webhook", limits.webhookTimeoutSeconds),
      routes: new Map([["callback", behindHttp("callback", limits.callbackTimeoutSeconds)]]),
    });
    stops.unshift(gateway.stop);
    const poll = (functionName: string, lane: Lane) =>
      startWorker({
        client: sqs,
        queueUrl: queueUrl(services.endpoints.sqs, lane.queueName),
        lane,
        functions,
        functionName,
        onInvoke: options.onInvoke,
        onProblem: onNotice,
      });
    const pollers = [...workers].map(([name, lane]) => poll(name, lane));
    for (const { lane, name, count } of await queuesWithoutLane(sqs, lanes)) {
      const events = count === 1 ? "1 event waits" : `${count} events wait`;
      onNotice(
        `${events} in the queue of the lane "${name}", which larkpost.config.js lacks: the default worker runs them`,
      );
      pollers.push(poll("worker", lane));
    }
    stops.unshift(async () => {
      const stopped = pollers.map(({ stop }) => stop());
      services.endPolls();
      await Promise.all(stopped);
    });
    stops.splice(-1, 0, async () => {
      await Promise.all(pollers.map(({ drained }) => drained()));
      toSqs.destroy();
    });
    return {
      /** The request address for events. */
      url: `http://127.0.0.1:${gateway.port}/webhook`,
      /** The request address for callbacks. */
      callbackUrl: `http://127.0.0.1:${gateway.port}/callback`,
      endpoints: services.endpoints,
      /** The embedded services answer requests with this access key only. */
      accessKeyId: services.accessKeyId,
      /** The functions' environment, for another process that uses the same queues and ledger. */
      env,
      /** The addresses on which the embedded services listen. */
      addresses: services.addresses,
      /** Rejects when the embedded services end by themselves: nothing can be stored any more. */
      failed: services.failed,
      /** Ends the process with this one, even if it is blocked then. */
      endWithParent: services.endWithParent,
      reload: functions.reload,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

export type Runtime = Awaited<ReturnType<typeof startRuntime>>;

/** The environment of the functions, as the deployed stack sets it. */
function functionsEnv(options: Pick<RuntimeOptions, "env" | "project"> & EmbeddedServices) {
  const { project, endpoints, accessKeyId } = options;
  const { limits } = project;
  return {
    ...process.env,
    ...options.env,
    // Unset: with the developer's AWS account in them, the SDK would not use the credentials below.
    AWS_PROFILE: undefined,
    AWS_DEFAULT_PROFILE: undefined,
    AWS_SESSION_TOKEN: undefined,
    AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: undefined,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_ENDPOINT_URL_SQS: endpoints.sqs,
    AWS_ENDPOINT_URL_DYNAMODB: endpoints.dynamo,
    EVENTS_QUEUE_URL: queueUrl(endpoints.sqs, "events"),
    QUARANTINE_QUEUE_URL: queueUrl(endpoints.sqs, "quarantine"),
    DEAD_LETTER_QUEUE_URL: queueUrl(endpoints.sqs, "dead-letters"),
    LEDGER_TABLE: ledgerTable,
    LANES: lanesText(project),
    MAX_DEFERRALS: String(limits.maxDeferrals),
    DEFER_FOR_SECONDS: String(limits.deferForSeconds),
    CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
    STALE_KEYS_SECONDS: String(limits.staleKeysSeconds),
  };
}

/** The message of the error that ended a process. Before it, Node prints the line that threw. */
export function reasonIn(stderr: string): string | undefined {
  return /^\S*Error.*?: (.*)/m.exec(stderr)?.[1];
}

/** Starts {@link EmbeddedServices} in their own process. */
export async function startServices(folder: string) {
  const child = forkModule("embedded", [folder], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    execArgv: ["--disable-warning=ExperimentalWarning"],
  });
  let problem = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    problem = (problem + text).slice(-4_000);
  });
  child.once("error", (error) => {
    problem ||= String(error);
  });
  let isReady = false;
  let isStopping = false;
  const started = Promise.withResolvers<EmbeddedServices>();
  const failed = Promise.withResolvers<never>();
  // Without this, a rejection that is not awaited yet would end the process.
  failed.promise.catch(() => {});
  child.once("message", (message) => started.resolve(message as EmbeddedServices));
  // After `exit`, so that all of its stderr is there.
  const exited = new Promise<void>((resolve) => {
    child.once("close", (code, signal) => {
      const reason = reasonIn(problem) ?? signal ?? `exit code ${code}`;
      const advice = `Check the disk and the folder ${folder}`;
      const options = { cause: problem };
      started.reject(new ConfigError(`Cannot start the embedded SQS and DynamoDB: ${reason}. ${advice}`, options));
      const kept = "What was acknowledged is kept for the next start";
      const ended = `Cannot go on: the embedded SQS and DynamoDB have ended (${reason}). ${advice}. ${kept}`;
      if (isReady && !isStopping) failed.reject(new ConfigError(ended, options));
      resolve();
    });
  });
  const send = (order: EmbeddedOrder) => child.send(order, () => {});
  const services = await started.promise;
  isReady = true;
  return {
    ...services,
    failed: failed.promise,
    /** Answers the polls that wait for a message. */
    endPolls: () => void send("end polls"),
    endWithParent(other: ChildProcess): void {
      const { pid } = other;
      if (pid === undefined) return;
      send({ pid, isRunning: true });
      other.once("exit", () => send({ pid, isRunning: false }));
    },
    async stop() {
      isStopping = true;
      if (child.connected) send("stop");
      const timer = setTimeout(() => child.kill("SIGKILL"), stopGraceMs);
      await exited;
      clearTimeout(timer);
    },
  };
}
