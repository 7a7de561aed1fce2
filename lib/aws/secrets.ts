import { GetParameterCommand, type SSMClient } from "@aws-sdk/client-ssm";
import { type Clock, systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { StoredSecrets } from "./config.ts";
import { cachedParameter } from "./parameter.ts";
import { ssmClient } from "./ssm.ts";

type Client = Pick<SSMClient, "send">;

type Options = Pick<StoredSecrets, "parameter"> & Partial<StoredSecrets>;

/** Reads the SecureString. @throws {ConfigError} It holds no usable secrets. Any other error: SSM did not answer. */
export async function readSecrets(client: Client, parameter: string): Promise<AppSecrets> {
  const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
  return parseSecrets(Parameter?.Value ?? "");
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
  /** Rejects without keys, so the answer is a 503, never a 401. */
  current(): Promise<KeyRing>;
  /** Keys read after a mismatch; `undefined` when they were read less than 30 s ago. Rejects while SSM does not answer. */
  renewed(): Promise<KeyRing | undefined>;
  /** The app's secret, cached. @throws {ConfigError} None is stored. */
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

/** {@link storedKeys} as a function uses them. */
export function openKeys(options: Options): StoredKeys {
  return storedKeys(ssmClient(), options, systemClock);
}
