import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { styleText } from "node:util";
import type { Command } from "commander";
import { classify } from "../feishu/classify.ts";
import { challengeDeadlineMs, type PushResult, push, sealEnvelope, spoilSignature } from "../simulator/push.ts";
import { type SampleOptions, sampleEnvelope } from "../simulator/samples.ts";
import { find, nearest } from "./catalogue.ts";
import { oneLine, quoted, subcommand, UsageError, withUsage } from "./command.ts";
import { applySetting, completeEnvelope, parseSetting, readPayload, type Setting, wrapEvent } from "./payload.ts";
import { projectRoot } from "./project.ts";
import { facts, line, type Outcome, type Shot, summary, summaryText } from "./report.ts";
import { findTarget, type Target } from "./target.ts";

const concurrency = 16;

interface Options {
  readonly set?: readonly string[];
  readonly file?: string;
  readonly url?: string;
  readonly state: string;
  readonly times?: string;
  readonly eventId?: string;
  readonly challenge?: boolean;
  readonly badSignature?: boolean;
  readonly json?: boolean;
}

export function sendCommand(): Command {
  const command = subcommand("send")
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
    .option("--url <url>", "request address (default: the local runtime's)")
    .option("--state <folder>", "where the local runtime keeps its keys and address", ".larkpost")
    .option("--times <n>", `push it n times, ${concurrency} at once; without --event-id, each is another event`)
    .option("--event-id <id>", "identity of the event: the same id is the same event, pushed again")
    .option("--challenge", "check the request address as the developer console does; needs no type")
    .option("--bad-signature", "sign wrongly: the receiver has to refuse with 401")
    .option("--json", "print one JSON object a push and one summary, for scripts")
    .addHelpText(
      "after",
      `
Only exactly 200 within 3 seconds counts as delivered; nothing is pushed again.
Keys: ENCRYPT_KEY, VERIFICATION_TOKEN, APP_ID and PORT from the environment or .env, else the ones of the
running local runtime. Exit code: 0 answered as promised, 1 not, 2 wrong usage.

Examples:
  npm run send -- im.message.receive_v1
  npm run send -- im.message.receive_v1 --set event.message.content='{"text":"hi"}'
  npm run send -- approval_instance --event-id twice --times 2
  npm run send -- card.action.trigger --set event.action.value.order=18
  npm run send -- --file payload.json
  npm run send -- --challenge`,
    );
  return command.action((type: string | undefined, options: Options) => withUsage(command, () => run(type, options)));
}

async function run(type: string | undefined, options: Options): Promise<void> {
  const times = count(options.times ?? "1");
  const settings = (options.set ?? []).map(parseSetting);
  checkOptions(type, options);
  const root = projectRoot();
  if (existsSync(join(root, ".env"))) process.loadEnvFile(join(root, ".env"));
  const target = findTarget({ url: options.url, stateFolder: resolve(root, options.state), env: process.env });
  const next = options.challenge === true ? challengeShot : shots(type, settings, options, target);

  const outcomes = await fire(target, next, times, options);
  const unreachable = outcomes.find(({ result }) => isUnreachable(result));
  if (unreachable !== undefined) console.error(unreachableText(target.url, unreachable.result));
  if (options.json === true) print(JSON.stringify({ summary: true, ...summary(outcomes) }));
  else if (times > 1) print(summaryText(outcomes));
  if (outcomes.some(({ isOk }) => !isOk)) process.exitCode = 1;
}

function checkOptions(type: string | undefined, options: Options): void {
  const { challenge, badSignature, file, eventId, times, set } = options;
  if (challenge === true) {
    const others = [type, file, eventId, times, set, badSignature].filter((option) => option !== undefined);
    if (others.length > 0) {
      throw new UsageError("Cannot send a challenge: --challenge goes with no type and no other payload option");
    }
    return;
  }
  if (type === undefined && file === undefined) {
    throw new UsageError(
      'Cannot send: no type was given. "npm run types -- message" finds one; --file sends an envelope of your own',
    );
  }
  if (eventId === "") throw new UsageError("Cannot send: --event-id is empty");
}

/** Returns what makes the pushes: other ids and times for each, unless the event's id is fixed. */
function shots(type: string | undefined, settings: readonly Setting[], options: Options, target: Target): () => Shot {
  const { file, eventId } = options;
  const content = file === undefined ? undefined : readPayload(readText(file), file);
  const known = content?.is === "envelope" ? content.type : type;
  if (content?.is === "event" && type === undefined) {
    throw new UsageError(
      `Cannot send ${file}: it holds an event without an envelope, so its type has to be given as well`,
    );
  }
  if (content?.is === "envelope" && type !== undefined && type !== content.type) {
    throw new UsageError(`Cannot send ${file} as "${type}": its envelope says "${content.type ?? "no type"}"`);
  }
  if (content?.is === "envelope" && content.app !== undefined && content.app !== target.appId) {
    warn(`${file} names the app "${content.app}", but the receiver's is "${target.appId}": it will be refused`);
  }
  if (known !== undefined) checkType(known);

  const make = (): Shot => {
    const schema = known === undefined ? undefined : find(known)?.version;
    const how: SampleOptions = { nowMs: Date.now(), appId: target.appId, newId, eventId, schema };
    const envelope =
      content?.is === "envelope"
        ? completeEnvelope(content.text, how)
        : content?.is === "event"
          ? wrapEvent(content.text, known ?? "", how)
          : sampleEnvelope(known ?? "", how);
    for (const setting of settings) applySetting(envelope, setting);
    return describe(JSON.stringify(envelope));
  };
  const first = make();
  // One event pushed several times is the same to the letter; only its signature is made anew.
  let unused: Shot | undefined = first;
  return () => {
    if (eventId !== undefined) return first;
    const shot = unused ?? make();
    unused = undefined;
    return shot;
  };
}

