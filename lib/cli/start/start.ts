import { randomBytes } from "node:crypto";
import { join, relative, resolve } from "node:path";
import type { Command } from "commander";
import { configFile, type Project } from "../../../infra/project.js";
import { callbackConfig } from "../../aws/config.ts";
import { systemClock } from "../../clock.ts";
import { ConfigError } from "../../errors.ts";
import { lastGoodVariable } from "../../local/last-good.ts";
import { startRuntime } from "../../local/runtime.ts";
import { lockState } from "../../local/state.ts";
import { tableName } from "../../local/tables.ts";
import { doublySubscribed } from "../../simulator/catalogue.ts";
import { loadOwn } from "../../simulator/open-api/own-answers.ts";
import type { Deliver, Message } from "../../simulator/platform/platform.ts";
import { toWebhook } from "../../simulator/platform/webhook.ts";
import { type Finding, faultsAmong, findingLine, refusal } from "../check/finding.ts";
import { checkConfig, checkSettings } from "../check/settings.ts";
import { CommandError, subcommand } from "../command.ts";
import { storedDeadLetters } from "../desk/letters.ts";
import { generate, handlerNames } from "../handlers/generate.ts";
import { defaultState, existingRoot, loadEnv } from "../project.ts";
import { envOf, hasRealApp, keptApp, writeLocal } from "../state/local-keys.ts";
import { keepRecent } from "../state/recent.ts";
import { startChecking } from "./checking.ts";
import { prepareLongConnection, randomKeys } from "./long-connection-process.ts";
import { createOutput } from "./output.ts";
import { type Payload, payloadsOf } from "./payloads.ts";
import { portOf, stopReason } from "./running.ts";
import { setVariables } from "./variables.ts";
import { type Change, ownAnswers, watch } from "./watch.ts";

export function startCommand(): Command {
  return subcommand("start")
    .description(
      "run everything on this machine: webhook, callback, queue, worker and your handlers, without an account",
    )
    .option("--port <port>", "port of both addresses (or PORT; 0 takes a free one)")
    .option("--state <folder>", "where queues, ledger and local keys are kept", defaultState)
    .option(
      "--long-connection",
      "receive over the long connection as well: a real app's, with APP_ID and APP_SECRET, or a simulated one's",
    )
    .option("--force", "with --long-connection: even if the app is a deployed stage's")
    .option("--json", "print JSON lines, one a stage, instead of text for a person")
    .option(
      "--payloads",
      "print what came as well, without its secrets (but no callback of a real app over the long connection)",
    )
    .option("--quiet", "count what went well, in one line a second, and print only what did not")
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
  readonly payloads?: boolean;
  readonly quiet?: boolean;
}

async function run(options: StartOptions): Promise<void> {
  const prepared = await prepare(options);
  const output = createOutput({
    root: prepared.root,
    isJson: options.json === true,
    isQuiet: options.quiet === true,
    state: options.state,
  });
  // The last started part is stopped first.
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const stopPart of stops.splice(0)) await stopPart();
  };
  const hasPayloads = options.payloads === true;
  const { stopped } = await startParts({ ...prepared, output, stops, hasPayloads }).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  const problem = await stopped;
  if (problem !== undefined) console.error(problem.message);
  output.stopping();
  await stop();
  output.stop();
  process.exit(problem === undefined ? 0 : 1);
}

/** Reads what is set, and refuses what is wrong before anything starts. */
async function prepare(options: StartOptions) {
  const root = existingRoot();
  loadEnv(root);
  const { project, findings } = await checkConfig(root);
  if (project === undefined) throw new CommandError(refusal("start", findings));
  const { limits, resources } = project;
  setVariables(project, (table) => tableName(resources, table));
  const stateFolder = resolve(root, options.state);
  const kept = keptApp(stateFolder);
  const app = hasRealApp(process.env) ? undefined : kept;
  const isConnecting = options.longConnection === true;
  const extraEnv = isConnecting ? randomKeys(process.env) : {};
  const appEnv = app === undefined ? extraEnv : envOf(app);
  const env = { ...process.env, ...appEnv };
  const settings = checkSettings(root, env, project);
  const { keys, port } = readSettings(env, { port: options.port, ...limits }, settings);
  await generate({ root });
  const connecting = { root, env, isSimulated: app !== undefined, force: options.force === true };
  const longConnection = isConnecting ? await prepareLongConnection(connecting) : undefined;
  return { root, port, project, stateFolder, kept, app, appEnv, settings, keys, longConnection };
}

