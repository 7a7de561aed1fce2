import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { CloudWatchLogs } from "@aws-sdk/client-cloudwatch-logs";
import { readGroups } from "../../../lib/cli/desk/cloudwatch-logs.ts";
import { logOf } from "../../../lib/cli/desk/log.ts";
import { findPlace } from "../../../lib/cli/desk/place.ts";
import { verdictOf } from "../../../lib/cli/desk/timeline.ts";
import { keepRecent, type LogEntry, openRecent } from "../../../lib/cli/state/recent.ts";
import { type Clock, systemClock } from "../../../lib/clock.ts";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { eventText } from "../../support/events.ts";
import { until } from "../../support/until.ts";
import { larkpost, secrets, startReceiver, temporaryRoot } from "../run.ts";

type Line = Record<string, unknown>;

const app = "cli_a1b2c3d4e5f6a7b8";
const type = "im.message.receive_v1";
const lineOf = (stage: string, id: string | undefined, more: Line = {}): Line => ({
  level: stage === "failed" ? "warn" : stage === "dead" ? "error" : "info",
  ...{ stage, id, type, app, ms: 12, requestId: `log-of-${id}` },
  ...more,
});
const error = { errorClass: "TypeError", errorCode: "ECONNRESET", at: "functions/events/a.ts:3:9", fingerprint: "0a" };
const call = {
  call: "POST /open-apis/im/v1/messages/…/reply",
  status: 200,
  apiCode: 0,
  callMs: 40,
  logId: "log-of-api",
};

/** One event that dies, was redriven and dies again, one that is done, and a callback with deferred work. */
const story: readonly (readonly [source: string, line: Line])[] = [
  ["webhook", lineOf("queued", "one")],
  ["worker", lineOf("started", "one", { attempt: 1 })],
  ["worker", lineOf("called", "one", { level: "debug", ms: undefined, ...call })],
  [
    "worker",
    lineOf("failed", "one", { attempt: 1, delaySeconds: 30, ...error, frames: [error.at, "functions/b.ts:1:1"] }),
  ],
  ["webhook", lineOf("refused", undefined, { level: "warn", requestId: "log-of-forged", reason: "signature" })],
  ["worker", lineOf("started", "one", { attempt: 2 })],
  ["worker", lineOf("dead", "one", { attempt: 2, reason: "nonRetryable", ...error, causes: [error] })],
  ["worker", lineOf("started", "one", { attempt: 1, redrives: 1 })],
  ["worker", lineOf("dead", "one", { attempt: 1, reason: "nonRetryable", ...error })],
  ["callback", lineOf("started", "click", { type: "card.action.trigger" })],
  ["callback", lineOf("deferred", "click", { type: "card.action.trigger" })],
  ["callback", lineOf("handled", "click", { type: "card.action.trigger" })],
  ["worker", lineOf("started", "click#deferred", { type: "card.action.trigger", attempt: 1 })],
  ["worker", lineOf("handled", "click#deferred", { type: "card.action.trigger", attempt: 1, ms: 1_500 })],
  ["workerAi", lineOf("started", "two", { attempt: 1 })],
  ["workerAi", lineOf("handled", "two", { attempt: 1 })],
  ["webhook", lineOf("received", undefined, { level: "debug", type: undefined, requestId: "log-of-two", size: 634 })],
  ["webhook", lineOf("queued", "two")],
  ["worker", lineOf("duplicate", "two", { of: "done" })],
];

/** What becomes of an event by the lines after its first `started`. */
const endings: readonly (readonly [verdict: string | undefined, ...lines: Line[]])[] = [
  ["running"],
  ["ended", { stage: "ended", reason: "exit code 7" }],
  ["handled", { stage: "handled" }, { stage: "postponed" }, { stage: "failed", reason: "ledger" }],
  ["failed", { stage: "failed" }, { stage: "failed", reason: "visibility" }, { stage: "busy" }],
  ["failed", { stage: "handled" }, { stage: "started" }, { stage: "failed" }],
  // What leaks may be logged before the outcome.
  ["leaked", { stage: "leaked" }, { stage: "handled" }],
  ["leaked", { stage: "handled" }, { stage: "leaked" }],
  ["failed", { stage: "leaked" }, { stage: "failed" }],
  ["handled", { stage: "leaked" }, { stage: "failed" }, { stage: "started" }, { stage: "handled" }],
  // The process was killed, and its last line lost.
  ["handled", { stage: "duplicate", of: "done" }],
  ["dead", { stage: "ended" }, { stage: "duplicate", of: "dead" }],
  ["running", { stage: "duplicate" }],
  ["dead", { stage: "dead" }, { stage: "failed", reason: "give-up" }],
  ["queued", { stage: "dead" }, { stage: "redriven" }],
  ["running", { stage: "dead" }, { stage: "started" }, { stage: "redriven" }],
];

