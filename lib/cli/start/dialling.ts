import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { longConnectionConfig } from "../../aws/config.ts";
import { systemClock } from "../../clock.ts";
import { LongConnectionError } from "../../errors.ts";
import { startLongConnectionProcess } from "../../local/long-connection.ts";
import { type LongConnectionServer, startLongConnectionServer } from "../../simulator/long-connection/server.ts";
import { refuseDeployedApp } from "../state/stages.ts";

type Env = Readonly<Record<string, string | undefined>>;

export interface DiallingOptions {
  readonly root: string;
  /** Where a real app's settings are. */
  readonly env: Env;
  /** An app of this machine alone: it dials a simulator. */
  readonly local?: { readonly appId: string; readonly appSecret?: string } | undefined;
  /** Dial, though the app is a deployed stage's. */
  readonly force: boolean;
}

export interface DiallingStart {
  /** The local functions' own: queues, ledger and keys. */
  readonly env: NodeJS.ProcessEnv;
  /** Of the simulated Open API, which callbacks' handlers call from the process as well. */
  readonly openApi?: string | undefined;
  readonly onLine: (line: Record<string, unknown>, detail: string | undefined) => void;
  readonly onNotice: (notice: string) => void;
}

/**
 * The long connection of `npm start`. What speaks against it is found before anything is started.
 * @throws {ConfigError} A setting is missing or wrong, the app is a deployed stage's.
 */
export async function prepareDialling({ root, env, local, force }: DiallingOptions) {
  let target = "a simulator on this machine";
  if (local === undefined) {
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
  // Heard by who waits for it.
  failed.promise.catch(() => {});
  let server: LongConnectionServer | undefined;
  let running: ReturnType<typeof startLongConnectionProcess> | undefined;

  const stop = async () => {
    await running?.stop();
    await server?.close();
  };
  return {
    /** Whom it dials, for a person. */
    target,

    /** Rejects when the connection has ended for good after it was started. */
    failed: failed.promise,

    /**
     * Resolves when it is connected, or has tried in vain and goes on trying.
     * @throws {LongConnectionError} The platform refuses the app.
     */
    async start({ env: functionsEnv, openApi, onLine, onNotice }: DiallingStart): Promise<void> {
      // Only one process can listen there, and a reload runs two; and nobody counts lines here.
      let own: NodeJS.ProcessEnv = { ...functionsEnv, HEALTH_PORT: undefined, HEARTBEAT_SECONDS: undefined };
      if (local !== undefined) {
        const { appId, appSecret = randomBytes(16).toString("hex") } = local;
        const apps = [{ appId, appSecret }];
        server = await startLongConnectionServer({ apps, openApi, clock: systemClock, random: Math.random });
        own = { ...own, APP_ID: appId, APP_SECRET: appSecret, LARK_DOMAIN: server.origin };
      }
      running = startLongConnectionProcess({
        ...{ module: join(root, "functions/long-connection.ts"), env: own, onLine, onNotice },
        onGivenUp: (reason) => failed.reject(new LongConnectionError(reason)),
      });
      try {
        await running.start();
      } catch (error) {
        await stop();
        throw new LongConnectionError(error instanceof Error ? error.message : String(error));
      }
    },

    /** Puts changed code in the place of the running one. */
    reload: async () => running?.reload(),

    /** Gives a message to the connection, as the platform would; only the simulator can. */
    get deliver(): LongConnectionServer["deliver"] | undefined {
      return server?.deliver;
    },

    stop,
  };
}

export type Dialling = Awaited<ReturnType<typeof prepareDialling>>;

/**
 * The keys of a real app that has given none: over the long connection nothing is encrypted, and what runs behind the
 * addresses beside it wants some. With these nobody can use it.
 */
export function keysBesideDialling(env: Env): Record<string, string> {
  const names = ["ENCRYPT_KEY", "VERIFICATION_TOKEN", "SECRETS_PARAMETER", "ALLOW_UNENCRYPTED"];
  if (env["APP_ID"] === undefined || names.some((name) => env[name] !== undefined)) return {};
  const made = () => randomBytes(24).toString("base64url");
  return { ENCRYPT_KEY: made(), VERIFICATION_TOKEN: made() };
}
