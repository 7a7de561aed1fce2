import { systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import type { HttpOptions } from "../receiving/http.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "../settings/app-secrets.ts";
import { publish } from "../trace/trace.ts";
import type { AwsClient } from "./client.ts";
import type { StoredSecrets } from "./config.ts";
import { cachedParameter } from "./parameter.ts";

type Options = Pick<StoredSecrets, "parameter"> & Partial<StoredSecrets>;

/** The keys that requests are opened with. Those of the environment are never renewed. */
export type KeySource = Pick<HttpOptions, "keys" | "renewedKeys">;

/** Reads a SecureString. */
export async function readParameter(client: AwsClient, parameter: string): Promise<string> {
  const { Parameter } = await client.call("GetParameter", { Name: parameter, WithDecryption: true });
  return Parameter?.Value ?? "";
}

/** @throws {ConfigError} The parameter holds no usable secrets. Any other error: SSM did not answer. */
export async function readSecrets(client: AwsClient, parameter: string): Promise<AppSecrets> {
  return parseSecrets(await readParameter(client, parameter));
}

/** The secrets as requests need them. */
async function readKeys(client: AwsClient, { parameter, appId, oldCards }: Options) {
  const secrets = await readSecrets(client, parameter);
  if (appId !== undefined && appId !== secrets.appId) {
    throw new ConfigError("Cannot start: APP_ID and the stored secrets name two apps. Check the stage's parameter");
  }
  for (const message of secrets.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
  return { ring: new Map([[defaultApp, appKeys({ ...secrets, oldCards })]]), appSecret: secrets.appSecret };
}

/** An app's keys from SSM, cached as {@link cachedParameter} says. */
export function storedKeys(options: Options, client: AwsClient, clock = systemClock, random = Math.random) {
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

/** An app's secrets, from the environment or from SSM, with one cache. */
export function secretSource(
  config: { keys?: KeyRing; appSecret?: string | undefined; stored?: StoredSecrets | undefined },
  client: AwsClient,
) {
  const { keys = new Map(), stored } = config;
  const store = stored && storedKeys(stored, client);
  return {
    /** The keys. Stored ones are read now, so that the first request finds them, or a read that is running. */
    async keys(): Promise<KeySource> {
      await store?.load();
      return store === undefined ? { keys: () => keys } : { keys: store.current, renewedKeys: store.renewed };
    },

    /** @throws {ConfigError} None is set. */
    async appSecret(): Promise<string> {
      const { appSecret } = config;
      if (store !== undefined) return store.appSecret();
      if (appSecret === undefined) throw new ConfigError(noAppSecret);
      return appSecret;
    },
  };
}
