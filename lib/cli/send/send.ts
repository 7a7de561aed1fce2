import { resolve } from "node:path";
import type { Command } from "commander";
import { type Clock, systemClock } from "../../clock.ts";
import { find } from "../../simulator/catalogue.ts";
import type { Message } from "../../simulator/platform/platform.ts";
import { randomId, type SampleOptions } from "../../simulator/samples/samples.ts";
import { oneLine, subcommand, UsageError } from "../command.ts";
import { progressLine } from "../paint.ts";
import { loadEnv, projectRoot } from "../project.ts";
import { openRecent } from "../state/recent.ts";
import { findTarget, type Target } from "../state/target.ts";
import { deliverByWebSocket } from "./deliver-by-websocket.ts";
import { checkContent, checkType, messageOf } from "./message.ts";
import { parseSetting, readFileText, readPayload, type Setting } from "./payload.ts";
import { concurrency, isUnreachable, pushAll, pushChallenge } from "./pushes.ts";
import { facts, line, type Outcome, summary, summaryText, unreachableText, warn } from "./report.ts";

interface Options {
  readonly set?: readonly string[];
  readonly file?: string;
  readonly keep?: boolean;
  readonly url?: string;
  readonly state: string;
  readonly times?: string;
  readonly eventId?: string;
  readonly challenge?: boolean;
  readonly badSignature?: boolean;
  readonly repush?: boolean;
  readonly speed?: string;
  readonly via?: string;
  readonly json?: boolean;
}

export function sendCommand(): Command {
  return subcommand("send")
    .description(
      "push an event, signed and encrypted as the platform does it, and judge the answer as the platform does",
    )
    .argument("[type]", 'event or callback type, like im.message.receive_v1; "npm run types" lists them')
    .option(
      "--set <path=value>",
      "change a member of the payload (repeatable); the value is JSON where it parses, but a text stays a text",
      (text: string, before: readonly string[] = []) => [...before, text],
    )
    .option("--file <payload.json>", "push this envelope, or this event object in an envelope of the type")
    .option("--keep", "with --file: leave its app id, tenant, time and id, instead of the receiver's and fresh ones")
    .option("--url <url>", "request address (default: the local runtime's, /callback for callback types)")
    .option("--state <folder>", "where the local runtime keeps its keys and address", ".larkpost")
    .option("--times <n>", `push it n times, ${concurrency} at once; without --event-id, each is another event`)
    .option("--event-id <id>", "identity of the event; with --times, the same event again, 1 s after the first push")
    .option("--challenge", "check the request address as the developer console does; needs no type")
    .option("--bad-signature", "sign wrongly: the receiver has to refuse with 401")
    .option("--repush", "push an event that fails again, as the platform does: after 15 s, 5 min, 1 h and 6 h")
    .option("--speed <n>", "with --repush or --times: wait n times shorter")
    .option(
      "--via <way>",
      "webhook, or long-connection: the one of npm start -- --long-connection, or of npm run simulate, where it is the default without --push-to",
    )
    .option("--json", "print one JSON object a push and one summary, for scripts")
    .addHelpText(
      "after",
      `
Only exactly 200 within 3 seconds counts as delivered. Without --repush, nothing is pushed again, except, of several
(--times), what is answered 503: once, after 15 s. What will be quarantined does not count as delivered. A callback
never is: its answer is shown as the client would show it, with the client's error code when it is not taken, and with
what the log of npm start says if its handler failed.
Keys: ENCRYPT_KEY, VERIFICATION_TOKEN, APP_ID and PORT from the environment or .env, else the ones of the
running local runtime. Exit code: 0 answered as promised, 1 not, 2 called wrongly.

Examples:
  npm run send -- im.message.receive_v1
  npm run send -- im.message.receive_v1 --set event.message.content='{"text":"hi"}'
  npm run send -- approval_instance --event-id twice --times 2
  npm run send -- card.action.trigger --set event.action.value.order=18
  npm run send -- --file payload.json
  npm run send -- im.message.receive_v1 --repush --speed 1000
  npm run send -- --challenge`,
    )
    .action(run);
}

