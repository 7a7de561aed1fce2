import { noAppId } from "../../../../infra/deployment.js";
import { readProject } from "../../../../infra/project.js";
import { readExtraSecrets } from "../../../aws/extra-secrets.ts";
import { ConfigError } from "../../../errors.ts";
import { apiOrigin } from "../../../feishu/domain.ts";
import type { AppSecrets } from "../../../settings/app-secrets.ts";
import type { Finding } from "../../check/finding.ts";
import { oneLine } from "../../command.ts";
import { readStages, stagesFile } from "../../state/stages.ts";
import { findSecrets, patient, unusableKeys } from "../parameter-store.ts";
import { type Stack, variableOf } from "../stack.ts";
import { about, type Context, type Local, unlessRefused, warning } from "./context.ts";

/** The app that the stack is for; `undefined` when none is named. */
export function appOf({ template }: Stack): string | undefined {
  const app = String(template.Outputs?.["AppId"]?.Value ?? "none");
  return app === "none" ? undefined : app;
}

/** No app, or one that takes the stage from another. */
export function findOtherApp({ root, stack, deployed, force }: Local): Finding[] {
  const app = appOf(stack);
  if (app === undefined) return [about("APP_ID", noAppId.replace(/^Cannot deploy: APP_ID /, ""))];
  if (force) return [];
  let recorded: string | undefined;
  try {
    recorded = readStages(root).get(stack.stage);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [about(stagesFile, error.message.replace(`Cannot read ${stagesFile}: `, ""))];
  }
  const apps = [
    [stagesFile, recorded],
    [stack.name, deployed?.outputs.get("AppId")],
  ] as const;
  const [place, other] = apps.find(([, one]) => one !== undefined && one !== app) ?? [];
  if (place === undefined) return [];
  const text = `the stage "${stack.stage}" is of the app "${other}", whose queued events "${app}" cannot read. Check APP_ID and --stage; --force takes the stage over`;
  return [about(place, text)];
}

/** The functions would refuse to start with it. */
export function findOtherDomain({ stack }: Local): Finding[] {
  const domain = variableOf(stack, "WorkerLambdaFunction", "LARK_DOMAIN");
  const allowOther = variableOf(stack, "WorkerLambdaFunction", "ALLOW_OTHER_DOMAIN") === "true";
  try {
    apiOrigin(domain, { allowOther });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const text = error.message
      .replace(/^Cannot start: LARK_DOMAIN /, "")
      .replace("ALLOW_OTHER_DOMAIN=true", "--param allowOtherDomain=true");
    return [about("--param larkDomain", text)];
  }
}

/** The app's keys in SSM: that they are there, can be read, and are of this app. */
export function findStoredKeyFaults({ stack, clients }: Context): Promise<Finding[]> {
  const parameter = variableOf(stack, "WorkerLambdaFunction", "SECRETS_PARAMETER") ?? "";
  return findKeyFaultsIn(parameter, { stack, clients, app: appOf(stack) });
}

/** @param of.needsSecret Whether the app's secret has to be among them. */
export function findKeyFaultsIn(
  parameter: string,
  of: Pick<Context, "stack" | "clients"> & { app: string | undefined; needsSecret?: boolean },
): Promise<Finding[]> {
  const { stack, clients, app, needsSecret = false } = of;
  return unlessRefused(parameter, async () => {
    let secrets: AppSecrets | undefined;
    try {
      secrets = await findSecrets(clients.ssm, parameter);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const { what, cure } = unusableKeys(error, { parameter, region: stack.region, set: setKeys(stack) });
      return [about(parameter, `cannot be used: ${what}. ${cure}`)];
    }
    if (secrets === undefined) return [about(parameter, `there is no such parameter. Run "${setKeys(stack)}"`)];
    const isSecretMissing = needsSecret && secrets.appSecret === undefined;
    const missing = about(
      parameter,
      `has no app secret, with which the long connection is opened. Run "${setKeys(stack)}" with APP_SECRET`,
    );
    if (app === undefined || secrets.appId === app) return isSecretMissing ? [missing] : [];
    const text = `has the keys of "${oneLine(secrets.appId, 100)}", and the stack is for "${app}": every request would get 503. Check APP_ID, or run "${setKeys(stack)}"`;
    return [about(parameter, text)];
  });
}

function setKeys({ stage, region }: Stack): string {
  return `npm run secrets -- set --stage ${stage} --region ${region}`;
}

/** Secrets of the project that are not stored. A handler that reads one fails. */
export async function findMissingExtras({ root, stack, clients }: Context): Promise<Finding[]> {
  const parameter = variableOf(stack, "WorkerLambdaFunction", "EXTRA_SECRETS_PARAMETER");
  if (parameter === undefined) return [];
  return unlessRefused(parameter, async () => {
    const { secrets } = await readProject(root);
    const stored = await readExtraSecrets(patient(clients.ssm), parameter);
    return secrets
      .filter((name) => !Object.hasOwn(stored, name))
      .map((name) =>
        warning(parameter, `has no ${name}, which larkpost.config.js lists. Run "${setKeys(stack)} --extra ${name}"`),
      );
  });
}
