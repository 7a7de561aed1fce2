import type { CloudWatch } from "@aws-sdk/client-cloudwatch";
import { limits, optional } from "../../../infra/limits.js";
import { metricsOf } from "../../../infra/metrics.js";
import { LarkpostError } from "../../errors.ts";
import { parseJson } from "../../feishu/json.ts";
import type { Secret } from "../../feishu/keys.ts";
import { parseSecrets } from "../../settings/app-secrets.ts";
import { CommandError } from "../command.ts";
import { awsClients, type Clients, reasonWithAdvice } from "../deploy/clients.ts";
import { parameterName, serviceName } from "../deploy/parameter-store.ts";
import { addressesOf } from "../deploy/probe.ts";
import { describeStack, longConnectionOf } from "../deploy/stack.ts";
import { deployedStage } from "../state/deployed.ts";
import { groupsOf, toLetter } from "./letters.ts";
import { agesOf, lastHour, oldestOf, sumOf } from "./metrics.ts";
import type { Place } from "./place.ts";

/** What was read, or why it was not. */
export type Part<T> = T | { readonly problem: string };

export function isKnown<T>(part: Part<T>): part is T {
  return !(typeof part === "object" && part !== null && "problem" in part);
}

export interface QueueState {
  readonly name: string;
  readonly waiting: number;
  readonly running: number;
  readonly delayed: number;
  readonly oldestSeconds?: number | undefined;
}

export interface DeadGroups {
  readonly total: number;
  /** How many letters the groups were made of. */
  readonly seen: number;
  readonly groups: readonly {
    readonly fingerprint: string;
    readonly count: number;
    readonly reason: string;
    readonly type: string | undefined;
    readonly errorClass: string | undefined;
    readonly at: string | undefined;
    readonly lastDiedAtMs: number;
  }[];
}

export interface StageStatus {
  readonly stack: {
    readonly name: string;
    readonly status: string;
    readonly changedAtMs: number;
    readonly release: string | undefined;
    readonly app: string | undefined;
  };
  readonly longConnection: Part<{ readonly status: string; readonly changedAtMs: number } | null>;
  readonly functions: Part<readonly { readonly name: string; readonly sha256: string; readonly changedAtMs: number }[]>;
  readonly addresses: readonly string[];
  readonly queues: Part<readonly QueueState[]>;
  /** Runs of the last hour by how they ended. `others`: done, or to be tried again. */
  readonly runs: Part<Readonly<Record<string, number>>>;
  readonly dead: Part<DeadGroups>;
  readonly keys: Part<KeysState>;
}

export interface KeysState {
  readonly parameter: string;
  readonly version: number;
  readonly storedAtMs: number | undefined;
  readonly hasAppSecret: boolean;
  readonly encryptKeys: readonly { readonly notAfterMs: number | null }[];
  readonly verificationTokens: readonly { readonly notAfterMs: number | null }[];
}

/** So many dead letters are looked at: more would take minutes on a stage. */
const mostLetters = 200;
const verdicts = ["started", "failed", "dead", "busy", "lease-lost", "stale"];

/** Reads a part. What AWS refuses takes nothing from the others. */
export async function part<T>(right: string, read: () => Promise<T>): Promise<Part<T>> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof LarkpostError) return { problem: error.message.replace(/^Cannot [\w ]+: /, "") };
    return { problem: reasonWithAdvice(error, right) };
  }
}

export async function stageStatus(
  cannot: string,
  place: Place & { stage: string; region: string },
): Promise<StageStatus> {
  const { stage, region } = place;
  const { stack, outputs, name } = await deployedStage(cannot, { stage, region });
  const clients = awsClients({ region });
  const { CloudWatch } = await import("@aws-sdk/client-cloudwatch");
  const cloudWatch = new CloudWatch({ region, maxAttempts: 6 });
  const metrics = laneMetricsOf(stack.outputs, stage);
  const workers = metrics.map(({ lane }) => `worker${lane.id}`);
  const urls = queueUrlsOf(stack.outputs, metrics);
  const counting = part("sqs:GetQueueAttributes", () => Promise.all(urls.map((url) => queueState(clients, url))));
  const [longConnection, functions, counts, measured, dead, keys] = await Promise.all([
    part("cloudformation:DescribeStacks", async () => {
      const found = await describeStack(clients.cloudFormation, longConnectionOf(name));
      return found === undefined ? null : { status: found.status, changedAtMs: found.changedAtMs };
    }),
    part("lambda:GetFunction", () =>
      Promise.all(["webhook", "callback", ...workers].map((key) => functionState(clients, `${name}-${key}`))),
    ),
    counting,
    part("cloudwatch:GetMetricData", () =>
      measure(cloudWatch, { names: urls.map(nameIn), runs: metrics.map(({ runs }) => runs) }),
    ),
    // A letter that is looked at would be counted as being handled.
    counting.then(() => part("sqs:ReceiveMessage", () => deadGroups(place))),
    part("ssm:GetParameter", () => keysState(clients, parameterName(stage, "app"), place.args)),
  ]);
  cloudWatch.destroy();
  return {
    stack: {
      name,
      status: stack.status,
      changedAtMs: stack.changedAtMs,
      release: stack.outputs.get("Release"),
      app: outputs.AppId,
    },
    addresses: addressesOf(stack.outputs),
    queues: isKnown(counts)
      ? counts.map((queue) => ({
          ...queue,
          oldestSeconds: isKnown(measured) ? measured.ages.get(queue.name) : undefined,
        }))
      : counts,
    runs: isKnown(measured) ? measured.runs : measured,
    longConnection,
    functions,
    dead,
    keys,
  };
}

