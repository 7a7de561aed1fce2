import { statfsSync } from "node:fs";
import { createServer } from "node:net";
import { ConfigError } from "../../../errors.ts";
import { once } from "../../../once.ts";
import { apiConfig } from "../../../open-api/config.ts";
import { listenOnLoopback } from "../../../simulator/loopback.ts";
import { checkConfig, checkSettings } from "../../check/settings.ts";
import { readStages } from "../../state/stages.ts";
import { findTarget } from "../../state/target.ts";
import type { Addressed } from "./addresses.ts";
import type { Check } from "./check.ts";
import { type Finding, found, fromRefusal } from "./finding.ts";
import type { WithApp } from "./platform.ts";
import { holderOf, nearestFolder, type State, stateChecks } from "./state.ts";

type Env = NodeJS.ProcessEnv;

/** This machine, as several checks look at it. */
export interface Machine extends State, Addressed, WithApp {
  readonly root: string;
  readonly env: Env;
  readonly nodeVersion: string;
  readonly freeBytes: () => number;
  readonly project: () => ReturnType<typeof checkConfig>;
}

/** Node's major version in the deployed functions: `runtime` in serverless.yml. */
const functionsMajor = "24";
/** What queues, ledger and log of a busy day take, several times over. */
const leastFreeBytes = 200 * 1_048_576;

export function findMachine(place: Pick<Machine, "root" | "stateFolder" | "args">): Machine {
  const { root, stateFolder } = place;
  const { env } = process;
  const holder = once(() => holderOf(stateFolder));
  return {
    ...place,
    env,
    holder,
    nodeVersion: process.versions.node,
    freeBytes() {
      const { bavail, bsize } = statfsSync(nearestFolder(stateFolder));
      return bavail * bsize;
    },
    project: once(() => checkConfig(root)),
    async addressed(kind) {
      const { isAnswering, running } = await holder();
      if (!isAnswering || running?.url === undefined) return undefined;
      const { url } = running;
      const { appId, keys } = findTarget({ url, stateFolder, env });
      return {
        addresses: [kind === "Request" ? url : new URL("callback", url).href],
        sender: { appId, keys },
        keysAtMs: Date.now(),
      };
    },
    async app() {
      const { APP_ID: appId, APP_SECRET: appSecret } = env;
      if (!appId || !appSecret) return undefined;
      try {
        return { ...apiConfig(env, appId), appSecret, connections: [0, 1] };
      } catch (error) {
        // It is among the findings about settings.
        if (error instanceof ConfigError) return undefined;
        throw error;
      }
    },
  };
}

export const machineChecks: readonly Check<Machine>[] = [
  {
    id: "node",
    about: "Node",
    fine: "Node is of the same version as the functions'",
    async find({ nodeVersion }) {
      const [major] = nodeVersion.split(".");
      if (major === functionsMajor) return [];
      const what = `this is Node ${nodeVersion}, and the functions run on Node ${functionsMajor}`;
      return [found("node-other", what, 'Run "npm ci", which installs the right one beside Larkpost')];
    },
  },
  {
    id: "config",
    about: "larkpost.config.js",
    fine: "larkpost.config.js is right",
    async find({ project }) {
      const { findings } = await project();
      return findings.map((refusal) => fromRefusal(refusal, { fail: "config-refused" }));
    },
  },
  {
    id: "settings",
    about: "the settings",
    fine: "the settings in .env and in the environment are right",
    async find({ root, env, project }) {
      const findings = checkSettings(root, env, (await project()).project);
      return findings.map((refusal) => fromRefusal(refusal, { fail: "setting-wrong", warn: "setting-doubtful" }));
    },
  },
  {
    id: "secrets",
    about: "the project's own secrets",
    fine: "the project's own secrets are set",
    async find({ env, project }) {
      const { secrets = [] } = (await project()).project ?? {};
      if (secrets.length === 0) return undefined;
      return secrets
        .filter((name) => env[name] === undefined)
        .map((name) =>
          found(
            "secrets-unset",
            `${name} is not set: a handler that reads it fails here`,
            "Put it into .env, and start again",
          ),
        );
    },
  },
  {
    id: "stages",
    about: "the deployed stages",
    fine: "the app of this machine is no deployed stage's",
    async find({ root, env }) {
      const appId = env["APP_ID"];
      if (!appId) return undefined;
      const stages = [...readStages(root)].filter(([, app]) => app === appId);
      return stages.map(([stage]): Finding => {
        const what = `${appId} is the app of the stage "${stage}": a long connection from here would take some of its events`;
        return found("app-deployed", what, "Use an app of your own for tests");
      });
    },
  },
  {
    id: "port",
    about: "the port",
    fine: "npm start listens, or its port is free",
    async find({ env, holder }) {
      if ((await holder()).isAnswering) return [];
      const port = Number(env["PORT"] || "3000");
      const server = createServer();
      try {
        await listenOnLoopback(server, port);
        return [];
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        const why = code === "EADDRINUSE" ? "another program listens on it" : (code ?? message);
        const cure = "Stop that program, or choose another port with PORT or --port";
        return [found("port-taken", `npm start cannot listen on the port ${env["PORT"] || "3000"}: ${why}`, cure)];
      } finally {
        server.close();
      }
    },
  },
  {
    id: "disk",
    about: "the disk",
    fine: "the disk has room",
    async find({ freeBytes, stateFolder }) {
      const free = freeBytes();
      if (free >= leastFreeBytes) return [];
      const what = `the disk of ${stateFolder} has ${Math.floor(free / 1_048_576)} MB left`;
      return [found("disk-full", what, "Make room: with a full disk, npm start can store no event")];
    },
  },
  ...stateChecks,
];