type Prepared = Awaited<ReturnType<typeof prepare>>;

interface Starting extends Prepared {
  readonly output: ReturnType<typeof createOutput>;
  /** What stops each part that has started is put in front. */
  readonly stops: (() => Promise<void>)[];
  readonly hasPayloads: boolean;
}

/**
 * Starts each part, and what follows the project's files.
 * @returns `stopped` resolves when all is to be stopped, with the problem if there is one.
 */
async function startParts(starting: Starting) {
  const { root, port, project, stateFolder, kept, app, appEnv, settings, keys, longConnection } = starting;
  const { output, stops, hasPayloads } = starting;
  const failures = longConnection === undefined ? [] : [longConnection.failed];
  const unlock = lockState(stateFolder);
  stops.unshift(async () => unlock());
  const recent = keepRecent(stateFolder, output.notice);
  stops.unshift(async () => recent.close());
  const simulating = { onEntry: output.entry, onProblem: console.error };
  // Loaded here, because a real app needs none.
  const simulated = app && (await (await import("./simulated.ts")).startSimulated({ app, ...simulating }));
  if (simulated !== undefined) stops.unshift(simulated.stop);
  /** What cannot be loaded leaves the answers as they are. */
  const loadAnswers =
    simulated && (() => loadOwn(root, simulated).catch((error: Error) => output.notice(error.message)));
  await loadAnswers?.();
  const onLine = (name: string, line: Record<string, unknown>, detail: string | undefined) => {
    recent.line(name, line);
    simulated?.onStage(line["stage"], line["id"], line["type"], detail?.split("\n", 1)[0]);
    // Each function has the same settings, and finds the same in them.
    if (line["stage"] === "misconfigured" && line["level"] === "warn") output.noticeOnce(String(line["message"]));
    else output.line(name, line, detail, checking.sourceOf);
  };
  const names = () => ({ handlers: handlerNames("events", root), callbacks: handlerNames("callbacks", root) });
  const lastGoodFile = join(stateFolder, "last-good.json");
  const checking = startChecking({ root, lastGoodFile, output, names });
  const env = {
    ...appEnv,
    // This replaces the environment's value: a local app must not use the real platform.
    LARK_DOMAIN: simulated?.url ?? process.env["LARK_DOMAIN"],
    [lastGoodVariable]: lastGoodFile,
  };
  const onNotice = output.notice;
  const onPayload = (payload: Payload) => {
    const { kind } = payload;
    if (kind !== "job") recent.push({ ...payload, kind });
    if (hasPayloads) output.payload(payload);
  };
  const onInvoke = (name: string, event: unknown) => payloadsOf(name, event, keys, Date.now()).forEach(onPayload);
  const runtime = await startRuntime({ root, stateFolder, port, project, env, onNotice, onLine, onInvoke });
  stops.unshift(runtime.stop);
  failures.push(runtime.failed);
  if (longConnection !== undefined) {
    onNotice(`the long connection goes to ${longConnection.target}`);
    const onOwnLine = onLine.bind(undefined, "long-connection");
    const { env, endWithParent: onLaunch } = runtime;
    await longConnection.start({ env, onNotice, onLine: onOwnLine, onLaunch });
    stops.unshift(longConnection.stop);
  }

  const { url, callbackUrl } = runtime;
  const urlOf = ({ kind }: Message) => (kind === "callback" ? callbackUrl : url);
  const byHttp = toWebhook({ url: urlOf, keys, clock: systemClock, randomBytes });
  const shown =
    (deliver: Deliver): Deliver =>
    (message, push) => {
      if (message.kind === "callback") onPayload(message);
      return deliver(message, push);
    };
  const control = await simulated?.listen(byHttp, longConnection && shown(simulated.byWebSocket));
  if (simulated !== undefined) stops.unshift(simulated.stopUser);
  const services = { ...runtime.endpoints, accessKeyId: runtime.accessKeyId };
  writeLocal(stateFolder, { url, ...app, kept, control, services });

  const facts = {
    url,
    callbackUrl,
    services: runtime.endpoints,
    openApi: simulated?.url,
    stateFolder,
    shownState: relative(process.cwd(), stateFolder) || ".",
    hasLongConnection: longConnection !== undefined,
    deadLetters: storedDeadLetters(stateFolder),
    lanes: Object.keys(project.lanes),
    ...names(),
  };
  // Whoever reads that it is ready may end it at once.
  const stopped = stopReason(failures);
  output.started(facts);
  const advised = advice(project, facts.handlers, app !== undefined);
  for (const message of [...settings.map(findingLine), ...advised]) onNotice(message);

  const reload = () => Promise.all([runtime.reload(), longConnection?.reload()]);
  stops.unshift(followFiles({ root, output, checking, loadAnswers, reload }), checking.close);
  return { stopped };
}