describe("npm run events, trace and logs, on this machine", () => {
  let root: string;
  let state: string;
  let remove: () => void;
  const run = async (...args: string[]) => {
    const ended = await larkpost(args, { root });
    assert.ok(!`${ended.stdout}${ended.stderr}`.includes("CANARY"), "a secret was printed");
    return ended;
  };
  const said = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(...args);
    assert.deepEqual([code, stderr], [0, ""]);
    return stdout;
  };

  before(async () => {
    ({ root, remove } = temporaryRoot());
    state = join(root, ".larkpost");
  });
  after(() => remove());

  test("say that there is nothing where nothing has run", async () => {
    assert.equal(await said("events"), "Nothing has come yet\n");
    assert.equal(await said("logs", "--json"), "");
    const { code, stdout, stderr } = await run("logs", "--failed", "--since", "2026-01-31T12:00:00Z");
    assert.deepEqual([code, stdout], [0, ""]);
    assert.match(stderr, /^The log of this machine .* has no warning and no error since 2026-01-31T12:00:00\.000Z\n$/);
    const none = await run("trace", "one");
    assert.deepEqual([none.code, none.stdout], [1, ""]);
    assert.match(
      none.stderr,
      /^Cannot find "one" in the log of this machine \(.*\)\. Check the id: "npm run events"\n$/,
    );
  });

  test("what is kept is bounded by count, size and age, for its owner alone, and without secrets", async () => {
    mkdirSync(state);
    writeFileSync(join(state, "recent.db"), "damaged".repeat(1_000));
    assert.throws(() => openRecent(state).after(0), {
      name: "CommandError",
      message: `Cannot read ${join(state, "recent.db")}: file is not a database. If it is damaged, delete it: npm start makes another`,
    });
    const limits = { keptMs: 60_000, maxLines: 5, maxPushedCharacters: 3_000, trimEvery: 10 };
    const problems: string[] = [];
    const kept = keepRecent(state, (problem) => problems.push(problem), limits);
    for (let n = 0; n < 20; n++) {
      kept.line("worker", lineOf("handled", `old-${n}`, { access_token: "CANARY" }));
      const text = JSON.stringify({ header: { token: "CANARY" }, event: { n, text: "x".repeat(1_000) } });
      kept.push({ id: `old-${n}`, kind: "event", text });
      kept.push({ id: `old-${n}`, kind: "event", text: "{}" });
    }
    const recent = openRecent(state);
    assert.deepEqual(
      recent
        .after(0)
        .map(({ line }) => line["id"])
        .slice(-2),
      ["old-18", "old-19"],
    );
    assert.ok(recent.after(0).length <= 15);
    assert.equal(recent.push("old-0"), undefined);
    assert.match(recent.push("old-19")?.text ?? "", /"token":"\(hidden\)".*"n":19/);
    for (const end of ["", "-wal", "-shm"]) assert.equal(statSync(join(state, `recent.db${end}`)).mode & 0o777, 0o600);
    kept.close();
    assert.ok(!readFileSync(join(state, "recent.db")).includes("CANARY"));
    keepRecent(state, (problem) => problems.push(problem), { ...limits, keptMs: -1 }).close();
    assert.deepEqual([recent.after(0), recent.push("old-19"), problems], [[], undefined, []]);
  });

  test("events lists what came with what became of it, and finds it by type and failure", async () => {
    const kept = keepRecent(state, assert.fail);
    for (const [source, line] of story) kept.line(source, line);
    kept.push({ id: "one", kind: "event", text: JSON.stringify({ event: { message: { message_id: "om_1" } } }) });
    kept.close();
    const rows = (await said("events")).trimEnd().split("\n");
    assert.deepEqual(
      rows.map((row) => row.replace(/^\d+ s ago {2}/, "").replaceAll(/ {2,}/g, "  ")),
      [
        `${type}  dead  one  12 ms`,
        "card.action.trigger  handled  click  12 ms",
        "card.action.trigger  handled  click#deferred  1.5 s",
        `${type}  handled  two  12 ms  lane ai`,
      ],
    );
    const idsOf = async (...args: string[]) =>
      (JSON.parse(await said("events", "--json", ...args)) as { events: { id: string }[] }).events.map(({ id }) => id);
    assert.deepEqual(await idsOf("--failed"), ["one"]);
    assert.deepEqual(await idsOf("--type", type), ["one", "two"]);
    assert.deepEqual(await idsOf("--last", "1"), ["two"]);
    const verdictAfter = (lines: readonly Line[]) =>
      verdictOf(lines.map((line) => ({ atMs: 0, source: "worker", line })))?.verdict;
    for (const [verdict, ...lines] of endings) assert.equal(verdictAfter([{ stage: "started" }, ...lines]), verdict);
    assert.equal(verdictAfter([{ stage: "queued" }, { stage: "postponed" }]), "queued");
    assert.equal(await said("events", "--type", "nothing"), "Nothing of this kind has come\n");
    assert.match(await said("events", "show", "one"), /"message_id": "om_1"/);
    assert.match((await run("events", "show", "two")).stderr, /^Cannot show "two": no push of it was kept/);
    const elsewhere = (await run("trace", "two", "--state", ".other")).stderr;
    assert.match(elsewhere, /Check the id: "npm run events -- list --state \.other"\n$/);
    assert.match((await run("events", "replay", "click#deferred")).stderr, /Take the callback: the id before the #/);
    assert.equal((await run("events", "--last", "0")).code, 2);
  });

  test("events replay --same-id says so when nothing becomes of what was pushed", async (t) => {
    const receiver = await startReceiver();
    t.after(() => receiver.stop());
    const { appId, encryptKey, verificationToken } = secrets;
    const local = join(state, "local.json");
    writeFileSync(local, JSON.stringify({ url: receiver.url, appId, encryptKey, verificationToken }));
    const kept = keepRecent(state, assert.fail);
    kept.push({ id: "dropped", kind: "event", text: eventText({ id: "dropped", type }) });
    kept.close();
    // It looks every 100 ms for ten seconds: here a second goes by from look to look. Its deadlines are longer.
    const { nowMs, after: fireAfter } = systemClock;
    let aheadMs = 0;
    t.mock.method(systemClock, "nowMs", () => nowMs() + aheadMs);
    t.mock.method(systemClock, "after", (ms: number, fire: () => void) => {
      if (ms === 100) aheadMs += 1_000;
      return fireAfter(ms, fire);
    });
    const startMs = nowMs();
    assert.match(
      await said("events", "replay", "dropped", "--same-id"),
      /\nIt is not over yet: npm run trace -- dropped\nA lane with `order` drops what was pushed less than five minutes before\n$/,
    );
    assert.equal(receiver.events()[0]?.id, "dropped");
    rmSync(local);
    assert.ok(nowMs() + aheadMs - startMs > 10_000, "it has not waited");
  });

  test("trace shows one timeline by the event's id, the log id of its push or a call, or a chat's message", async () => {
    const text = await said("trace", "one");
    assert.match(text, new RegExp(`^${type}  one  ${app}\n\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d  this machine`));
    const stages = text.split("\n").flatMap((row) => /^ +\+\S+ m?s {2}(.*)/.exec(row)?.[1] ?? []);
    assert.deepEqual(stages, [
      "webhook  queued       12 ms",
      "worker   started      12 ms  attempt 1",
      "worker   called       call POST /open-apis/im/v1/messages/…/reply, status 200, apiCode 0, callMs 40, logId log-of-api",
      "worker   failed       12 ms  attempt 1, again in 30 s, errorClass TypeError",
      "worker   started      12 ms  attempt 2",
      "worker   dead         12 ms  attempt 2, reason nonRetryable, errorClass TypeError",
      "worker   started      12 ms  attempt 1, redrives 1",
      "worker   dead         12 ms  attempt 1, reason nonRetryable, errorClass TypeError",
    ]);
    assert.match(text, /\n +at functions\/events\/a\.ts:3:9\n +at functions\/b\.ts:1:1\n/);
    assert.match(text, /\n +caused by TypeError {2}ECONNRESET {2}functions\/events\/a\.ts:3:9\n/);
    assert.match(text, /\nIts letter {3}npm run dead -- show one\n$/);
    for (const id of ["log-of-one", "log-of-api", "om_1", "one#deferred"]) assert.equal(await said("trace", id), text);
    const click = await said("trace", "click");
    const kept = keepRecent(state, assert.fail);
    const id = "5e3702a84e847582be8db7fb73283c02";
    for (const one of [id, "5e3702zz"]) kept.line("worker", lineOf("leaked", one, { level: "info" }));
    kept.close();
    for (const cut of ["5e3702a8…3c02", "5e3702a8"]) assert.ok((await said("trace", cut)).startsWith(`${type}  ${id}`));
    assert.match(
      (await run("trace", "5e3702")).stderr,
      /^Cannot find it: 2 ids begin with "5e3702"\. Give more of it\n$/,
    );
    assert.match(click, /callback {9}handled {6}answer after 12 ms\n +\+\S+ ms {2}worker#deferred {2}started/);
    assert.match(
      await said("trace", "log-of-two"),
      /^im\.message\.receive_v1 {2}two .*\n[^\n]+\n(?: .*\n)* .* received +12 ms/,
    );
    assert.match(await said("trace", "log-of-forged"), /^no type|refused {6}12 ms {2}reason signature/);
    const json = JSON.parse(await said("trace", "two", "--json")) as { lines: LogEntry[] };
    assert.equal(json.lines.length, 4);
    assert.equal((await run("trace", "one", "--query")).code, 2);
  });

  test("logs prints lines as npm start does, and finds them by id, failure and time", async () => {
    const lines = (await said("logs")).trimEnd().split("\n");
    assert.match(lines[0] ?? "", new RegExp(`^\\d\\d:\\d\\d:\\d\\d  queued       ${type}  one  12 ms$`));
    assert.ok(!lines.some((line) => line.includes("called")), "a line of level debug");
    assert.ok((await larkpost(["logs"], { root, env: { LOG_LEVEL: "debug" } })).stdout.includes("called"));
    const stages = async (...args: string[]) =>
      (await said("logs", "--json", ...args))
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line)["stage"]);
    assert.deepEqual(await stages("--failed"), ["failed", "refused", "dead", "dead"]);
    assert.deepEqual(await stages("--id", "log-of-forged"), ["refused"]);
    assert.deepEqual(await stages("--id", "two", "--failed"), []);
    assert.deepEqual(await stages("--since", new Date(Date.now() + 60_000).toISOString()), []);
  });

  test("logs --follow goes on with what a runtime writes, and stops when it is told", async () => {
    const place = await findPlace("Cannot read", { state });
    const seen: unknown[] = [];
    const stopping = new AbortController();
    const filter = { id: undefined, isFailed: true, sinceMs: 0 };
    const onEntry = ({ line }: LogEntry) => void seen.push(line["stage"]);
    const reading = logOf("Cannot read", place).read(filter, { follows: true, signal: stopping.signal, onEntry });
    await until("the lines that are there", () => seen.length === 4);
    const kept = keepRecent(state, assert.fail);
    kept.line("callback", lineOf("late", "three", { level: "error" }));
    kept.line("callback", lineOf("handled", "four"));
    kept.line("worker", lineOf("leaked", "five", { level: "error" }));
    await until("the new ones", () => seen.length === 6);
    assert.deepEqual(seen.slice(4), ["late", "leaked"]);
    stopping.abort();
    await reading;
    kept.close();
  });
});