function describe(text: string): Shot {
  const message = classify(text);
  if (message.kind === "unreadable") {
    warn(`this is no envelope that Larkpost reads (${message.reason}): it will be quarantined`);
    return { text, type: "unreadable", id: "" };
  }
  if (message.kind === "challenge") return { text, type: "url_verification", id: "" };
  return { text, type: message.type, id: message.id };
}

function checkType(type: string): void {
  if (type === "card.action.trigger_v1") {
    throw new UsageError(
      'Cannot send "card.action.trigger_v1": the old card callback has no envelope, and Larkpost does not receive it. Use card.action.trigger',
    );
  }
  if (find(type) !== undefined) return;
  warn(`"${type}" is not in the catalogue; it is sent as schema 2.0. Nearest: ${quoted(nearest(type, 3))}`);
}

function challengeShot(): Shot {
  const challenge = randomUUID();
  const text = JSON.stringify({ challenge, token: "", type: "url_verification" });
  return { text, type: "url_verification", id: challenge };
}

/** Pushes all, at most {@link concurrency} at once. Stops early when nothing listens at all. */
async function fire(target: Target, next: () => Shot, times: number, options: Options): Promise<Outcome[]> {
  const { json = false } = options;
  const outcomes: Outcome[] = [];
  const progress = progressLine(json || times === 1 ? undefined : times);
  let started = 0;
  let isStopped = false;
  const lane = async () => {
    while (started < times && !isStopped) {
      started++;
      const shot = next();
      const outcome = judge(shot, await post(target, shot, options), options);
      outcomes.push(outcome);
      isStopped ||= isUnreachable(outcome.result);
      if (json) print(JSON.stringify(facts(outcome)));
      else if (times === 1 && !isUnreachable(outcome.result)) print(line(outcome));
      progress.show(outcomes.length);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, times) }, lane));
  progress.clear();
  return outcomes;
}

async function post({ keys, url }: Target, { text }: Shot, options: Options): Promise<PushResult> {
  const sealed = sealEnvelope(text, { keys, nowMs: Date.now(), requestId: newId() });
  const wanted = options.badSignature === true ? spoilSignature(sealed) : sealed;
  if (wanted === undefined) {
    throw new UsageError("Cannot sign wrongly: without ENCRYPT_KEY, or for a challenge, nothing is signed");
  }
  return push(url, wanted, options.challenge === true ? { deadlineMs: challengeDeadlineMs } : {});
}

function judge({ type, id }: Shot, result: PushResult, options: Options): Outcome {
  const { status, problem } = result;
  if (options.challenge === true) {
    const isBack = result.delivered && challengeOf(result.body) === id;
    const note = isBack ? "the challenge came back" : (problem ?? "the challenge did not come back");
    return { type, id, result, isOk: isBack, note };
  }
  if (options.badSignature === true) {
    if (status === 401) return { type, id, result, isOk: true, note: "refused with 401, as it should be" };
    const note = status === 200 ? "answered 200 although the signature is wrong" : problem;
    return { type, id, result, isOk: false, note };
  }
  return { type, id, result, isOk: result.delivered, note: problem };
}

function challengeOf(body: string): unknown {
  try {
    return (JSON.parse(body) as { challenge?: unknown } | null)?.challenge;
  } catch {
    return undefined;
  }
}

function isUnreachable({ code }: PushResult): boolean {
  return code !== undefined && ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"].includes(code);
}

function unreachableText(url: string, { problem }: PushResult): string {
  const isLocal = /^(127\.0\.0\.1|localhost|\[::1\])$/.test(new URL(url).hostname);
  const advice = isLocal ? 'Start the runtime with "npm start" in another terminal' : "Check --url";
  return `Cannot reach ${url}: ${problem}. ${advice}`;
}

/** How far a long run is, for a person at a terminal; scripts and logs get none of it. */
function progressLine(total: number | undefined): { show(done: number): void; clear(): void } {
  if (total === undefined || !process.stderr.isTTY) return { show() {}, clear() {} };
  let shownAtMs = 0;
  return {
    show(done) {
      const nowMs = performance.now();
      if (nowMs - shownAtMs < 50) return;
      shownAtMs = nowMs;
      process.stderr.write(`\r${done} of ${total}`);
    },
    clear: () => void process.stderr.write("\r\u001b[K"),
  };
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    const found = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : "it cannot be opened";
    throw new UsageError(`Cannot read ${file}: ${found}`, { cause });
  }
}

function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) {
    throw new UsageError(`Cannot send "${text}" times: --times takes a whole number from 1 to 9999999`);
  }
  return Number(text);
}

function newId(): string {
  return randomUUID().replaceAll("-", "");
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

const warned = new Set<string>();

/** Once for each text, however many pushes it is true of. */
function warn(text: string): void {
  if (warned.has(text)) return;
  warned.add(text);
  console.error(styleText("yellow", `Warning: ${oneLine(text)}`, { stream: process.stderr }));
}
