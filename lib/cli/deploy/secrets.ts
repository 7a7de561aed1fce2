import type { SSM } from "@aws-sdk/client-ssm";
import type { Command } from "commander";
import { ConfigError } from "../../errors.ts";
import type { Secret } from "../../feishu/keys.ts";
import { type AppSecrets, parseSecrets } from "../../settings/app-secrets.ts";
import { refuseMisread } from "../check/settings.ts";
import { oneLine, subcommand, UsageError } from "../command.ts";
import { loadEnv, projectRoot, refuseUnset } from "../project.ts";
import { type Ask, asking } from "../prompt.ts";
import { appVariables } from "../state/local-keys.ts";
import { awsClients } from "./clients.ts";
import { type ExtraSecrets, findExtra, setExtra } from "./extra-secrets.ts";
import { askSsm, editParameter, findSecrets, parameterName, regionOf, storing } from "./parameter-store.ts";
import { addThroughput, throughputLine } from "./throughput.ts";

const hourMs = 3_600_000;

export function secretsCommand(): Command {
  const command = subcommand("secrets").description("write or look at a stage's keys in SSM (one SecureString)");
  command
    .command("set")
    .description("store the keys of the environment; keys that they replace stay valid for a while")
    .requiredOption("--stage <stage>", "stage of the deployment")
    .option("--extra <name>", "store this one of the secrets that larkpost.config.js lists, and no key of the app")
    .option("--region <region>", "region of the deployment (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option(
      "--overlap-hours <hours>",
      "how long a replaced key is still accepted; running functions look every 5 minutes",
      "8",
    )
    .option("--prompt", "ask for the keys here, and show none; Enter keeps the stored one")
    .option(
      "--kms-key <id>",
      "customer key to encrypt with, each time; the deployment's customerKeyArn (default: AWS's own key)",
    )
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Reads APP_ID, APP_SECRET, ENCRYPT_KEY and VERIFICATION_TOKEN from the environment, and what is not there from .env
(APP_SECRET may be missing: it is for calling the Open API and for signing the values of cards); never from arguments:
those stay in the shell's history. With --extra it is the variable of that name. With --prompt it asks at the terminal
instead, so that no key is in a history or a file. AWS credentials and region as everywhere.

When somebody else changes the parameter meanwhile, theirs is kept, and the command exits with 1.

Feishu may push with the old key for about 7 hours after a change, so the default overlap is 8.

Examples:
  npm run secrets -- set --stage prod
  npm run secrets -- set --stage prod --prompt
  CRM_TOKEN=… npm run secrets -- set --extra CRM_TOKEN --stage prod`,
    )
    .action(({ extra, ...options }: SetOptions) => (extra === undefined ? set(options) : setExtra(extra, options)));
  command
    .command("finish")
    .description("end the overlap of a rotation now: only the current keys are accepted")
    .requiredOption("--stage <stage>", "stage of the deployment")
    .option("--region <region>", "region of the deployment (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--kms-key <id>", "as for set")
    .option("--json", "print one JSON object")
    .addHelpText(
      "after",
      `
Running functions read it within 5 minutes. Feishu may push with the old Encrypt Key for about 7 hours after it was
changed in the developer console: what comes with it from now on is refused, and pushed again with the same key.

Example: npm run secrets -- finish --stage prod`,
    )
    .action(finish);
  command
    .command("show")
    .description("print what is stored, without the values")
    .requiredOption("--stage <stage>", "stage of the deployment")
    .option("--region <region>", "region of the deployment (default: AWS_REGION, AWS_DEFAULT_REGION, ap-southeast-1)")
    .option("--redacted", "without the values; there is no other way to print them", true)
    .option("--json", "print one JSON object")
    .action((options: ShowOptions) => show(options));
  addThroughput(command);
  return command;
}

interface ShowOptions {
  readonly stage: string;
  readonly region?: string;
  readonly json?: boolean;
}

interface SetOptions {
  readonly stage: string;
  readonly extra?: string;
  readonly region?: string;
  readonly overlapHours: string;
  readonly kmsKey?: string;
  readonly prompt?: boolean;
  readonly json?: boolean;
}

async function set(options: SetOptions): Promise<void> {
  if (!/^\d{1,4}$/.test(options.overlapHours)) {
    throw new UsageError(`Cannot store the keys: --overlap-hours "${options.overlapHours}" is not a whole number`);
  }
  const root = projectRoot();
  loadEnv(root);
  const client = awsClients({ region: regionOf(options.region) }).ssm;
  const name = parameterName(options.stage, "app");
  const { reader, write } = editParameter(client, name);
  const isAsked = options.prompt === true;
  // With --prompt, only APP_ID is taken from .env, and only if it has one.
  const taken = isAsked ? ["APP_ID"].filter((variable) => process.env[variable] !== undefined) : appVariables;
  refuseMisread(root, "store the keys", taken);
  const shown = isAsked
    ? await asking("Cannot store", async (ask) => askKeys(ask, await readStored(reader, name)))
    : undefined;
  refuseUnset("store", ["APP_ID", "ENCRYPT_KEY", "VERIFICATION_TOKEN"]);
  const { APP_ID: appId, APP_SECRET: appSecret, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: token } = process.env;
  const values = { appId, appSecret, encryptKeys: [{ value: encryptKey }], verificationTokens: [{ value: token }] };
  const wanted = storing(() => parseSecrets(JSON.stringify(values)));
  // Answers are about what was read before them: what somebody else has stored meanwhile is not to be replaced.
  const before = isAsked ? shown : await readStored(reader, name);
  if (before !== undefined && before.appId !== wanted.appId) {
    throw new ConfigError(
      `Cannot store the keys: ${name} holds those of "${oneLine(before.appId)}". Check --stage and APP_ID, or delete that parameter and run this again`,
    );
  }
  const notAfter = Date.now() + Number(options.overlapHours) * hourMs;
  const next: AppSecrets = {
    ...wanted,
    // A line of .env that was left empty is no app secret.
    appSecret: wanted.appSecret || before?.appSecret,
    encryptKeys: rotated(wanted.encryptKeys, before?.encryptKeys ?? [], notAfter),
    verificationTokens: rotated(wanted.verificationTokens, before?.verificationTokens ?? [], notAfter),
  };
  const { warnings, ...stored } = next;
  await askSsm(name, write(stored, options.kmsKey));
  await print(client, name, next, options.json === true, before === undefined ? "Stored" : "Replaced");
  for (const warning of warnings) console.error(`Warning: ${warning}`);
}

/**
 * Asks for the keys, and puts the answers in the environment, in place of what is there.
 * @param before What is stored, which it returns.
 */
async function askKeys(ask: Ask, before: AppSecrets | undefined): Promise<AppSecrets | undefined> {
  const isStored = before !== undefined;
  const appId = process.env["APP_ID"] || before?.appId || (await ask("App ID (cli_…): "));
  const hint = isStored ? " (Enter keeps the stored one)" : "";
  Object.assign(process.env, {
    APP_ID: appId,
    ENCRYPT_KEY: (await ask(`Encrypt Key${hint}: `)) || before?.encryptKeys[0]?.value || "",
    VERIFICATION_TOKEN: (await ask(`Verification Token${hint}: `)) || before?.verificationTokens[0]?.value || "",
    APP_SECRET: await ask(`App Secret${isStored ? hint : " (Enter: none)"}: `),
  });
  return before;
}

type Reader = Parameters<typeof findSecrets>[0];

/** What is stored now. Keys in it stay valid for a while, so it must be readable. */
async function readStored(client: Reader, name: string): Promise<AppSecrets | undefined> {
  try {
    return await askSsm(name, findSecrets(client, name));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(
      `Cannot store the keys: what ${name} holds cannot be read, so no key in it could be kept. Correct it, or delete that parameter and run this again`,
      { cause: error },
    );
  }
}

async function finish(options: ShowOptions & { readonly kmsKey?: string }): Promise<void> {
  const { stage, region, kmsKey, json = false } = options;
  loadEnv(projectRoot());
  const name = parameterName(stage, "app");
  const client = awsClients({ region: regionOf(region) }).ssm;
  const { reader, write } = editParameter(client, name);
  const found = await readStored(reader, name);
  if (found === undefined) throw noParameter("end the overlap", { name, stage, region });
  const { warnings: _, ...before } = found;
  const current = (list: readonly Secret[]) => list.filter(({ notAfter }) => notAfter === undefined);
  const after = {
    ...before,
    encryptKeys: current(before.encryptKeys),
    verificationTokens: current(before.verificationTokens),
  };
  const isChanged = JSON.stringify(after) !== JSON.stringify(before);
  if (after.encryptKeys.length === 0 || after.verificationTokens.length === 0) {
    throw new ConfigError(`Cannot end the overlap: ${name} has no current key or token. Store them with "set"`);
  }
  if (isChanged) await askSsm(name, write(after, kmsKey));
  await print(client, name, { ...after, warnings: [] }, json, isChanged ? "Ended the overlap in" : "No overlap in");
}

function noParameter(task: string, where: { name: string; stage: string; region: string | undefined }): ConfigError {
  const { name, stage, region } = where;
  return new ConfigError(
    `Cannot ${task}: there is no parameter ${name}. Run "npm run secrets -- set --stage ${stage} --region ${regionOf(region)}"`,
  );
}

async function show({ stage, region, json = false }: ShowOptions): Promise<void> {
  loadEnv(projectRoot());
  const name = parameterName(stage, "app");
  const client = awsClients({ region: regionOf(region) }).ssm;
  const found = await askSsm(name, findSecrets(client, name));
  if (found === undefined) throw noParameter("show the keys", { name, stage, region });
  await print(client, name, found, json, "Found", await findExtra(client, stage));
}

/** The new secret first; each other one that is still accepted ends with the overlap, or earlier if it did before. */
function rotated(wanted: readonly Secret[], before: readonly Secret[], notAfter: number): Secret[] {
  const values = new Set(wanted.map(({ value }) => value));
  const kept = before
    .filter((secret) => !values.has(secret.value) && (secret.notAfter ?? notAfter) > Date.now())
    .map(({ value, notAfter: until }) => ({ value, notAfter: Math.min(until ?? notAfter, notAfter) }));
  return [...wanted, ...kept];
}

/** Lengths and ends: enough to see which keys there are, nothing to guess them by. */
async function print(
  client: SSM,
  name: string,
  secrets: AppSecrets,
  json: boolean,
  verb: string,
  extra?: ExtraSecrets,
): Promise<void> {
  const redact = (list: readonly Secret[]) =>
    list.map(({ value, notAfter }) => ({
      characters: value.length,
      notAfter: notAfter === undefined ? null : new Date(notAfter).toISOString(),
    }));
  const { isHigh, lines } = await throughputLine(client);
  const shown = {
    parameter: name,
    appId: secrets.appId,
    hasAppSecret: secrets.appSecret !== undefined,
    encryptKeys: redact(secrets.encryptKeys),
    verificationTokens: redact(secrets.verificationTokens),
    hasHighThroughput: isHigh,
    ...(extra === undefined ? {} : { extra }),
  };
  if (json) {
    console.log(JSON.stringify(shown));
    return;
  }
  const line = (label: string, list: ReturnType<typeof redact>) =>
    list.map(
      ({ characters, notAfter }) =>
        `  ${label.padEnd(18)} ${characters} characters, ${notAfter === null ? "current" : `accepted until ${notAfter}`}`,
    );
  console.log(
    [
      `${verb} ${name}`,
      `  App                ${shown.appId}${shown.hasAppSecret ? ", with its secret" : ""}`,
      ...line("Encrypt Key", shown.encryptKeys),
      ...line("Verification Token", shown.verificationTokens),
      ...lines.map((text) => `  ${"Throughput".padEnd(18)} ${text}`),
      ...(extra?.stored ?? []).map((secret) => `  ${secret.padEnd(18)} stored in ${extra?.parameter}`),
      ...(extra?.missing ?? []).map((secret) => `  ${secret.padEnd(18)} not stored: set it with --extra ${secret}`),
    ].join("\n"),
  );
}
