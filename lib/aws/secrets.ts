import { GetParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import { systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { StoredSecrets } from "./config.ts";
import { cachedParameter } from "./parameter.ts";

type Client = Pick<SSMClient, "send">;

type Options = Pick<StoredSecrets, "parameter"> & Partial<StoredSecrets>;

/** A client that gives up within the receiver's time. */
export function ssmClient(): SSMClient {
  return new SSMClient({
    maxAttempts: 2,
    requestHandler: { connectionTimeout: 250, requestTimeout: 600, throwOnRequestTimeout: true, socketTimeout: 600 },
  });
}

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

/** An app's keys from SSM, cached as {@link cachedParameter} says. */
export function storedKeys(options: Options, client: Client = ssmClient(), clock = systemClock, random = Math.random) {
  const { load, latest, renewed } = cachedParameter(() => readKeys(client, options), options, clock, random);
  return {
    load,
    /** Rejects without keys, so the answer is a 503, never a 401. */
    current: async (): Promise<KeyRing> => (await latest()).ring,
    renewed: async (): Promise<KeyRing | undefined> => (await renewed())?.ring,
    /** @throws {ConfigError} None is stored. */
    async appSecret(): Promise<string> {
      const { appSecret } = await latest();
      if (appSecret === undefined) throw new ConfigError(noAppSecret);
      return appSecret;
    },
  };
}
