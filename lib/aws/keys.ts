import { ConfigError } from "../errors.ts";
import type { KeyRing } from "../feishu/keys.ts";
import { once } from "../once.ts";
import { noAppSecret } from "../settings/app-secrets.ts";
import type { StoredSecrets } from "./config.ts";

/** The keys that requests are opened with. */
export interface KeySource {
  readonly current: () => KeyRing | Promise<KeyRing>;
  /** Reads the keys again after a mismatch; `undefined` where they cannot change. */
  readonly renewed: (() => Promise<KeyRing | undefined>) | undefined;
}

/**
 * An app's secrets, from the environment or from SSM, with one cache. SSM's client is loaded when it is first needed.
 */
export function secretSource(config: {
  keys?: KeyRing;
  appSecret?: string | undefined;
  stored?: StoredSecrets | undefined;
}) {
  const { keys = new Map(), appSecret, stored } = config;
  const open = stored && once(() => import("./secrets.ts").then(({ storedKeys }) => storedKeys(stored)));
  return {
    /** The keys. Stored ones are read now, so that the first request finds them, or a read that is running. */
    async keys(): Promise<KeySource> {
      if (open === undefined) return { current: () => keys, renewed: undefined };
      const store = await open();
      await store.load();
      return store;
    },

    /** @throws {ConfigError} None is set. */
    async appSecret(): Promise<string> {
      if (open !== undefined) return (await open()).appSecret();
      if (appSecret === undefined) throw new ConfigError(noAppSecret);
      return appSecret;
    },
  };
}