async function run(type: string | undefined, options: Options): Promise<void> {
  const times = count(options.times ?? "1");
  const settings = (options.set ?? []).map(parseSetting);
  checkOptions(type, options);
  const clock = fasterClock(speed(options));
  const root = projectRoot();
  loadEnv(root);
  const stateFolder = resolve(root, options.state);
  const target = findTarget({ url: options.url, stateFolder, env: process.env });
  const recent = openRecent(stateFolder);
  const startMs = Date.now();

  const { json = false, repush = false, badSignature = false } = options;
  const progress = progressLine();
  const show = (outcome: Outcome, done: number): void => {
    if (!json && times > 1) progress.show(`${done} of ${times}`);
    if (json) print(JSON.stringify(facts(outcome)));
    else if (times === 1 && (repush || !isUnreachable(outcome.result)))
      print(line(outcome, outcome.view === undefined ? [] : recent.troubleOf(outcome.id, startMs)));
  };
  const { via = target.hasNoAddress && badSignature === false ? "long-connection" : "webhook" } = options;
  const deliver = via === "long-connection" ? deliverByWebSocket(target) : undefined;
  const { outcomes, endings } =
    options.challenge === true
      ? { outcomes: [await pushChallenge(target, show)], endings: [] }
      : await pushAll(target, pushes(type, settings, options, target), {
          times,
          clock,
          repush,
          badSignature,
          deliver,
          isOneEvent: options.eventId !== undefined,
          onRetry: () => warn("some were answered 503: they are pushed again after 15 s, as the platform does"),
          show,
        });
  progress.clear();

  // The last push of each message counts.
  const isOk =
    options.challenge === true ? outcomes.every((ending) => ending.isOk) : endings.every((ending) => ending.isOk);
  const missed = isOk ? undefined : outcomes.find(({ result }) => isUnreachable(result));
  if (missed !== undefined) console.error(unreachableText(missed, target));
  const givenUp = endings.filter(({ isGivenUp }) => isGivenUp).map(({ id }) => id);
  const retried = repush ? { messages: endings.length, givenUp } : undefined;
  if (json) print(JSON.stringify({ summary: true, ...summary(outcomes), ...retried }));
  else if (times > 1) print(summaryText(outcomes, repush ? givenUp : []));
  if (!isOk) process.exitCode = 1;
}

function checkOptions(type: string | undefined, options: Options): void {
  const { challenge, badSignature, repush, file, eventId, times, set } = options;
  if (options.speed !== undefined && repush !== true && times === undefined) {
    throw new UsageError("Cannot wait shorter: --speed goes with --repush or --times");
  }
  if (options.keep === true && file === undefined) {
    throw new UsageError("Cannot keep anything: --keep goes with --file");
  }
  if (options.via !== undefined && options.via !== "webhook" && options.via !== "long-connection") {
    throw new UsageError(`Cannot send via "${oneLine(options.via, 40)}": there are webhook and long-connection`);
  }
  if (options.via === "long-connection" && (challenge === true || badSignature === true || options.url !== undefined)) {
    throw new UsageError("Cannot send: over the long connection there is no address, no challenge and no signature");
  }
  if (challenge === true) {
    const others = [type, file, eventId, times, set, badSignature, repush].filter((option) => option !== undefined);
    if (others.length > 0) {
      throw new UsageError("Cannot send a challenge: --challenge goes with no type and no other payload option");
    }
    return;
  }
  if (badSignature === true && repush === true) {
    throw new UsageError("Cannot push a forged event again: --bad-signature goes without --repush");
  }
  if (type === undefined && file === undefined) {
    throw new UsageError(
      'Cannot send: no type was given. "npm run types -- message" finds one; --file sends an envelope of your own',
    );
  }
}

/** Returns a function that makes the next message. Each has other ids and times, unless `--event-id` fixes the id. */
function pushes(
  type: string | undefined,
  settings: readonly Setting[],
  options: Options,
  target: Target,
): () => Message {
  const { file, eventId, keep = false } = options;
  const content = file === undefined ? undefined : readPayload(readFileText(file), file);
  checkContent(content, { type, file, keep, target });
  const sentType = content === undefined || content.is === "event" ? type : content.type;
  if (sentType !== undefined) checkType(sentType);

  const make = (): Message => {
    const schema = sentType === undefined ? undefined : find(sentType)?.version;
    const options: SampleOptions = { nowMs: Date.now(), appId: target.appId, newId: randomId, eventId, schema };
    return messageOf(content, sentType, { ...options, keep }, settings);
  };
  const first = make();
  // With a fixed id, each push repeats the same text. Only the signature is new.
  let unused: Message | undefined = first;
  return () => {
    if (eventId !== undefined) return first;
    const message = unused ?? make();
    unused = undefined;
    return message;
  };
}

function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) {
    throw new UsageError(`Cannot send "${text}" times: --times takes a whole number from 1 to 9999999`);
  }
  return Number(text);
}

function speed({ speed: text = "1" }: Options): number {
  const factor = /^\d{1,7}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (factor > 0) return factor;
  throw new UsageError(`Cannot wait "${text}" times shorter: --speed takes a number above 0, like 1000`);
}

/** Its delays are `factor` times shorter. Its time is the real one, because signatures contain it. */
function fasterClock(factor: number): Clock {
  return { nowMs: systemClock.nowMs, after: (ms, fire) => systemClock.after(ms / factor, fire) };
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