describe("npm run trace and logs, on a stage", () => {
  let root: string;
  let remove: () => void;
  let cloud: Cloud;
  const run = (...args: string[]) =>
    larkpost([...args, "--stage", "prod", "--region", "eu-west-1"], { root, env: { ...cloud.env, HOME: root } });
  const startMs = Date.now() - 3_000_000;

  before(async () => {
    ({ root, remove } = temporaryRoot());
    writeFileSync(join(root, "serverless.yml"), "service: larkpost\n");
    cloud = await startCloud();
    const groupOf = (name: string) => ({ Type: "AWS::Logs::LogGroup", Properties: { LogGroupName: name } });
    const queues = ["Events", "DeadLetter", "Quarantine"].map((name) => [
      `${name}QueueUrl`,
      { Value: queueUrl("http://127.0.0.1:9", name) },
    ]);
    cloud.putStack("larkpost-prod", {
      Resources: {
        WebhookLogGroup: groupOf("/aws/lambda/larkpost-prod-webhook"),
        CallbackLogGroup: groupOf("/aws/lambda/larkpost-prod-callback"),
        WorkerLogGroup: groupOf("/aws/lambda/larkpost-prod-worker"),
        WorkerAiLogGroup: groupOf("/aws/lambda/larkpost-prod-workerAi"),
        HttpApiLogGroup: groupOf("/aws/http-api/larkpost-prod"),
      },
      Outputs: Object.fromEntries(queues),
    });
    cloud.putStack("larkpost-prod-long-connection", {
      Resources: { LongConnectionLogGroup: groupOf("/ecs/larkpost-prod-long-connection") },
    });
    const write = (group: string, message: string, atMs: number) =>
      void cloud.logs.lines.push({ group, message, atMs });
    for (const [n, [source, line]] of story.entries()) {
      write(`/aws/lambda/larkpost-prod-${source}`, JSON.stringify(line), startMs + n * 10_000);
    }
    write("/ecs/larkpost-prod-long-connection", JSON.stringify(lineOf("queued", "afar")), startMs);
    write("/aws/lambda/larkpost-prod-worker", "START RequestId: 1 Version: $LATEST", startMs);
    write("/aws/lambda/larkpost-prod-worker", '{"level":"error","message":"what a handler printed"}', startMs);
  });
  beforeEach(() => {
    cloud.denied.clear();
    cloud.throttled.clear();
    cloud.logs.pace.looks = 0;
    cloud.calls.length = 0;
  });
  after(async () => {
    await cloud.stop();
    remove();
  });

  test("trace asks one query over all log groups, waits for it, and goes on when it is throttled", async () => {
    cloud.throttled.set("logs:GetQueryResults", 1);
    cloud.logs.pace.looks = 2;
    const { code, stdout, stderr } = await run("trace", "one");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(
      stdout,
      /^im\.message\.receive_v1 {2}one {2}cli_a1b2c3d4e5f6a7b8\n[-\d]+ [:\d]+ {2}the stage prod in eu-west-1\n/,
    );
    assert.match(stdout, /\n +\+0 ms {2}webhook {2}queued {7}12 ms\n +\+10\.0 s {2}worker {3}started/);
    assert.match(stdout, /\n +\+1 min 20 s {2}worker {3}dead {9}12 ms {2}attempt 1, reason nonRetryable/);
    assert.match(stdout, /\nIts letter {3}npm run dead -- show one --stage prod --region eu-west-1\n$/);
    assert.equal(cloud.calls.filter((call) => call === "logs:StartQuery").length, 1);
    const { logGroupNames, startTime } = [...cloud.logs.queries.values()].at(-1)?.input ?? {};
    assert.deepEqual(logGroupNames, [
      ...["webhook", "callback", "worker", "workerAi"].map((name) => `/aws/lambda/larkpost-prod-${name}`),
      "/ecs/larkpost-prod-long-connection",
    ]);
    assert.ok(Math.abs(Number(startTime) - (Date.now() / 1000 - 86_400)) < 60, "it looks a day back");
  });

  test("trace finds an event by its log id and names it, with its deferred work and its lane", async () => {
    assert.match(
      (await run("trace", "log-of-one")).stdout,
      /\nAll of it {4}npm run trace -- one --stage prod --region eu-west-1\n$/,
    );
    assert.match((await run("trace", "click")).stdout, /worker#deferred {2}handled/);
    assert.match((await run("trace", "two")).stdout, /workerAi {2}handled/);
    assert.match((await run("trace", "afar")).stdout, /long-connection {2}queued/);
    const none = await run("trace", "nowhere", "--since", "7d");
    assert.equal(none.code, 1);
    assert.match(none.stderr, /^Cannot find "nowhere" in the log of the stage prod in eu-west-1\. .*--since 7d/);
  });

  test("trace --query prints the query and asks nothing of the log", async () => {
    const { code, stdout } = await run("trace", "one", "--query");
    assert.equal(code, 0);
    assert.match(stdout, /^# \/aws\/lambda\/larkpost-prod-webhook\n(?:# \/.+\n){4}fields @timestamp, @log, @message\n/);
    assert.ok(
      stdout.includes(
        '| filter id = "one" or id like "one#" or requestId = "one" or messageId = "one" or logId = "one"\n',
      ),
    );
    assert.ok(!cloud.calls.some((call) => call.startsWith("logs:")));
    assert.equal((await run("trace", 'one" or id like "', "--query")).code, 2);
  });

  test("logs merges the pages of all functions by time, and finds lines by id and failure", async () => {
    cloud.throttled.set("logs:FilterLogEvents", 2);
    const { code, stdout, stderr } = await run("logs");
    assert.deepEqual([code, stderr], [0, ""]);
    const stages = stdout.split("\n").flatMap((line) => /^\d\d:\d\d:\d\d {2}([\w-]+)/.exec(line)?.[1] ?? []);
    const own = story.map(([, line]) => String(line["stage"]));
    assert.deepEqual(stages.toSorted(), ["queued", ...own].toSorted());
    assert.deepEqual(stages.slice(2), own.slice(1));
    const failed = await run("logs", "--failed", "--json");
    assert.deepEqual(
      failed.stdout
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line)["stage"]),
      ["failed", "refused", "dead", "dead"],
    );
    const found = (await run("logs", "--id", "click")).stdout;
    // Soon after midnight, a line with the day of the others is before them.
    assert.equal(found.replace(/^\d{4}-.*\n/, "").split("\n").length - 1, 5, found);
  });

  test("trace and logs tell a terminal how far they are, and leave nothing of it behind", async (t) => {
    const { isTTY } = process.stderr;
    process.stderr.isTTY = true;
    t.after(() => void Object.assign(process.stderr, { isTTY }));
    cloud.logs.pace.looks = 1;
    assert.equal((await run("trace", "one")).stderr, "\rlooking: 5 MB\x1b[K\r\x1b[K");
    const { stderr } = await run("logs");
    assert.ok(stderr.startsWith("\rlooking: ") && stderr.endsWith(" lines\x1b[K\r\x1b[K"), JSON.stringify(stderr));
  });

  test("logs --follow asks again from a minute before, prints each line once, and goes on when it is throttled", async (t) => {
    const seen: unknown[] = [];
    const stopping = new AbortController();
    const waits: (() => void)[] = [];
    const clock: Clock = {
      // Ahead of AWS's.
      nowMs: () => Date.now() + 240_000,
      after(_ms, fire) {
        waits.push(fire);
        return () => {};
      },
    };
    const client = new CloudWatchLogs({
      region: "eu-west-1",
      endpoint: cloud.env.AWS_ENDPOINT_URL,
      credentials: { accessKeyId: "local", secretAccessKey: "local" },
    });
    t.after(() => client.destroy());
    const group = "/aws/lambda/larkpost-prod-worker";
    const reading = readGroups("Cannot read the log", {
      ...{ client, clock, follows: true, signal: stopping.signal, sinceMs: Date.now() - 60_000 },
      groups: [{ group, source: "worker" }],
      filterPattern: '{ $.stage = "*" }',
      onEntry: ({ line }) => void seen.push(line["id"]),
    });
    const write = (id: string, atMs: number) =>
      void cloud.logs.lines.push({ group, atMs, message: JSON.stringify(lineOf("failed", id)) });
    await until("a pause", () => waits.length === 1);
    write("first", Date.now());
    waits[0]?.();
    await until("a second pause", () => waits.length === 2);
    // CloudWatch shows it late.
    write("second", Date.now() - 30_000);
    waits[1]?.();
    await until("a third pause", () => waits.length === 3);
    assert.deepEqual(seen, ["first", "second"]);
    // As often as the client tries.
    cloud.throttled.set("logs:FilterLogEvents", 3);
    const { mock } = t.mock.method(console, "error", () => {});
    waits[2]?.();
    await until("a fourth pause", () => waits.length === 4);
    assert.match(String(mock.calls[0]?.arguments[0]), /^Cannot read the log for the moment: ThrottlingException\. It/);
    write("third", Date.now());
    waits[3]?.();
    await until("a fifth pause", () => waits.length === 5);
    assert.deepEqual(seen, ["first", "second", "third"]);
    cloud.denied.add("logs:FilterLogEvents");
    waits[4]?.();
    await assert.rejects(reading, /You need the right logs:FilterLogEvents/);
    stopping.abort();
  });

  for (const { args, action } of [
    { args: ["trace", "one"], action: "logs:StartQuery" },
    { args: ["trace", "one"], action: "logs:GetQueryResults" },
    { args: ["trace", "one"], action: "cloudformation:ListStackResources" },
    { args: ["logs"], action: "logs:FilterLogEvents" },
  ]) {
    test(`${args[0]} without the right ${action} names it`, async () => {
      cloud.denied.add(action);
      const { code, stdout, stderr } = await run(...args);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(
        stderr,
        new RegExp(`^Cannot (?:trace|read the log): AccessDenied.* You need the right ${action}\n$`),
      );
    });
  }
});
