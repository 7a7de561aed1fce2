import { GetParameterCommand, ParameterNotFound, type SSMClient } from "@aws-sdk/client-ssm";
import type { Clock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { StoredSecrets } from "./config.ts";
import { cachedParameter } from "./parameter.ts";

type Client = Pick<SSMClient, "send">;

type Options = Pick<StoredSecrets, "parameter"> & Partial<StoredSecrets>;

/** Reads the SecureString. @throws {ConfigError} It holds no usable secrets; anything else: the store could not be asked. */
export async function readSecrets(client: Client, parameter: string): Promise<AppSecrets> {
  const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
  return parseSecrets(Parameter?.Value ?? "");
}

/**
 * Reads the SecureString of a project's further secrets: value by name, nothing where there is none yet.
 * @throws {ConfigError} It holds something else; anything else: the store could not be asked.
 */
export async function readExtraSecrets(client: Client, parameter: string): Promise<Readonly<Record<string, string>>> {
  try {
    const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
    const stored: unknown = JSON.parse(Parameter?.Value ?? "");
    const isUsable = Object.values(Object(stored)).every((value) => typeof value === "string");
    if (typeof stored === "object" && stored !== null && isUsable) return stored as Record<string, string>;
  } catch (error) {
    if (error instanceof ParameterNotFound) return {};
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new ConfigError(`Cannot read ${parameter}: it is not JSON of texts by name. Delete it, and store each again`);
}

/** The secrets as requests need them. */
async function readKeys(client: Client, { parameter, appId, oldCards }: Options) {
  const secrets = await readSecrets(client, parameter);
  if (appId !== undefined && appId !== secrets.appId) {
    throw new ConfigError("Cannot start: APP_ID and the stored secrets name two apps. Check the stage's parameter");
  }
  for (const message of secrets.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
  return { ring: new Map([[defaultApp, appKeys({ ...secrets, oldCards })]]), appSecret: secrets.appSecret };
}

export interface StoredKeys {
  load(): Promise<void>;
  /** Rejects while there are none: the answer is then a 503, never a 401. */
  current(): Promise<KeyRing>;
  /** Keys read after a mismatch; `undefined` when the store was asked less than 30 s ago. Rejects while it cannot be asked. */
  renewed(): Promise<KeyRing | undefined>;
  /** The app's secret, as cached. @throws {ConfigError} None is stored. */
  appSecret(): Promise<string>;
}

/** An app's keys from SSM, cached as {@link cachedParameter} says. */
export function storedKeys(client: Client, options: Options, clock: Clock, random = Math.random): StoredKeys {
  const { load, latest, renewed } = cachedParameter(() => readKeys(client, options), options, clock, random);
  return {
    load,
    current: async () => (await latest()).ring,
    renewed: async () => (await renewed())?.ring,
    async appSecret() {
      const { appSecret } = await latest();
      if (appSecret === undefined) throw new ConfigError(noAppSecret);
      return appSecret;
    },
  };
}