export type LaneMetrics = ReturnType<typeof metricsOf>["lanes"];

/** The lanes of a deployed stack, each with its metrics. */
export function laneMetricsOf(outputs: ReadonlyMap<string, string>, stage: string): LaneMetrics {
  const lanes = parseJson(outputs.get("Lanes") ?? "{}") as Parameters<typeof metricsOf>[1]["lanes"];
  const deployment = { service: serviceName(), stage } as Parameters<typeof metricsOf>[0];
  return metricsOf(deployment, { limits, optional, lanes }).lanes;
}

/** The queues of the lanes, and those of letters. */
export function queueUrlsOf(outputs: ReadonlyMap<string, string>, lanes: LaneMetrics): string[] {
  // Its name is the default lane's.
  const beside = (queueName: string) => outputs.get("EventsQueueUrl")?.replace(/events$/, queueName) ?? "";
  return [
    ...lanes.map(({ lane }) => beside(lane.queueName)),
    ...["DeadLetterQueueUrl", "DeadLetterFifoQueueUrl", "QuarantineQueueUrl"].flatMap(
      (output) => outputs.get(output) ?? [],
    ),
  ];
}

async function functionState({ lambda }: Clients, FunctionName: string) {
  const { Configuration: { CodeSha256 = "", LastModified = "" } = {} } = await lambda.getFunction({ FunctionName });
  // As `npm run package` prints a zip's.
  const sha256 = Buffer.from(CodeSha256, "base64").toString("hex");
  return { name: FunctionName, sha256, changedAtMs: Date.parse(LastModified) };
}

export function nameIn(url: string): string {
  return url.split("/").at(-1) ?? "";
}

export async function queueState({ sqs }: Pick<Clients, "sqs">, QueueUrl: string): Promise<QueueState> {
  const names = ["", "NotVisible", "Delayed"].map((kind) => `ApproximateNumberOfMessages${kind}` as const);
  const { Attributes = {} } = await sqs.getQueueAttributes({
    QueueUrl,
    AttributeNames: names as "ApproximateNumberOfMessages"[],
  });
  const [waiting = 0, running = 0, delayed = 0] = names.map((name) =>
    Number((Attributes as Readonly<Record<string, string>>)[name]),
  );
  return { name: nameIn(QueueUrl), waiting, running, delayed };
}

type Runs = LaneMetrics[number]["runs"];

/** The ages of the queues' oldest messages, as of the last minutes, and the runs of the last hour, of all lanes. */
async function measure(
  client: CloudWatch,
  { names, runs }: { names: readonly string[]; runs: readonly Runs[] },
): Promise<{ ages: ReadonlyMap<string, number>; runs: Readonly<Record<string, number>> }> {
  const nowMs = Date.now();
  const counted = runs.flatMap((of) => verdicts.map((verdict) => ({ verdict, metric: of(verdict) })));
  const queries = [...names.map(oldestOf), ...counted.map(({ metric }) => ({ ...metric, stat: "Sum" }))];
  const values = await lastHour(client, queries, nowMs);
  const sums: Record<string, number> = Object.fromEntries(verdicts.map((verdict) => [verdict, 0]));
  for (const [index, { verdict }] of counted.entries()) {
    sums[verdict] = (sums[verdict] ?? 0) + sumOf(values[names.length + index]);
  }
  const { started = 0, ...ended } = sums;
  const { failed = 0, dead = 0, "lease-lost": lost = 0 } = ended;
  return {
    ages: agesOf(names, values, nowMs),
    runs: { started, others: Math.max(0, started - failed - dead - lost), ...ended },
  };
}

export async function deadGroups(place: Place): Promise<DeadGroups> {
  const { messages, total } = await place.look("dead", undefined, mostLetters);
  const groups = groupsOf(messages.map((message) => toLetter(message, "dead", place.lanes))).map(
    ({ fingerprint, letters }) => {
      const [latest] = letters;
      return {
        fingerprint,
        count: letters.length,
        reason: latest?.reason ?? "",
        type: latest?.type,
        errorClass: latest?.error.errorClass,
        at: latest?.error.at,
        lastDiedAtMs: latest?.diedAtMs ?? 0,
      };
    },
  );
  return { total, seen: messages.length, groups };
}

async function keysState({ ssm }: Clients, parameter: string, args: string): Promise<KeysState> {
  const { Parameter } = await ssm.getParameter({ Name: parameter, WithDecryption: true }).catch((error: Error) => {
    if (error.name !== "ParameterNotFound") throw error;
    throw new CommandError(`there is no ${parameter}. Store the keys: "npm run secrets -- set${args}"`);
  });
  const { appSecret, encryptKeys, verificationTokens } = parseSecrets(Parameter?.Value ?? "");
  const ends = (list: readonly Secret[]) => list.map(({ notAfter = null }) => ({ notAfterMs: notAfter }));
  return {
    parameter,
    version: Parameter?.Version ?? 0,
    storedAtMs: Parameter?.LastModifiedDate?.getTime(),
    hasAppSecret: appSecret !== undefined,
    encryptKeys: ends(encryptKeys),
    verificationTokens: ends(verificationTokens),
  };
}
