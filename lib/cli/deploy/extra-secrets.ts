import type { SSM } from "@aws-sdk/client-ssm";
import { readProject } from "../../../infra/project.js";
import { readExtraSecrets } from "../../aws/extra-secrets.ts";
import { setting } from "../../settings/environment.ts";
import { nearest } from "../../simulator/nearest.ts";
import { refuseMisread } from "../check/settings.ts";
import { CommandError, oneLine, UsageError } from "../command.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { asking } from "../prompt.ts";
import { awsClients } from "./clients.ts";
import { askSsm, editParameter, parameterName, patient, regionOf, storing } from "./parameter-store.ts";

/** What a standard parameter of SSM holds. */
const mostBytes = 4_096;

/** Names alone. */
export interface ExtraSecrets {
  readonly parameter: string;
  readonly stored: readonly string[];
  /** Names in larkpost.config.js that are not stored. */
  readonly missing: readonly string[];
}

/** Stores one of the secrets that larkpost.config.js lists, beside the others. */
export async function setExtra(
  name: string,
  options: { stage: string; region?: string; kmsKey?: string; prompt?: boolean; json?: boolean },
): Promise<void> {
  const { stage, region, kmsKey, prompt: isAsked = false, json = false } = options;
  const root = projectRoot();
  const { secrets } = await readProject(root);
  if (!secrets.includes(name)) {
    const [likely] = nearest(name, secrets, 1);
    const advice = likely === undefined ? "Add it there first" : `Did you mean "${likely}"?`;
    throw new UsageError(
      `Cannot store "${oneLine(name, 100)}": larkpost.config.js does not list it under secrets. ${advice}`,
    );
  }
  loadEnv(root);
  if (isAsked) process.env[name] = await asking("Cannot store", (ask) => ask(`${name}: `));
  else refuseMisread(root, `store ${name}`, [name]);
  const value = storing(() => setting(process.env, name, "Put it into the environment or into .env"));
  const parameter = parameterName(stage, "extra");
  const { reader, write } = editParameter(awsClients({ region: regionOf(region) }).ssm, parameter);
  const before = await askSsm(parameter, readExtraSecrets(patient(reader), parameter));
  const next = { ...before, [name]: value };
  if (Buffer.byteLength(JSON.stringify(next)) > mostBytes) {
    throw new CommandError(`Cannot store ${name}: with it, ${parameter} has more than SSM's ${mostBytes} bytes`);
  }
  await askSsm(parameter, write(next, kmsKey));
  const verb = Object.hasOwn(before, name) ? "Replaced" : "Stored";
  console.log(
    json
      ? JSON.stringify({ parameter, stored: Object.keys(next) })
      : `${verb} ${name} in ${parameter}. Running functions use it within 5 minutes.`,
  );
}

/** What there is of further secrets; `undefined` where the project has none. */
export async function findExtra(client: SSM, stage: string): Promise<ExtraSecrets | undefined> {
  const { secrets } = await readProject(projectRoot());
  if (secrets.length === 0) return undefined;
  const parameter = parameterName(stage, "extra");
  const stored = Object.keys(await askSsm(parameter, readExtraSecrets(patient(client), parameter)));
  return { parameter, stored, missing: secrets.filter((name) => !stored.includes(name)) };
}
