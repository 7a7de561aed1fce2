import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import type { Command } from "commander";
import { systemClock } from "../../clock.ts";
import { appKeys, defaultApp } from "../../feishu/keys.ts";
import { lockState } from "../../local/state.ts";
import { isHttpUrl } from "../../settings/environment.ts";
import { loadOwn } from "../../simulator/open-api/own-answers.ts";
import type { Deliver } from "../../simulator/platform/platform.ts";
import { toWebhook } from "../../simulator/platform/webhook.ts";
import { botLine, entryFacts } from "../chat/lines.ts";
import { CommandError, oneLine, subcommand, UsageError } from "../command.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { judge } from "../send/pushes.ts";
import { facts, line } from "../send/report.ts";
import { keptApp, writeLocal } from "../state/local-keys.ts";
import { portOf, stopReason } from "./running.ts";
import { startSimulated } from "./simulated.ts";

export function simulateCommand(): Command {
  return subcommand("simulate")
    .description("run the simulated Feishu alone, for a client in any language: Open API, long connection, pushes")
    .option("--port <port>", "port of its domain (default: a free one)")
    .option("--push-to <url>", "push events and callbacks to this request address, instead of over the long connection")
    .option("--state <folder>", "where the app's keys are kept", ".larkpost")
    .option("--json", "print JSON lines: the settings, then what happens")
    .addHelpText(
      "after",
      `
Prints LARK_DOMAIN, APP_ID and APP_SECRET, one a line, and with --push-to also ENCRYPT_KEY and VERIFICATION_TOKEN:
the settings of a client, of any SDK. What happens then goes to stderr. "npm run chat" talks to the bot, and "npm run
send" pushes, as with "npm start". With --push-to, both kinds go to the one address.

An app is made, and kept in the state folder. What the environment or .env has of APP_ID, APP_SECRET, ENCRYPT_KEY and
VERIFICATION_TOKEN is used instead, and no secret of it is printed. ALLOW_UNENCRYPTED=true pushes without encryption.
Only programs of this machine reach it. Runs until SIGTERM or Ctrl-C, and exits with 0.

Examples:
  npm run --silent simulate -- --port 9000
  npm run simulate -- --push-to http://127.0.0.1:8080/webhook/event`,
    )
    .action(run);
}

interface Options {
  readonly port?: string;
  readonly pushTo?: string;
  readonly state: string;
  readonly json?: boolean;
}

async function run({ port: portText = "0", pushTo, state, json = false }: Options): Promise<void> {
  const port = portOf(portText, undefined);
  if (pushTo !== undefined && !isHttpUrl(pushTo)) {
    throw new UsageError(`Cannot push to "${oneLine(pushTo, 100)}": it is not an http(s) URL. Check --push-to`);
  }
  const root = projectRoot();
  loadEnv(root);
  const stateFolder = resolve(root, state);
  const unlock = lockState(stateFolder);
  const kept = keptApp(stateFolder);
  const { app, made } = appOf(kept, pushTo !== undefined);
  const print = (text: string | undefined, jsonText: string | undefined) => {
    const printed = json ? jsonText : text;
    if (printed !== undefined) process[json ? "stdout" : "stderr"].write(`${printed}\n`);
  };
  const simulated = await startSimulated({
    app,
    port,
    onEntry: (entry) => print(botLine(entry), entryFacts(entry)),
    onConnections: (count) =>
      print(`${count} client${count === 1 ? " is" : "s are"} connected`, JSON.stringify({ connections: count })),
    onProblem: console.error,
  }).catch((error: NodeJS.ErrnoException) => {
    const problem = error.code === "EADDRINUSE" ? "is in use" : `cannot be listened on (${error.code})`;
    throw new CommandError(`Cannot start: the port ${port} ${problem}. Choose another with --port`, { cause: error });
  });

  await loadOwn(root, simulated);

  const { appId, encryptKey, verificationToken } = app;
  const encryptKeys = encryptKey === undefined ? [] : [{ value: encryptKey }];
  const keys = appKeys({ appId, encryptKeys, verificationTokens: [{ value: verificationToken }] });
  const ring = new Map([[defaultApp, keys]]);
  const push =
    pushTo === undefined
      ? simulated.byWebSocket
      : toWebhook({ url: pushTo, keys: ring, clock: systemClock, randomBytes });
  const deliver: Deliver = async (message, options) => {
    const result = await push(message, options);
    const outcome = { ...judge(message, result, false), url: pushTo ?? "the long connection" };
    print(line(outcome), JSON.stringify(facts(outcome)));
    if (message.kind === "event" && result.delivered) simulated.onStage("acknowledged", message.id, message.type);
    return result;
  };
  const control = await simulated.listen(deliver, pushTo === undefined ? deliver : undefined);
  const isPlain = encryptKey === undefined;
  writeLocal(stateFolder, { ...kept, ...(isPlain ? { encryptKey: null } : undefined), kept, pushTo, control });

  // Whoever reads the settings may end it at once.
  const stopped = stopReason([]);
  const settings = { LARK_DOMAIN: simulated.url, ...made };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
  process.stdout.write(json ? `${JSON.stringify({ ready: true, ...settings })}\n` : lines.join(""));
  await stopped;
  await simulated.stopUser();
  await simulated.stop();
  unlock();
  process.exit(0);
}

/** The app, by the environment first, and of its settings those that a client needs and may not have. */
function appOf(kept: ReturnType<typeof keptApp>, isPushed: boolean) {
  const { APP_ID, APP_SECRET, ENCRYPT_KEY, VERIFICATION_TOKEN, ALLOW_UNENCRYPTED } = process.env;
  const isPlain = !ENCRYPT_KEY && ALLOW_UNENCRYPTED === "true";
  const app = {
    appId: APP_ID || kept.appId,
    appSecret: APP_SECRET || kept.appSecret,
    encryptKey: isPlain ? undefined : ENCRYPT_KEY || kept.encryptKey,
    verificationToken: VERIFICATION_TOKEN || kept.verificationToken,
  };
  const made = {
    APP_ID: app.appId,
    ...(APP_SECRET ? undefined : { APP_SECRET: app.appSecret }),
    ...(!isPushed || ENCRYPT_KEY || isPlain ? undefined : { ENCRYPT_KEY: app.encryptKey }),
    ...(!isPushed || VERIFICATION_TOKEN ? undefined : { VERIFICATION_TOKEN: app.verificationToken }),
  };
  return { app, made };
}
