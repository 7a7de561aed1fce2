import type { CloudWatch } from "@aws-sdk/client-cloudwatch";
import type { GetFunctionCommandOutput } from "@aws-sdk/client-lambda";
import { ConfigError } from "../../../errors.ts";
import { once } from "../../../once.ts";
import { apiConfig } from "../../../open-api/config.ts";
import { type AppSecrets, parseSecrets } from "../../../settings/app-secrets.ts";
import { awsClients, type Clients } from "../../deploy/clients.ts";
import { parameterName, serviceName } from "../../deploy/parameter-store.ts";
import type { Context } from "../../deploy/preflight/context.ts";
import { senderOf } from "../../deploy/probe.ts";
import {
  type DeployedStack,
  deployedTemplate,
  describeStack,
  longConnectionOf,
  ofType,
  type Stack,
} from "../../deploy/stack.ts";
import { agesOf, lastHour, oldestOf, type Query, sumOf } from "../metrics.ts";
import { type LaneMetrics, laneMetricsOf, nameIn, queueUrlsOf } from "../status.ts";
import type { Addressed } from "./addresses.ts";
import type { App, WithApp } from "./platform.ts";

/** The app's keys, as they are stored. */
interface StoredKeys {
  readonly storedAtMs: number;
  /** None: there is no parameter, or it cannot be used. */
  readonly secrets?: AppSecrets;
  /** Why it cannot be used. */
  readonly problem?: ConfigError;
}

/**
 * A deployed stage, as several checks look at it. Each part is asked for once, by the first check that wants it; it rejects
 * with what AWS answered. Where there is no stack, a part of it is `undefined`.
 */
export interface Stage extends Addressed, WithApp {
  readonly name: string;
  readonly stage: string;
  readonly region: string;
  readonly root: string;
  /** What to type to get to the stage: ` --stage prod`. */
  readonly args: string;
  readonly clients: Clients;
  readonly parameter: string;
  deployed(): Promise<DeployedStack | undefined>;
  /** As the checks before a deployment want it. */
  context(): Promise<Context | undefined>;
  lanes(): Promise<LaneMetrics | undefined>;
  queues(): Promise<readonly string[] | undefined>;
  keys(): Promise<StoredKeys>;
  /** Functions by their names; `undefined` for a name without a function. */
  functions(): Promise<ReadonlyMap<string, GetFunctionCommandOutput | undefined> | undefined>;
  metrics(): Promise<Measured | undefined>;
}

export interface Measured {
  /** How many seconds the oldest message of a queue has waited. */
  readonly ages: ReadonlyMap<string, number>;
  /** Throttles of a worker in the last hour, by its function's name. */
  readonly throttles: ReadonlyMap<string, number>;
}

/** Three tries end before a check is late. */
const answerMs = 5_000;

