import { GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import { systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import type { Secrets } from "../secrets.ts";
import { publish } from "../trace/trace.ts";
import { type CachedParameter, cachedParameter, type ParameterOptions } from "./parameter.ts";
import { ssmClient } from "./secrets.ts";

/**
 * Reads the SecureString of a project's further secrets: value by name, nothing where there is none yet.
 * @throws {ConfigError} It holds something else. Any other error: SSM did not answer.
 */
export async function readExtraSecrets(client: Pick<SSMClient, "send">, parameter: string): Promise<Secrets> {
  try {
    const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
    const stored: unknown = JSON.parse(Parameter?.Value ?? "");
    const isUsable = Object.values(Object(stored)).every((value) => typeof value === "string");
    if (typeof stored === "object" && stored !== null && isUsable) return stored as Secrets;
  } catch (error) {
    if (error instanceof ParameterNotFound) return {};
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ConfigError(`Cannot read ${parameter}: it is not JSON of texts by name. Delete it, and store each again`);
}

/** A project's further secrets as a function uses them. */
export function openExtra(names: readonly string[], options: ParameterOptions): CachedParameter<Secrets> {
  const { parameter } = options;
  const client = ssmClient();
  const read = async () => {
    const values = await readExtraSecrets(client, parameter);
    const missing = names.filter((name) => values[name] === undefined);
    if (missing.length > 0) {
      // Logged here, since a handler's error is logged without its message.
      const message = `${parameter} does not have ${missing.join(", ")}. Run "npm run secrets -- set" with --extra and the name`;
      publish({ stage: "misconfigured", level: "error", facts: { message } });
    }
    return values;
  };
  return cachedParameter(read, options, systemClock);
}