/** Takes over what changes in the project's files. @returns What ends that. */
function followFiles(options: {
  readonly root: string;
  readonly output: ReturnType<typeof createOutput>;
  readonly checking: ReturnType<typeof startChecking>;
  /** Missing where handlers call the real platform. */
  readonly loadAnswers: (() => Promise<unknown>) | undefined;
  /** Loads the handlers anew. */
  readonly reload: () => Promise<unknown>;
}) {
  const { root, output, checking, loadAnswers, reload } = options;
  const watcher = watch(root, async (changes) => {
    const isLater = ({ path }: Change) => path.startsWith("infra/") || path === configFile;
    for (const { path } of changes.filter(isLater)) output.notice(`${path} changed: stop and start again to apply it`);
    const answers = changes.filter(({ path }) => path.startsWith(`${ownAnswers}/`));
    if (answers.length > 0 && loadAnswers !== undefined) {
      await loadAnswers();
      output.changed(answers);
    }
    const live = changes.filter((change) => !isLater(change) && !answers.includes(change));
    if (live.length === 0) return;
    await generate({ root });
    watcher.add(await checking.check(live, reload));
  });
  void checking.check([]).then(watcher.add);
  return watcher.close;
}

/**
 * Reads the port, and the callback function's settings, which include all of the webhook's.
 * @param settings All that is wrong with the settings. Without a fault, the first that stops the function is printed.
 */
function readSettings(
  env: NodeJS.ProcessEnv,
  { port, callbackDeadlineMs }: { port: string | undefined; callbackDeadlineMs: number },
  settings: readonly Finding[],
) {
  try {
    const { keys } = callbackConfig({
      ...env,
      EVENTS_QUEUE_URL: "http://127.0.0.1/events",
      QUARANTINE_QUEUE_URL: "http://127.0.0.1/quarantine",
      LEDGER_TABLE: "ledger",
      CALLBACK_DEADLINE_MS: String(callbackDeadlineMs),
    });
    return { keys, port: portOf(port, env["PORT"]) };
  } catch (error) {
    const faults = faultsAmong(settings);
    if (error instanceof ConfigError && faults.length > 0) throw new CommandError(refusal("start", faults));
    throw error;
  }
}

/** What the developer should know about the settings. */
function advice({ secrets }: Project, handlers: readonly string[], isLocal: boolean): string[] {
  const unset = secrets.filter((name) => !process.env[name]);
  const unused = ["LARK_DOMAIN", "APP_SECRET"].filter((name) => isLocal && process.env[name]);
  const noApp = "without APP_ID and its keys there is no real app, and handlers call the simulated one";
  return [
    ...unset.map(
      (name) => `${name} is not set: handlers that read this secret fail. Put it into .env, and start again`,
    ),
    ...unused.map((name) => `${name} is not used: ${noApp}`),
    ...doublySubscribed(handlers).map(
      ([older, newer]) =>
        `"${older}" and "${newer}" report the same fact with different ids: subscribe to one of them only`,
    ),
  ];
}
