import type { Lambda } from "@aws-sdk/client-lambda";
import { longConnectionTemplate } from "../../../../infra/long-connection.js";
import type { Project } from "../../../../infra/project.js";
import type { Finding } from "../../check/finding.ts";
import { checkConfig } from "../../check/settings.ts";
import { awsClients, type Clients } from "../clients.ts";
import { regionOf, serviceName } from "../parameter-store.ts";
import { type DeployedStack, describeStack, longConnectionOf, type Stack, type Template } from "../stack.ts";
import { findKeyFaultsIn } from "./app.ts";
import { about, type Context } from "./context.ts";
import { findKeyFaults } from "./encryption.ts";
import { type Ready, unknownCredentials, unknownStack, unlessFaulty } from "./preflight.ts";
import { findStuckStack } from "./status.ts";

/** What is said of the long connection on the command line. What is not, stays as it was. */
export interface Wishes {
  readonly stage: string;
  readonly region?: string;
  readonly awsProfile?: string;
  readonly image?: string;
  readonly vpc?: string;
  readonly subnets?: string;
  readonly publicIp?: boolean;
}

/** A stage's own stack, as the long connection needs it. */
interface Own {
  readonly stack: DeployedStack;
  /** The environment of its worker. */
  readonly variables: Readonly<Record<string, string>>;
}

/**
 * Compiles the stack of a stage's long connection, and asks AWS for what its deployment depends on. Changes nothing on AWS.
 * @throws {CommandError} Its message has a line for each fault. Warnings are printed.
 */
export async function longConnectionPreflight(root: string, wishes: Wishes): Promise<Ready> {
  const { project, findings } = await checkConfig(root);
  const region = regionOf(wishes.region);
  const clients = awsClients({ region, profile: wishes.awsProfile });
  let account: string;
  try {
    account = (await clients.sts.getCallerIdentity({})).Account ?? "";
  } catch (error) {
    return unlessFaulty(undefined, [...findings, unknownCredentials(error)]);
  }
  const service = serviceName();
  const first = `${service}-${wishes.stage}`;
  const name = longConnectionOf(first);
  let own: Own | Finding;
  let deployed: DeployedStack | undefined;
  try {
    own = await readOwn(clients, first, { ...wishes, region });
    deployed = await describeStack(clients.cloudFormation, name);
  } catch (error) {
    return unlessFaulty(undefined, [...findings, unknownStack(first, account, error)]);
  }
  const wanted = withOutputs(wishes, deployed);
  const faults = [...findings, ...findWrong(wanted, region)];
  if ("message" in own) return unlessFaulty(undefined, [...faults, own]);
  if (project === undefined) return unlessFaulty(undefined, faults);
  const stack = stackOf({ service, stage: wishes.stage, region, name }, { own, wanted, project });
  const context: Context = { root, stack, deployed, clients, account, force: false, resumes: false, adopt: false };
  const { SECRETS_PARAMETER = "", MARKETPLACE_APP } = own.variables;
  const app = own.stack.outputs.get("AppId");
  const onAws = [findKeyFaultsIn(SECRETS_PARAMETER, { ...context, app, needsSecret: true }), findKeyFaults(context)];
  const isMarketplace = `is for self-built apps, and "${first}" is of one in the marketplace. Use its addresses`;
  return unlessFaulty(context, [
    ...faults,
    ...(MARKETPLACE_APP === "true" ? [about("--long-connection", isMarketplace)] : []),
    ...findStuckStack(context),
    ...(await Promise.all(onAws)).flat(),
  ]);
}

function stackOf(
  named: Pick<Stack, "service" | "stage" | "region" | "name">,
  { own, wanted, project }: { own: Own; wanted: Omit<Wishes, "stage">; project: Project },
): Stack {
  const { image = "", vpc = "", subnets = "", publicIp = false } = wanted;
  const output = (name: string) => own.stack.outputs.get(name) ?? "";
  const stage = {
    ...named,
    variables: own.variables,
    customerKeyArn: output("CustomerKeyArn"),
    pageTopicArn: output("PageTopicArn"),
    ticketTopicArn: output("TicketTopicArn"),
  };
  const service = { image, vpc, subnets: subnets.split(","), hasPublicIp: publicIp };
  const template = longConnectionTemplate(stage, service, project) as Template;
  return { ...named, tags: { SERVICE: named.service, STAGE: named.stage, ...project.tags }, kept: [], template };
}

/** @returns The stage's own stack, or what is wrong with it. */
async function readOwn(
  { cloudFormation, lambda }: Clients,
  name: string,
  { stage, region }: { stage: string; region: string },
): Promise<Own | Finding> {
  const stack = await describeStack(cloudFormation, name);
  const deploy = `Run "npm run deploy -- --stage ${stage} --region ${region}" first`;
  if (stack === undefined) {
    return about(name, `there is no such stack in ${region}, and the long connection stands beside it. ${deploy}`);
  }
  if (!stack.outputs.has("CallbackRoleArn")) {
    return about(
      name,
      `exports no role for the long connection, since it is not complete or of an older release. ${deploy}`,
    );
  }
  return { stack, variables: await variablesOf(lambda, `${name}-worker`) };
}

async function variablesOf(lambda: Lambda, FunctionName: string): Promise<Readonly<Record<string, string>>> {
  const { Configuration } = await lambda.getFunction({ FunctionName });
  return Configuration?.Environment?.Variables ?? {};
}

/** What is to be deployed: as it is wished, and else as it is. */
function withOutputs(wishes: Wishes, deployed: DeployedStack | undefined): Omit<Wishes, "stage"> {
  const before = (name: string) => deployed?.outputs.get(name);
  const { image = before("Image"), vpc = before("Vpc"), subnets = before("Subnets") } = wishes;
  const { publicIp = before("PublicIp") === "true" } = wishes;
  return {
    publicIp,
    ...(image === undefined ? {} : { image }),
    ...(vpc === undefined ? {} : { vpc }),
    ...(subnets === undefined ? {} : { subnets: subnets.replaceAll(/\s/g, "") }),
  };
}

/** What the options have that cannot be deployed. */
function findWrong({ image = "", vpc = "", subnets = "" }: Omit<Wishes, "stage">, region: string): Finding[] {
  const [, , registryRegion] = /^(\d{12})\.dkr\.ecr\.([a-z\d-]+)\.amazonaws\.com(?:\.cn)?\//.exec(image) ?? [];
  const wrong = subnets.split(",").find((subnet) => !/^subnet-[\da-f]+$/.test(subnet));
  return [
    ...(/^[\w.:/-]+(:[\w.-]+|@sha256:[\da-f]{64})$/.test(image)
      ? []
      : [
          about(
            "--image",
            `is "${image}", no image with a tag or a digest. Build the Containerfile, push it, and pass --image …`,
          ),
        ]),
    ...(registryRegion === undefined || registryRegion === region
      ? []
      : [about("--image", `is in the registry of ${registryRegion}. Push it to that of ${region}`)]),
    ...(/^vpc-[\da-f]+$/.test(vpc) ? [] : [about("--vpc", `is "${vpc}", no VPC. Pass --vpc vpc-…`)]),
    ...(wrong === undefined ? [] : [about("--subnets", `has "${wrong}", no subnet. Pass --subnets subnet-…,subnet-…`)]),
  ];
}
