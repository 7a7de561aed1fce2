import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { GetParameterCommandInput, SSM } from "@aws-sdk/client-ssm";
import { type AwsClient, type CallOptions, defaultTryMs } from "../../aws/client.ts";
import { fromSdk } from "../../aws/sdk.ts";
import { readSecrets } from "../../aws/secrets.ts";
import { ConfigError, LarkpostError } from "../../errors.ts";
import { fieldsOf } from "../../feishu/json.ts";
import type { AppSecrets } from "../../settings/app-secrets.ts";
import { CommandError } from "../command.ts";
import { existingRoot } from "../project.ts";
import { reasonWithAdvice } from "./clients.ts";

// What the command `secrets` asks SSM for; no function loads it.

/** Name of a stage's parameter, of the app's keys or of the project's further secrets: as in the template. */
export function parameterName(stage: string, what: "app" | "extra"): string {
  return `/${serviceName()}/${stage}/${what}`;
}

/** The first part of the names of a stage's stack, parameters and resources. */
export function serviceName(): string {
  const template = readFileSync(join(existingRoot(), "serverless.yml"), "utf8");
  const service = /^service:\s*([\w-]+)\s*$/m.exec(template)?.[1];
  if (service === undefined) throw new ConfigError('Cannot name the stack: serverless.yml has no line "service: name"');
  return service;
}

/** The region that the stack goes to: the same chain as in serverless.yml, so that the functions find the keys there. */
export function regionOf(typed: string | undefined): string {
  return typed ?? (process.env["AWS_REGION"] || process.env["AWS_DEFAULT_REGION"] || "ap-southeast-1");
}

/** A setting that cannot be stored is no setting that a start lacks. */
export function storing<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(error.message.replace("Cannot start:", "Cannot store:"), { cause: error });
  }
}

/** SSM's answer, or one line about why there is none: the fault's name and the right that is missing, if it names one. */
export async function askSsm<T>(name: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof LarkpostError || !(error instanceof Error)) throw error;
    throw new CommandError(`Cannot ask SSM for ${name}: ${reasonWithAdvice(error)}`, { cause: error });
  }
}

/**
 * Why stored keys cannot be used, and what to do: `secrets set` replaces nothing that it cannot read.
 *
 * @param set The command that stores the stage's keys.
 */
export function unusableKeys(
  { message }: ConfigError,
  { parameter, region, set }: { parameter: string; region: string; set: string },
) {
  const [, what = message] = /^Cannot [\w ]+: (.*?)(?:\. [A-Z].*)?$/.exec(message) ?? [];
  const remove = `aws ssm delete-parameter --name ${parameter} --region ${region}`;
  return { what, cure: `Delete it, then store the keys again: "${remove}", "${set}"` };
}

/** A person waits longer than a function. */
export function patient(ssm: Pick<SSM, "getParameter" | "destroy">): AwsClient {
  return fromSdk({ ssm }, { ...defaultTryMs, ssm: 10_000 });
}

/** The stored secrets, or `undefined` when there is no such parameter. */
export async function findSecrets(
  client: Pick<SSM, "getParameter" | "destroy">,
  parameter: string,
): Promise<AppSecrets | undefined> {
  try {
    return await readSecrets(patient(client), parameter);
  } catch (error) {
    if (fieldsOf(error)["name"] === "ParameterNotFound") return undefined;
    throw error;
  }
}

/**
 * A SecureString that is read by `reader`, and written again unless somebody else has written it meanwhile.
 * SSM has no condition for a write, but counts them: when its count is another than it should be, the other's text, which
 * it still has under its own number, is put back.
 */
export function editParameter(ssm: SSM, parameter: string) {
  let version = 0;
  const reader = {
    async getParameter(...[input, options]: [GetParameterCommandInput, CallOptions?]) {
      const answer = await ssm.getParameter(input, options);
      version = answer.Parameter?.Version ?? 0;
      return answer;
    },
    destroy: () => ssm.destroy(),
  } as Pick<SSM, "getParameter" | "destroy">;
  const changed = new CommandError(
    `Cannot store it: somebody else has changed ${parameter} meanwhile, and theirs is kept. Look at it with "npm run secrets -- show", and type the command again`,
  );

  /**
   * @param kmsKey A customer key to encrypt with; else it is the account's own.
   * @throws {CommandError} Somebody else has written it since it was read. Theirs is what is stored.
   */
  async function write(
    stored: Omit<AppSecrets, "warnings"> | Readonly<Record<string, string>>,
    kmsKey?: string,
  ): Promise<void> {
    const put = async (Value: string, isReplaced: boolean) => {
      const KeyId = kmsKey === undefined ? {} : { KeyId: kmsKey };
      const input = { Name: parameter, Type: "SecureString", Value, Overwrite: isReplaced, ...KeyId } as const;
      return (await ssm.putParameter(input)).Version ?? 0;
    };
    const written = await put(JSON.stringify(stored), version > 0).catch((error: unknown) => {
      throw fieldsOf(error)["name"] === "ParameterAlreadyExists" ? changed : error;
    });
    // The first version: it was deleted meanwhile.
    if (written === version + 1 || written === 1) return;
    const theirs = `${parameter}:${written - 1}`;
    try {
      const { Parameter } = await ssm.getParameter({ Name: theirs, WithDecryption: true });
      await put(Parameter?.Value ?? "", true);
    } catch (cause) {
      const advice = `Put the text of ${theirs} back by hand, and type the command again`;
      throw new CommandError(
        `Cannot store it: somebody else has changed ${parameter} meanwhile, and theirs was overwritten. ${advice}`,
        { cause },
      );
    }
    throw changed;
  }

  return { reader, write };
}
