import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { relative, resolve } from "node:path";
import { styleText } from "node:util";
import chokidar from "chokidar";
import type { Command } from "commander";
import { configFile, readProject } from "../../../infra/project.js";
import { callbackConfig } from "../../aws/config.ts";
import { systemClock } from "../../clock.ts";
import { ConfigError } from "../../errors.ts";
import { startRuntime } from "../../local/runtime.ts";
import { tableName } from "../../local/tables.ts";
import { doublySubscribed } from "../../simulator/catalogue.ts";
import { toLongConnection } from "../../simulator/long-connection/server.ts";
import type { Message } from "../../simulator/platform/platform.ts";
import { toWebhook } from "../../simulator/platform/webhook.ts";
import { levelOf } from "../../trace/log.ts";
import { botLine, entryFacts } from "../chat/lines.ts";
import { subcommand, UsageError } from "../command.ts";
import { generate, handlerNames } from "../handlers/generate.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { envOf, localApp, writeLocal } from "../state/local-keys.ts";
import { prepareLongConnection, randomKeys } from "./long-connection-process.ts";
import { humanLine, welcome } from "./render.ts";
import { startSimulated } from "./simulated.ts";
import { setVariables } from "./variables.ts";

const rank = { debug: 0, info: 1, warn: 2, error: 3 };

export function startCommand(): Command {
  return subcommand("start")
    .description(
      "run everything on this machine: webhook, callback, queue, worker and your handlers, without an account",
    )
    .option("--port <port>", "port of both addresses (or PORT; 0 takes a free one)")
    .option("--state <folder>", "where queues, ledger and local keys are kept", ".larkpost")
    .option(
      "--long-connection",
      "receive over the long connection as well: a real app's, with APP_ID and APP_SECRET, or a simulated one's",
    )
    .option("--force", "with --long-connection: even if the app is a deployed stage's")
    .option("--json", "print JSON lines, one a stage, instead of text for a person")
    .addHelpText(
      "after",
      `
Settings come from the environment, or from a file .env: ENCRYPT_KEY, VERIFICATION_TOKEN and APP_ID of a
real app (without them, local ones are made, and what handlers call is a simulated Feishu), ALLOW_UNENCRYPTED,
LEGACY_CARD_CALLBACK, LOG_LEVEL, PORT, and the secrets that larkpost.config.js names. Its limits, environment and
DynamoDB tables are used here as well; a value of the environment comes before one of the file.
With --long-connection, APP_ID and APP_SECRET are enough, and LARK_DOMAIN (feishu, lark) says where the app is.

Examples:
  PORT=8080 npm start
  APP_ID=cli_… APP_SECRET=… npm start -- --long-connection`,
    )
    .action(run);
}

