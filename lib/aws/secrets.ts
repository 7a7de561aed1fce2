import { GetParameterCommand, ParameterNotFound, PutParameterCommand, SSMClient } from "@aws-sdk/client-ssm";
import type { Clock } from "../clock.ts";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import { publish } from "../trace/trace.ts";
import { type AppSecrets, noAppSecret, parseSecrets } from "./config.ts";

/** How long keys are used without being looked at again: a key that was taken back is gone everywhere by then. */
export const cacheMs = 300_000;
/** A mismatch may mean that the keys were just changed, or an attack: it may ask the store this often. */
export const renewalPauseMs = 30_000;

/** A client that gives up within the receiver's budget; a person at a shell, perhaps far from the region, waits longer. */
export function ssmClient({ isPatient = false, region }: { isPatient?: boolean; region?: string } = {}): SSMClient {
  if (isPatient) {
    return new SSMClient({
      requestHandler: { connectionTimeout: 5_000, socketTimeout: 10_000 },
      ...(region === undefined ? undefined : { region }),
    });
  }
  return new SSMClient({
    maxAttempts: 2,
    requestHandler: { connectionTimeout: 250, requestTimeout: 600, throwOnRequestTimeout: true, socketTimeout: 600 },
  });
}

/** Reads the SecureString. @throws {ConfigError} It holds no usable secrets; anything else: the store could not be asked. */
export async function readSecrets(client: Pick<SSMClient, "send">, parameter: string): Promise<AppSecrets> {
  const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter, WithDecryption: true }));
  return parseSecrets(Parameter?.Value ?? "");
}

/** The same, or `undefined` when there is no such parameter. */
export async function findSecrets(client: Pick<SSMClient, "send">, parameter: string): Promise<AppSecrets | undefined> {
  try {
    return await readSecrets(client, parameter);
  } catch (error) {
    if (error instanceof ParameterNotFound) return undefined;
    throw error;
  }
}

/** Writes the SecureString, encrypted with a customer key or with the account's own. */
export async function writeSecrets(
  client: Pick<SSMClient, "send">,
  parameter: string,
  secrets: AppSecrets,
  kmsKey?: string,
): Promise<void> {
  const { warnings: _, ...stored } = secrets;
  await client.send(
    new PutParameterCommand({
      Name: parameter,
      Type: "SecureString",
      Overwrite: true,
      Value: JSON.stringify(stored),
      ...(kmsKey === undefined ? undefined : { KeyId: kmsKey }),
    }),
  );
}

export interface StoredKeys {
  /** The cached keys, or freshly read ones. Rejects while the store cannot be asked: the answer is then a 503, never a 401. */
  current(): Promise<KeyRing>;
  /** Keys read after a mismatch; `undefined` when the store was asked less than 30 s ago. Rejects while it cannot be asked. */
  renewed(): Promise<KeyRing | undefined>;
  /** The app's secret, as cached. @throws {ConfigError} None is stored. */
  appSecret(): Promise<string>;
}

/** An app's keys from SSM, cached; however many requests wait, the store is asked once at a time. */
export function storedKeys(
  client: Pick<SSMClient, "send">,
  { parameter, appId, oldCards }: { parameter: string; appId?: string | undefined; oldCards?: boolean },
  clock: Clock,
): StoredKeys {
  let cached: { readonly ring: KeyRing; readonly appSecret: string | undefined; readonly readAtMs: number } | undefined;
  let reading: Promise<KeyRing> | undefined;
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let lastFailure: unknown;

  const read = (): Promise<KeyRing> => {
    if (reading !== undefined) return reading;
    askedAtMs = clock.nowMs();
    const startMs = askedAtMs;
    reading = readSecrets(client, parameter)
      .then((secrets) => {
        if (appId !== undefined && appId !== secrets.appId) {
          throw new ConfigError(
            "Cannot start: APP_ID and the stored secrets name two apps. Check the stage's parameter",
          );
        }
        for (const message of secrets.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
        const ring = new Map([[defaultApp, appKeys({ ...secrets, oldCards })]]);
        cached = { ring, appSecret: secrets.appSecret, readAtMs: startMs };
        lastFailure = undefined;
        return ring;
      })
      .catch((thrown: unknown) => {
        const error = thrown instanceof ParameterNotFound ? missing(parameter, thrown) : thrown;
        // A request that fails for it is not told as ours to mend; the parameter is.
        if (error instanceof ConfigError) {
          publish({ stage: "misconfigured", level: "error", facts: { message: error.message } });
        }
        lastFailure = error;
        throw error;
      })
      .finally(() => {
        reading = undefined;
      });
    return reading;
  };

  const current = async () =>
    cached !== undefined && clock.nowMs() - cached.readAtMs < cacheMs ? cached.ring : read();
  return {
    current,
    async appSecret() {
      await current();
      if (cached?.appSecret === undefined) throw new ConfigError(noAppSecret);
      return cached.appSecret;
    },
    async renewed() {
      if (reading !== undefined) return reading;
      if (clock.nowMs() - askedAtMs >= renewalPauseMs) return read();
      // The store could not say: the key may have been changed, and a 401 would be a guess.
      if (lastFailure !== undefined) throw lastFailure;
      return undefined;
    },
  };
}

function missing(parameter: string, cause: unknown): ConfigError {
  return new ConfigError(
    `Cannot read the stored secrets: there is no parameter ${parameter}. Run "npm run secrets -- set"`,
    { cause },
  );
}