export async function findStage(place: Pick<Stage, "stage" | "region" | "root" | "args">): Promise<Stage> {
  const { stage, region, root } = place;
  const clients = awsClients({ region, answerMs });
  const name = `${serviceName()}-${stage}`;
  const parameter = parameterName(stage, "app");
  const deployed = once(() => describeStack(clients.cloudFormation, name));
  /** A part of the stack. */
  const ofStack = <T>(read: (stack: DeployedStack) => Promise<T> | T) =>
    once(async () => {
      const stack = await deployed();
      return stack === undefined ? undefined : read(stack);
    });
  const lanes = ofStack(({ outputs }) => laneMetricsOf(outputs, stage));
  const queues = ofStack(async ({ outputs }) => queueUrlsOf(outputs, (await lanes()) ?? []));
  const keys = once(() => readKeys(clients, parameter));
  const functions = ofStack(async () => {
    const workers = ((await lanes()) ?? []).map(({ lane }) => `worker${lane.id}`);
    const found = ["webhook", "callback", ...workers].map(async (key) => {
      const functionName = `${name}-${key}`;
      return [functionName, await findFunction(clients, functionName)] as const;
    });
    return new Map(await Promise.all(found));
  });
  return {
    ...place,
    name,
    clients,
    parameter,
    deployed,
    lanes,
    queues,
    keys,
    functions,
    context: ofStack(async (found) => {
      const [template, { Account: account = "" }] = await Promise.all([
        deployedTemplate(clients.cloudFormation, name),
        clients.sts.getCallerIdentity({}),
      ]);
      const stack: Stack = { name, service: serviceName(), stage, region, tags: {}, kept: [], template };
      return { root, stack, deployed: found, clients, account, force: false, adopt: false, resumes: false };
    }),
    metrics: ofStack(async () => measure(clients.cloudWatch, name, (await queues()) ?? [], (await lanes()) ?? [])),
    async addressed(kind) {
      const [stack, { secrets, storedAtMs }] = await Promise.all([deployed(), keys()]);
      // That they are missing is a finding of its own.
      if (stack === undefined || secrets === undefined) return undefined;
      const addresses = [...stack.outputs].flatMap(([output, url]) =>
        output.startsWith(`${kind}Address`) ? [url] : [],
      );
      return { addresses, sender: senderOf(secrets), keysAtMs: storedAtMs };
    },
    async app() {
      const [found, { secrets }] = await Promise.all([functions(), keys()]);
      const worker = found?.get(`${name}-worker`)?.Configuration?.Environment?.Variables;
      if (worker === undefined || secrets === undefined) return undefined;
      const { LARK_DOMAIN, ALLOW_OTHER_DOMAIN, MARKETPLACE_APP } = worker;
      const { appId, appSecret } = secrets;
      const replicas = await replicasOf(clients, longConnectionOf(name));
      return {
        ...apiConfig({ ...process.env, LARK_DOMAIN, ALLOW_OTHER_DOMAIN, MARKETPLACE_APP }, appId),
        appSecret,
        connections: [Math.min(replicas, 1), replicas],
      } satisfies App;
    },
  };
}

async function findFunction({ lambda }: Clients, FunctionName: string): Promise<GetFunctionCommandOutput | undefined> {
  try {
    return await lambda.getFunction({ FunctionName });
  } catch (error) {
    if (error instanceof Error && error.name === "ResourceNotFoundException") return undefined;
    throw error;
  }
}

/** How many processes of the long connection are wanted. */
async function replicasOf({ cloudFormation }: Clients, name: string): Promise<number> {
  if ((await describeStack(cloudFormation, name)) === undefined) return 0;
  const template = await deployedTemplate(cloudFormation, name);
  return ofType({ template }, "AWS::ECS::Service").reduce(
    (sum, [, properties]) => sum + Number(properties["DesiredCount"] ?? 0),
    0,
  );
}

async function readKeys({ ssm }: Clients, Name: string): Promise<StoredKeys> {
  try {
    const { Parameter } = await ssm.getParameter({ Name, WithDecryption: true });
    const storedAtMs = Parameter?.LastModifiedDate?.getTime() ?? 0;
    try {
      return { storedAtMs, secrets: parseSecrets(Parameter?.Value ?? "") };
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return { storedAtMs, problem: error };
    }
  } catch (error) {
    if (error instanceof Error && error.name === "ParameterNotFound") return { storedAtMs: 0 };
    throw error;
  }
}

async function measure(
  client: CloudWatch,
  name: string,
  urls: readonly string[],
  lanes: LaneMetrics,
): Promise<Measured> {
  const nowMs = Date.now();
  const queues = urls.map(nameIn);
  const workers = lanes.map(({ lane }) => `${name}-worker${lane.id}`);
  const throttlesOf = (FunctionName: string): Query => ({
    namespace: "AWS/Lambda",
    name: "Throttles",
    dimensions: { FunctionName },
    stat: "Sum",
  });
  const values = await lastHour(client, [...queues.map(oldestOf), ...workers.map(throttlesOf)], nowMs);
  return {
    ages: agesOf(queues, values, nowMs),
    throttles: new Map(workers.map((worker, index) => [worker, sumOf(values[queues.length + index])])),
  };
}
