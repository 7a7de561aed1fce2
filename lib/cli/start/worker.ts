import { SQS } from "@aws-sdk/client-sqs";
import type { Command } from "commander";
import { type Lane, lanesOf } from "../../../infra/lanes.js";
import { readProject } from "../../../infra/project.js";
import { workerConfig } from "../../aws/config.ts";
import { ConfigError } from "../../errors.ts";
import { startFunctions } from "../../local/functions.ts";
import { reasonOf } from "../../local/long-connection.ts";
import { moduleBeside } from "../../local/module-beside.ts";
import { startWorker, workerEnv } from "../../local/worker.ts";
import { didYouMean } from "../../simulator/nearest.ts";
import { levelOf } from "../../trace/log.ts";
import { CommandError, subcommand, UsageError } from "../command.ts";
import { logText } from "../desk/timeline.ts";
import { generate, handlerNames } from "../handlers/generate.ts";
import { loadEnv, projectRoot, refuseUnset } from "../project.ts";
import { rank } from "./output.ts";
import { stopReason } from "./running.ts";
import { setVariables } from "./variables.ts";

/** In the names of the lanes' queues. EVENTS_QUEUE_URL ends with the deployed name in its place. */
const defaultQueue = "events";
/** How long a poll waits for a message: long enough for few polls, and short enough for a stop. */
const waitSeconds = 5;

export function workerCommand(): Command {
  return subcommand("worker")
    .description("run the handlers of a queue's events as a process, instead of the worker function")
    .option("--lane <name>", "the lane whose queue it receives from; without it, all that no lane has")
    .option("--json", "print JSON lines, one a stage, instead of text for a person")
    .addHelpText(
      "after",
      `
Settings come from the environment, and what is not there from a file .env, as the worker function has them:
APP_ID, APP_SECRET or SECRETS_PARAMETER, EVENTS_QUEUE_URL, QUARANTINE_QUEUE_URL, DEAD_LETTER_QUEUE_URL,
LEDGER_TABLE; if need be LARK_DOMAIN, LOG_LEVEL and your own. EVENTS_QUEUE_URL is the default lane's queue, also
with --lane. Batch size, concurrency, timeout and attempts are those of larkpost.config.js, for each lane. AWS
credentials and region as everywhere.

Prints a line when it receives. On SIGTERM or Ctrl-C it receives no more, lets the handlers that run end within the
worker's timeout, and exits with 0; with 1 when a setting is missing, or the queue cannot be read.

Examples:
  npm run worker
  npm run worker -- --lane ai
  APP_ID=cli_… EVENTS_QUEUE_URL=https://… npm run --silent worker -- --json`,
    )
    .action(run);
}

async function run({ json = false, lane: name = "default" }: { json?: boolean; lane?: string }): Promise<void> {
  const root = projectRoot();
  loadEnv(root);
  const queueNames = ["EVENTS_QUEUE_URL", "QUARANTINE_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"];
  refuseUnset("start", ["APP_ID", ...queueNames, "LEDGER_TABLE"]);
  const project = await readProject(root);
  setVariables(project, (table, variable) => {
    throw new ConfigError(`Cannot start: ${variable} is not set. It is the name of the deployed stage's ${table}`);
  });
  const { limits } = project;
  const lane = laneNamed(name, lanesOf(project));
  for (const [name, value] of Object.entries({
    ...workerEnv(lane),
    MAX_DEFERRALS: limits.maxDeferrals,
    DEFER_FOR_SECONDS: limits.deferForSeconds,
    STALE_KEYS_SECONDS: limits.staleKeysSeconds,
  })) {
    process.env[name] ||= String(value);
  }
  const queueUrl = workerConfig(process.env).eventsQueueUrl + lane.queueName.slice(defaultQueue.length);
  const client = new SQS({});
  const visibilityTimeoutSeconds = await visibilityOf(queueUrl, client, lane);
  await generate({ root });

  const stopped = Promise.withResolvers<never>();
  // Without this, a rejection that is not awaited yet would end the process.
  stopped.promise.catch(() => {});
  const reason = stopReason([stopped.promise]);
  const level = rank[levelOf(process.env["LOG_LEVEL"])];
  const print = (text: string, facts: object) => console.log(json ? JSON.stringify(facts) : text);
  const onNotice = (notice: string) => print(`! ${notice}`, { notice });
  const functions = startFunctions({
    modules: new Map([["worker", moduleBeside(import.meta, "worker-module")]]),
    env: process.env,
    onNotice,
    onLine(_name, line) {
      const isFatal = line["stage"] === "misconfigured" && line["level"] === "error";
      if (isFatal) stopped.reject(new CommandError(reasonOf(line)));
      else if (rank[line["level"] as keyof typeof rank] >= level) {
        print(logText({ atMs: Date.now(), source: "worker", line }).text, line);
      }
    },
  });
  try {
    await functions.ready();
    // A wrong setting or secret stops it before that.
    await Promise.race([stopped.promise, undefined]);
  } catch (error) {
    await functions.stop(0);
    throw error;
  }
  const worker = startWorker({
    client,
    queueUrl,
    waitSeconds,
    lane: { ...lane, visibilityTimeoutSeconds },
    functions,
    functionName: "worker",
    onProblem: onNotice,
  });
  const handlers = handlerNames("events", root);
  const ready = `Ready: receives from ${queueUrl}, for ${handlers.join(", ") || "no handler"}`;
  print(ready, { ready: true, queue: queueUrl, handlers });

  const problem = await reason;
  if (problem !== undefined) console.error(problem.message);
  await worker.stop();
  await functions.stop(lane.timeoutSeconds * 1000);
  await worker.drained();
  process.exit(problem === undefined ? 0 : 1);
}

/** @throws {UsageError} */
function laneNamed(name: string, lanes: readonly Lane[]): Lane {
  const lane = lanes.find((each) => each.name === name);
  if (lane !== undefined) return lane;
  const names = lanes.map((each) => each.name);
  const advice = didYouMean(name, names);
  throw new UsageError(`Cannot start: larkpost.config.js has no lane "${name}". It has ${names.join(", ")}.${advice}`);
}

/**
 * The queue's visibility timeout, in seconds.
 * @throws {CommandError} The queue does not answer, or shows a message again while its handler may still run. Lambda
 * refuses such a queue as well.
 */
async function visibilityOf(queueUrl: string, client: SQS, lane: Lane): Promise<number> {
  const { timeoutSeconds, visibilityTimeoutSeconds } = lane;
  const attributes = client.getQueueAttributes({ QueueUrl: queueUrl, AttributeNames: ["VisibilityTimeout"] });
  const { Attributes } = await attributes.catch((cause: Error) => {
    const advice = "Check EVENTS_QUEUE_URL, AWS_REGION, and the credentials and their rights";
    throw new CommandError(
      `Cannot start: the events queue does not answer: ${cause.message.replace(/\.$/, "")}. ${advice}`,
      { cause },
    );
  });
  const seconds = Number(Attributes?.["VisibilityTimeout"]);
  if (seconds >= timeoutSeconds) return seconds;
  throw new CommandError(
    `Cannot start: the events queue shows a message again after ${seconds} s, while its handler may run for ` +
      `${timeoutSeconds} s. Set its visibility timeout to ${visibilityTimeoutSeconds} s`,
  );
}
