import { systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { fieldsOf } from "../feishu/json.ts";
import { type Secrets, secretsFrom } from "../secrets.ts";
import type { Env } from "../settings/environment.ts";
import { publish } from "../trace/trace.ts";
import type { AwsClient } from "./client.ts";
import { staleMs } from "./config.ts";
import { cachedParameter } from "./parameter.ts";
import { readParameter } from "./secrets.ts";

type Values = Readonly<Record<string, string | undefined>>;

/**
 * The secrets that larkpost.config.js names (EXTRA_SECRETS): from the SSM parameter EXTRA_SECRETS_PARAMETER, cached as
 * the keys are, or without one from the environment, as on a developer's machine.
 *
 * @returns `load` reads them before the first event needs them, for 0.8 s at most. `current` never rejects: a handler that
 * reads a secret which could not be read gets the error.
 */
export function extraSecrets(env: Env, client: AwsClient) {
  const names = env["EXTRA_SECRETS"]?.split(",") ?? [];
  const parameter = env["EXTRA_SECRETS_PARAMETER"];
  if (names.length === 0 || parameter === undefined) {
    const secrets = view(names, env, "it is not set. Put it into .env, and start again");
    return { load: async () => {}, current: async () => secrets };
  }
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
  const cached = cachedParameter(read, { parameter, staleMs: staleMs(env) }, systemClock);
  return {
    load: cached.load,
    async current(): Promise<Secrets> {
      try {
        const values = await cached.latest();
        return view(
          names,
          values,
          `${parameter} does not have it. Run "npm run secrets -- set" with --extra and its name`,
        );
      } catch (error) {
        return secretsFrom(() => {
          throw error;
        });
      }
    },
  };
}

/**
 * Reads the SecureString of a project's further secrets: value by name, nothing where there is none yet.
 * @throws {ConfigError} It holds something else. Any other error: SSM did not answer.
 */
export async function readExtraSecrets(
  client: AwsClient,
  parameter: string,
): Promise<Readonly<Record<string, string>>> {
  try {
    const stored: unknown = JSON.parse(await readParameter(client, parameter));
    const isUsable = Object.values(fieldsOf(stored)).every((value) => typeof value === "string");
    if (typeof stored === "object" && stored !== null && isUsable) return stored as Readonly<Record<string, string>>;
  } catch (error) {
    if (fieldsOf(error)["name"] === "ParameterNotFound") return {};
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ConfigError(`Cannot read ${parameter}: it is not JSON of texts by name. Delete it, and store each again`);
}

function view(names: readonly string[], values: Values, missing: string): Secrets {
  return secretsFrom((name) => {
    const value = values[name];
    if (value && names.includes(name)) return value;
    const found = names.includes(name)
      ? missing
      : "larkpost.config.js did not list it under secrets when this process started";
    throw new ConfigError(`Cannot read the secret "${name}": ${found}`);
  });
}
