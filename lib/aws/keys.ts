import { ConfigError } from "../errors.ts";
import type { KeyRing } from "../feishu/keys.ts";
import { once } from "../once.ts";
import type { HttpOptions } from "../receiving/http.ts";
import { noAppSecret } from "../settings/app-secrets.ts";
import type { StoredSecrets } from "./config.ts";

/** The keys that requests are opened with. Those of the environment are never renewed. */
export type KeySource = Pick<HttpOptions, "keys" | "renewedKeys">;

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
      if (open === undefined) return { keys: () => keys };
      const store = await open();
      await store.load();
      return { keys: store.current, renewedKeys: store.renewed };
    },

    /** @throws {ConfigError} None is set. */
    async appSecret(): Promise<string> {
      if (open !== undefined) return (await open()).appSecret();
      if (appSecret === undefined) throw new ConfigError(noAppSecret);
      return appSecret;
    },
  };
}
