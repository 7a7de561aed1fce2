import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { longConnectionConfig } from "../../aws/config.ts";
import { LongConnectionError } from "../../errors.ts";
import { startLongConnectionProcess } from "../../local/long-connection.ts";
import { refuseDeployedApp } from "../state/stages.ts";

type Env = Readonly<Record<string, string | undefined>>;

export interface LongConnectionOptions {
  readonly root: string;
  /** The settings of a real app. */
  readonly env: Env;
  /** Whether the app is a local one, whose connection goes to the simulated platform. */
  readonly isSimulated: boolean;
  /** Whether to connect even if the app is a deployed stage's. */
  readonly force: boolean;
}

interface LongConnectionStart {
  /** The environment of the local functions: queues, ledger, keys and the platform's domain. */
  readonly env: NodeJS.ProcessEnv;
  readonly onLine: (line: Record<string, unknown>, detail: string | undefined) => void;
  readonly onNotice: (notice: string) => void;
  readonly onLaunch?: (child: ChildProcess) => void;
}

/**
 * Checks the settings of the long connection of `npm start`, and returns what starts it.
 * @throws {ConfigError} A setting is missing or wrong, or the app is a deployed stage's.
 */
export async function prepareLongConnection({ root, env, isSimulated, force }: LongConnectionOptions) {
  let target = "a simulator on this machine";
  if (!isSimulated) {
    const { appId, api } = longConnectionConfig({
      ...env,
      EVENTS_QUEUE_URL: "http://127.0.0.1/events",
      QUARANTINE_QUEUE_URL: "http://127.0.0.1/quarantine",
      LEDGER_TABLE: "ledger",
    });
    if (!force) refuseDeployedApp(appId, root);
    target = `${new URL(api.origin).host} as "${appId}"`;
  }
  const failed = Promise.withResolvers<never>();
  // Without this, a rejection that is not awaited yet would end the process.
  failed.promise.catch(() => {});
  let running: ReturnType<typeof startLongConnectionProcess> | undefined;

  const stop = async () => running?.stop();
  return {
    /** The platform that it connects to, for a notice. */
    target,

    /** Rejects when the process gives up after it was started. */
    failed: failed.promise,

    /**
     * Resolves when it is connected, or when it has failed to connect and retries.
     * @throws {LongConnectionError} The platform refuses the app.
     */
    async start({ env: functionsEnv, onLine, onNotice, onLaunch }: LongConnectionStart): Promise<void> {
      running = startLongConnectionProcess({
        module: join(root, "functions/long-connection.ts"),
        // During a reload there are two processes, and only one can listen on HEALTH_PORT. No alarm reads the heartbeat.
        env: { ...functionsEnv, HEALTH_PORT: undefined, HEARTBEAT_SECONDS: undefined },
        onLine,
        onNotice,
        onLaunch,
        onGivenUp: (reason) => failed.reject(new LongConnectionError(reason)),
      });
      try {
        await running.start();
      } catch (error) {
        await stop();
        throw new LongConnectionError(error instanceof Error ? error.message : String(error));
      }
    },

    /** Replaces the running process by one with the code as it is now. */
    reload: async () => running?.reload(),

    stop,
  };
}

/**
 * Random keys for a real app whose keys are not set. Messages over the long connection are not encrypted, but the
 * webhook and the callback function need keys. With random keys, their addresses accept no request.
 */
export function randomKeys(env: Env): Record<string, string> {
  const names = ["ENCRYPT_KEY", "VERIFICATION_TOKEN", "SECRETS_PARAMETER", "ALLOW_UNENCRYPTED"];
  if (env["APP_ID"] === undefined || names.some((name) => env[name] !== undefined)) return {};
  const randomKey = () => randomBytes(24).toString("base64url");
  return { ENCRYPT_KEY: randomKey(), VERIFICATION_TOKEN: randomKey() };
}