interface StartOptions {
  readonly port?: string;
  readonly state: string;
  readonly longConnection?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

async function run(options: StartOptions): Promise<void> {
  const root = projectRoot();
  loadEnv(root);
  const port = portOf(options.port, process.env["PORT"]);
  const project = await readProject(root);
  const { limits, resources } = project;
  setVariables(project, (table) => tableName(resources, table));
  const stateFolder = resolve(root, options.state);
  // Queued payloads are in it.
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
  const app = localApp(stateFolder, process.env);
  const extraEnv = options.longConnection === true ? randomKeys(process.env) : {};
  const appEnv = app === undefined ? extraEnv : envOf(app);
  // The callback function's settings include all of the webhook's.
  const { warnings, keys } = callbackConfig({
    ...process.env,
    ...appEnv,
    EVENTS_QUEUE_URL: "http://127.0.0.1/events",
    QUARANTINE_QUEUE_URL: "http://127.0.0.1/quarantine",
    LEDGER_TABLE: "ledger",
    CALLBACK_DEADLINE_MS: String(limits.callbackDeadlineMs),
  });

  await generate({ root });
  const isJson = options.json === true;
  const level = rank[levelOf(process.env["LOG_LEVEL"])];
  const print = (text: string) => process.stdout.write(`${text}\n`);
  const notice = (message: string) =>
    isJson
      ? print(JSON.stringify({ notice: message }))
      : print(styleText("yellow", `! ${message}`, { stream: process.stdout }));

  const longConnection =
    options.longConnection === true
      ? await prepareLongConnection({
          root,
          env: { ...process.env, ...appEnv },
          local: app,
          force: options.force === true,
        })
      : undefined;
  const simulated =
    app === undefined
      ? undefined
      : await startSimulated({
          app,
          onEntry(entry) {
            const line = isJson ? entryFacts(entry) : botLine(entry, new Date());
            if (line !== undefined) print(line);
          },
          onProblem: (error) => console.error(error),
        });

  const onLine = (name: string, line: Record<string, unknown>, detail: string | undefined) => {
    simulated?.onStage(line["stage"], line["id"], line["type"]);
    if (rank[line["level"] as keyof typeof rank] < level) return;
    print(isJson ? JSON.stringify(line) : humanLine(line, detail, { now: new Date(), isCallback: name !== "worker" }));
  };

  const runtime = await startRuntime({
    root,
    stateFolder,
    port,
    limits,
    resources,
    // These replace the environment's values: a local app must not use a real app's secret or the real platform.
    env: { ...appEnv, LARK_DOMAIN: simulated?.url ?? process.env["LARK_DOMAIN"] },
    onNotice: notice,
    onLine,
  }).catch(async (error: unknown) => {
    await simulated?.stop();
    throw error;
  });
  const { url, callbackUrl } = runtime;
  const urlOf = ({ kind }: Message) => (kind === "callback" ? callbackUrl : url);
  if (longConnection !== undefined) {
    notice(`the long connection goes to ${longConnection.target}`);
    const output = { onNotice: notice, onLine: onLine.bind(undefined, "long-connection") };
    const starting = longConnection.start({ env: runtime.env, openApi: simulated?.url, ...output });
    await starting.catch(async (error: unknown) => {
      await runtime.stop();
      await simulated?.stop();
      throw error;
    });
  }

  const deliver = longConnection?.deliver;
  const byWebSocket =
    deliver === undefined || app === undefined ? undefined : toLongConnection({ deliver }, { appId: app.appId });
  const toAddresses = toWebhook({ url: urlOf, keys, clock: systemClock, randomBytes });
  const control = await simulated?.listen(toAddresses, byWebSocket);
  const services = { ...runtime.endpoints, accessKeyId: runtime.accessKeyId };
  writeLocal(stateFolder, { url, ...app, control, services });

  const handlers = handlerNames("events", root);
  const callbacks = handlerNames("callbacks", root);
  const shownState = relative(process.cwd(), stateFolder) || ".";
  if (isJson) {
    const openApi = simulated?.url ?? null;
    const facts = { url, callbackUrl, openApi, services: runtime.endpoints, state: stateFolder, handlers, callbacks };
    print(JSON.stringify({ ready: true, ...facts }));
  } else print(welcome({ url, callbackUrl, openApi: simulated?.url, state: shownState, handlers, callbacks }));
  for (const warning of warnings) notice(warning);
  for (const name of project.secrets.filter((secret) => process.env[secret] === undefined)) {
    notice(`${name} is not set: handlers that read this secret fail. Put it into .env`);
  }
  for (const name of ["LARK_DOMAIN", "APP_SECRET"]) {
    if (simulated !== undefined && process.env[name]) {
      notice(
        `${name} is not used: without APP_ID and its keys there is no real app, and handlers call the simulated one`,
      );
    }
  }
  for (const [one, other] of doublySubscribed(handlers)) {
    notice(`"${one}" and "${other}" report the same fact with different ids: subscribe to one of them only`);
  }

  const watcher = watch(root, async (path) => {
    if (path.startsWith("infra/") || path === configFile) {
      notice(`${path} changed: stop and start again to apply it`);
      return;
    }
    await generate({ root });
    await Promise.all([runtime.reload(), longConnection?.reload()]);
    const found = { handlers: handlerNames("events", root), callbacks: handlerNames("callbacks", root) };
    const live = found.handlers.length + found.callbacks.length;
    if (isJson) print(JSON.stringify({ reloaded: path, ...found }));
    else print(styleText("dim", `~ ${path} changed; ${live} handlers are live`, { stream: process.stdout }));
  });

  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      ask();
      process.once(signal, () => process.exit(130));
    });
  }
  const problem = await Promise.race([asked, ...(longConnection === undefined ? [] : [longConnection.failed])]).then(
    () => undefined,
    (error: Error) => error,
  );
  if (problem !== undefined) console.error(problem.message);
  if (!isJson) print("Stopping: what is running may finish; what is queued stays for the next start.");
  await watcher.close();
  await simulated?.stopUser();
  await longConnection?.stop();
  await runtime.stop();
  await simulated?.stop();
  process.exit(problem === undefined ? 0 : 1);
}

/** Calls `changed` once for changes within 30 ms, with the path of the first. A call waits until the one before has ended. */
function watch(root: string, changed: (path: string) => Promise<void>): { close: () => Promise<void> } {
  const watcher = chokidar.watch(["functions", "lib", "infra", configFile], {
    cwd: root,
    ignoreInitial: true,
    // The code that only this process runs. A change of it needs a new start.
    ignored: (path, stats) =>
      /[\\/]lib[\\/](cli|local|simulator)([\\/]|$)/.test(`/${path}`) ||
      (stats?.isFile() === true && !/(?<!\.gen)\.(ts|js|json)$/.test(path)),
  });
  let timer: NodeJS.Timeout | undefined;
  let first: string | undefined;
  let working: Promise<void> = Promise.resolve();
  watcher.on("all", (_event, path) => {
    if (/\.gen\.ts$/.test(path)) return;
    first ??= path;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const path = first ?? "";
      first = undefined;
      working = working.then(() => changed(path)).catch((error: unknown) => console.error(error));
    }, 30);
  });
  return {
    async close() {
      clearTimeout(timer);
      await watcher.close();
      await working;
    },
  };
}

function portOf(option: string | undefined, variable: string | undefined): number {
  const text = option ?? (variable || "3000");
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  const message = `Cannot start: the port "${text}" is not a number from 0 to 65535. Check`;
  throw option === undefined ? new ConfigError(`${message} PORT`) : new UsageError(`${message} --port`);
}
