import { ConfigError } from "../errors.ts";
import { once } from "../once.ts";
import { type Secrets, secretsFrom } from "../secrets.ts";
import type { Env } from "../settings/environment.ts";
import { staleMs } from "./config.ts";

type Values = Readonly<Record<string, string | undefined>>;

/**
 * The secrets that larkpost.config.js names (EXTRA_SECRETS): from the SSM parameter EXTRA_SECRETS_PARAMETER, cached as
 * the keys are, or without one from the environment, as on a developer's machine.
 *
 * @returns `load` reads them before the first event needs them, for 0.8 s at most. `current` never rejects: a handler that
 * reads a secret which could not be read gets the error.
 */
export function extraSecrets(env: Env) {
  const names = env["EXTRA_SECRETS"]?.split(",") ?? [];
  const parameter = env["EXTRA_SECRETS_PARAMETER"];
  if (names.length === 0 || parameter === undefined) {
    const secrets = view(names, env, "it is not set. Put it into .env, and start again");
    return { load: async () => {}, current: async () => secrets };
  }
  // SSM's client is loaded only where it is needed.
  const open = once(() =>
    import("./stored-extra.ts").then(({ openExtra }) => openExtra(names, { parameter, staleMs: staleMs(env) })),
  );
  return {
    load: async () => (await open()).load(),
    async current(): Promise<Secrets> {
      try {
        const values = await (await open()).latest();
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

function view(names: readonly string[], values: Values, missing: string): Secrets {
  return secretsFrom((name) => {
    const value = values[name];
    if (value !== undefined && names.includes(name)) return value;
    const found = names.includes(name) ? missing : "larkpost.config.js does not list it under secrets";
    throw new ConfigError(`Cannot read the secret "${name}": ${found}`);
  });
}
