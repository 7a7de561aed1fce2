import { join, resolve } from "node:path";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS } from "@aws-sdk/client-sqs";
import type { Command } from "commander";
import { lanesText } from "../../../infra/lanes.js";
import { readProject } from "../../../infra/project.js";
import { parseLanes } from "../../aws/lanes.ts";
import { systemClock } from "../../clock.ts";
import { ledgerTable } from "../../local/runtime.ts";
import { queueUrl } from "../../local/sqs.ts";
import { CommandError, subcommand, UsageError } from "../command.ts";
import { awsClients, type Clients } from "../deploy/clients.ts";
import { askSsm, findSecrets, parameterName, regionOf } from "../deploy/parameter-store.ts";
import { addressesOf, type Hop, hopLine, senderOf } from "../deploy/probe.ts";
import { paint } from "../paint.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { deployedStage } from "../state/deployed.ts";
import { findTarget, readLocal } from "../state/target.ts";
import { type Subject, tryHops } from "./hops.ts";
import { type PlaceOptions, placed } from "./place.ts";

const cannot = "Cannot try it";

export function smokeCommand(): Command {
  return placed(subcommand("smoke"))
    .description("try a deployed stage, or the running npm start: push, queue, worker, ledger and a click")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Each address is asked a challenge, refuses a forged event, and stores one of the type larkpost.smoke, which is then
looked up in the ledger until the worker has completed it, for a minute at most. No handler gets it, _default neither. One
more goes to each lane, by the type larkpost.smoke.<lane>, so that its queue and its worker are tried as well.
The callback address answers a click of that kind, with a value that is signed with the app's secret, if one is stored.
It prints the milliseconds of each hop, and exits with 1 at the first that fails, with what to check.

The ledger's row is read, and not the log: it needs one right on one table, it is there at once, and it is what keeps
an event from running twice. Rights: cloudformation:DescribeStacks, ssm:GetParameter on the keys and dynamodb:GetItem
on the ledger; with a customer key also kms:Decrypt; sqs:GetQueueAttributes to say why an event does not arrive; and
without an address sqs:SendMessage, since the event then goes straight into the queue.

Examples:
  npm run smoke
  npm run smoke -- --stage prod`,
    )
    .action(run);
}

async function run({ json = false, ...options }: PlaceOptions & { readonly json?: boolean }): Promise<void> {
  const root = projectRoot();
  loadEnv(root);
  const { stage, region: typedRegion } = options;
  if (stage === undefined) {
    if (typedRegion !== undefined) throw new UsageError(`${cannot}: --region is of a stage. Give --stage as well`);
    return report(await localSubject(root, resolve(root, options.state)), json);
  }
  const where = { stage, region: regionOf(typedRegion) };
  const { stack } = await deployedStage(cannot, where);
  const clients = awsClients(where);
  await smokeStack({ ...where, outputs: stack.outputs, clients, json });
}

/**
 * Tries a deployed stage, and prints what came of it.
 * @throws {CommandError} A hop failed, or the keys cannot be read.
 */
export async function smokeStack(options: {
  readonly stage: string;
  readonly region: string;
  readonly outputs: ReadonlyMap<string, string>;
  readonly clients: Pick<Clients, "dynamo" | "sqs" | "ssm">;
  readonly json?: boolean;
}): Promise<void> {
  const { stage, region, outputs, clients, json = false } = options;
  const name = parameterName(stage, "app");
  const secrets = await askSsm(name, findSecrets(clients.ssm, name));
  if (secrets === undefined) {
    throw new CommandError(
      `${cannot}: there is no ${name}. Run "npm run secrets -- set --stage ${stage} --region ${region}"`,
    );
  }
  const subject: Subject = {
    name: `the stage ${stage} in ${region}`,
    addresses: addressesOf(outputs),
    callbackAddresses: [...outputs].flatMap(([key, value]) => (key.startsWith("CallbackAddress") ? [value] : [])),
    ...senderOf(secrets),
    appSecret: secrets.appSecret,
    dynamo: clients.dynamo,
    sqs: clients.sqs,
    table: outputs.get("LedgerTableName") ?? "",
    eventsUrl: outputs.get("EventsQueueUrl") ?? "",
    lanes: parseLanes(outputs.get("Lanes")),
  };
  await report(subject, json);
}

/** The running `npm start`. @throws {CommandError} It does not run, or has no address. */
async function localSubject(root: string, stateFolder: string): Promise<Subject> {
  const local = readLocal(join(stateFolder, "local.json"));
  const { url, callbackUrl, appId, keys, hasNoAddress } = findTarget({ url: undefined, stateFolder, env: process.env });
  if (local?.services === undefined || hasNoAddress) {
    throw new CommandError(`${cannot}: there is no npm start. Run it in another terminal, or pass --stage`);
  }
  const { sqs: endpoint, dynamo, accessKeyId } = local.services;
  const settings = { region: "us-east-1", credentials: { accessKeyId, secretAccessKey: "local" } };
  return {
    name: "npm start",
    addresses: [url, callbackUrl],
    callbackAddresses: [callbackUrl],
    appId,
    keys,
    appSecret: local.appSecret ?? process.env["APP_SECRET"],
    dynamo: new DynamoDB({ ...settings, endpoint: dynamo }),
    sqs: new SQS({ ...settings, endpoint }),
    table: ledgerTable,
    eventsUrl: queueUrl(endpoint, "events"),
    lanes: parseLanes(lanesText(await readProject(root))),
    // It listens, or does not.
    waitsMs: [],
  };
}

/**
 * Tries it, and prints each hop as it ends.
 * @throws {CommandError} A hop failed.
 */
async function report(subject: Subject, json: boolean): Promise<void> {
  const startMs = systemClock.nowMs();
  if (!json) console.log(`Tries ${subject.name}:`);
  const hops: Hop[] = [];
  const onHop = (hop: Hop) => {
    hops.push(hop);
    if (!json) console.log(hopLine(hop));
  };
  await tryHops(subject, onHop);
  const failed = hops.find(({ isOk }) => !isOk);
  if (json) console.log(JSON.stringify({ isOk: failed === undefined, hops }));
  if (failed !== undefined) {
    const lane = failed.lane === undefined ? "" : `the lane ${failed.lane} of `;
    throw new CommandError(`The hop "${failed.hop}" of ${lane}${subject.name} fails. ${failed.advice}`);
  }
  const seconds = ((systemClock.nowMs() - startMs) / 1000).toFixed(1);
  if (!json) console.log(`${paint("green", "✔")} All ${hops.length} hops, in ${seconds} s`);
}
