import assert from "node:assert/strict";
import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { userInfo } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, beforeEach, describe, test } from "node:test";
import type { SQS } from "@aws-sdk/client-sqs";
import { laneFinder, parseLanes } from "../../../lib/aws/lanes.ts";
import { receiverQueues } from "../../../lib/aws/queues.ts";
import { fromRecord, toBody } from "../../../lib/aws/record.ts";
import { storedDeadLetters, toLetter } from "../../../lib/cli/desk/letters.ts";
import { runHandler } from "../../../lib/cli/desk/run.ts";
import { lookByReceives } from "../../../lib/cli/desk/sqs.ts";
import { keepRecent } from "../../../lib/cli/state/recent.ts";
import type { EventEnvelope } from "../../../lib/feishu/envelope.ts";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { storedMessages } from "../../../lib/local/state.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import { clientTo } from "../../support/aws.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { appId, envelopeOf, eventBody, eventText } from "../../support/events.ts";
import { denied, type Faults, startFaults, throttled } from "../../support/faults.ts";
import { temporaryProject } from "../../support/project.ts";
import { ciphertextOf, encryptKey } from "../../support/push.ts";
import { type Services, startServices } from "../../support/services.ts";
import { until } from "../../support/until.ts";
import { larkpost } from "../run.ts";
import { bodyOf, deathOf, makeState, putLetters, runServices, type TestLetter, valuesOf } from "./letters.ts";

/** Letters in seven groups, of which SQS moved one without attributes. */
function manyLetters(count: number): TestLetter[] {
  const bodies = new Map(
    ["im.message.receive_v1", "contact.user.created_v3"].map((type) => [type, bodyOf("event-0", type)]),
  );
  return Array.from({ length: count }, (_, index) => {
    const id = `event-${index}`;
    const group = index % 7;
    const type = group < 3 ? "im.message.receive_v1" : "contact.user.created_v3";
    const body = bodies.get(type)?.replaceAll("event-0", id) ?? "";
    const at = `functions/events/${type}.ts:${group + 1}:5`;
    if (group === 6) return { id, type, body };
    return { id, type, body, attributes: deathOf({ id, type, at, fingerprint: `0000000${group}` }) };
  });
}

const lanes = {
  ai: { types: ["im.message.receive_v1"], order: "message.chat_id", timeoutSeconds: 20 },
  bulk: { types: ["contact.*"] },
};

/** A message of a chat as a queue has it. */
const inChat = (id: string, chat_id: string) =>
  eventBody({ id, type: "im.message.receive_v1", event: { message: { chat_id } } });

const textOf = (id: string) => (JSON.parse(bodyOf(id)) as { text: string }).text;
const sealedText = (id: string, key?: string) =>
  JSON.stringify({ encrypt: ciphertextOf(textOf(id), key === undefined ? {} : { encryptKey: key }) });

/** Nothing of a payload's secrets may be printed. */
async function run(root: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const ended = await larkpost(["dead", ...args], { root, env });
  assert.ok(!`${ended.stdout}${ended.stderr}`.includes("CANARY"), "a secret was printed");
  return ended;
}

describe("npm run dead, on this machine", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let root: string;
  let state: string;
  let remove: () => void;
  const dead = (...args: string[]) => run(root, args);
  const listed = async (...args: string[]) => {
    const { stdout } = await dead("list", "--json", ...args);
    return (JSON.parse(stdout) as { letters: { id: string; messageId: string }[] }).letters;
  };
  const idsOf = async (...args: string[]) => (await listed(...args)).map(({ id }) => id).sort();

  before(async () => {
    project = await temporaryProject({});
    ({ root, remove } = project);
    state = join(root, ".larkpost");
    writeFileSync(join(root, "larkpost.config.js"), `export default { lanes: ${JSON.stringify(lanes)} };`);
  });
  after(() => remove());

  test("says that there is none where nothing has run", async () => {
    const { code, stdout } = await dead();
    assert.equal(code, 0);
    assert.match(stdout, /^0 dead letters: this machine \(.*\.larkpost\)\n$/);
  });

  test("lists 700 in seven groups completely, in less than 0.5 s, by what failed", async () => {
    await makeState(state, { lanes });
    putLetters(state, manyLetters(700));
    const began = process.cpuUsage();
    const { code, stdout } = await dead();
    const { user, system } = process.cpuUsage(began);
    assert.ok(user + system < 500_000, `${user + system} µs`);
    assert.equal(code, 0);
    assert.match(stdout, /^700 dead letters in 7 groups: this machine/);
    const error = /TypeError {2}ECONNRESET {2}functions\/events\/im\.message\.receive_v1\.ts:1:5/.source;
    assert.match(
      stdout,
      new RegExp(`\\n00000000 {2}100 × {2}attemptsExhausted {2}im\\.message\\.receive_v1 {2}${error} {2}3 min ago`),
    );
    assert.match(stdout, /\n[\da-f]{8} {2}100 × {2}movedBySqs {2}contact\.user\.created_v3 {2}/);
    assert.match(stdout, /and 98 more: npm run dead -- list --fingerprint 00000000\n/);
    assert.match(stdout, /\nLook at one {3}npm run dead -- show event-\d+/);
    putLetters(state, [], { clear: true });
  });

  test("lets no text of a letter move the cursor", async () => {
    const hostile = "\u001b[2J\u009b1A\u202e";
    const at = `functions/${hostile}.ts:1:1`;
    const attributes = deathOf({ id: "hostile", type: `t${hostile}`, at, reason: hostile, fingerprint: hostile });
    putLetters(state, [
      {
        id: "hostile",
        attributes: { ...attributes, lane: hostile },
        body: bodyOf("x").replaceAll(appId, "\\\\u009b2J"),
      },
    ]);
    const shown = [await dead(), await dead("show", "hostile", "--payload")];
    for (const { code, stdout } of shown) {
      assert.equal(code, 0);
      assert.doesNotMatch(stdout.replaceAll("\n", ""), /[\p{Cc}\u202a-\u202e]/u);
    }
    assert.match(shown[1]?.stdout ?? "", /\n {2}app {10}\S*2J\n/);
    putLetters(state, [], { clear: true });
  });

  test("finds letters by type, reason, fault, app and time", async () => {
    const hour = 3_600_000;
    putLetters(state, [
      { id: "one", attributes: deathOf({ id: "one", reason: "nonRetryable", diedAtMs: Date.now() - 5 * hour }) },
      {
        id: "two",
        type: "other.type",
        attributes: deathOf({ id: "two", type: "other.type", fingerprint: "ffffffff" }),
      },
      { id: "three", body: bodyOf("three").replaceAll("cli_a1b2c3d4e5f6a7b8", "cli_ffffffffffffffff") },
    ]);
    assert.deepEqual(await idsOf(), ["one", "three", "two"]);
    assert.deepEqual(await idsOf("--type", "other.type"), ["two"]);
    assert.deepEqual(await idsOf("--reason", "nonRetryable"), ["one"]);
    assert.deepEqual(await idsOf("--reason", "movedBySqs"), ["three"]);
    assert.deepEqual(await idsOf("--fingerprint", "ffffffff"), ["two"]);
    assert.deepEqual(await idsOf("--app", "cli_ffffffffffffffff"), ["three"]);
    assert.deepEqual(await idsOf("--since", "2h"), ["three", "two"]);
    assert.deepEqual(await idsOf("--until", new Date(Date.now() - 2 * hour).toISOString()), ["one"]);
    assert.equal((await dead("list", "--since", "yesterday")).code, 2);
    assert.equal((await dead("list", "--region", "eu-west-1")).code, 2);
  });

  test("shows all of a letter, its payload only when it is asked for, and no secret", async () => {
    const shown = await dead("show", "two");
    assert.equal(shown.code, 0);
    for (const said of [
      "other.type  two",
      "attemptsExhausted: the last attempt failed",
      "TypeError  ECONNRESET  functions/events/test.event.ts:3:9",
      "functions/own.ts:7:1",
      "fingerprint  ffffffff",
      "cli_a1b2c3d4e5f6a7b8",
      "event, schema 2.0, by webhook",
      "npm run dead -- redrive two",
    ]) {
      assert.ok(shown.stdout.includes(said), `${said} in ${shown.stdout}`);
    }
    assert.ok(!shown.stdout.includes("the text of two"));
    assert.ok(shown.stdout.includes("\nThe log of that time has nothing of it\n"));
    const kept = keepRecent(state, assert.fail);
    kept.line("webhook", { level: "info", stage: "queued", id: "two", ms: 7 });
    kept.line("worker", { level: "error", stage: "dead", id: "two", ms: 9, at: "functions/own.ts:7:1" });
    kept.close();
    const log =
      /\+0 ms {2}webhook {2}queued {7}7 ms\n.*\+\d+ ms {2}worker {3}dead {9}9 ms\n +at functions\/own\.ts:7:1\n/;
    assert.match((await dead("show", "two")).stdout, log);
    assert.match((await larkpost(["trace", "message-of-two"], { root })).stdout, log);
    const whole = await dead("show", "two", "--payload");
    assert.match(whole.stdout, /"text": "the text of two"[\s\S]*"app_ticket": "\(hidden\)"/);
    assert.match((await dead("show", "three")).stdout, /reason {7}movedBySqs: SQS moved it bare/);
    const json = JSON.parse((await dead("show", "message-of-one", "--json", "--payload")).stdout) as {
      id: string;
      payload: { event: object };
      log: object[];
    };
    assert.deepEqual([json.id, json.log], ["one", []]);
    assert.deepEqual(json.payload.event, { text: "the text of one", app_ticket: "(hidden)" });
    const none = await dead("show", "nowhere");
    assert.deepEqual([none.code, none.stdout], [1, ""]);
    assert.match(
      none.stderr,
      /^Cannot find "nowhere" among the dead letters of this machine .*Check the id: "npm run dead -- list"\n$/,
    );
  });

  test("shows what is in quarantine with its reason, as text or as hexadecimal digits", async () => {
    const unreadable = (content: object) => JSON.stringify({ v: 1, kind: "unreadable", ...content });
    const received = { requestId: null, receivedBy: null, transport: "webhook" } as const;
    // So long that it is compressed.
    const rawBody = Buffer.alloc(20_000, 0xff);
    const large = toBody({ kind: "unreadable", reason: "utf8", rawBody, ...received });
    putLetters(state, [
      {
        id: "bytes",
        queue: "quarantine",
        attributes: { reason: "utf8" },
        body: unreadable({ text: "/wD+", encoding: "base64" }),
      },
      {
        id: "text",
        queue: "quarantine",
        attributes: { reason: "schema" },
        body: unreadable({ text: '{"schema":"3.0"}' }),
      },
      { id: "large", queue: "quarantine", attributes: { reason: "utf8" }, body: large },
    ]);
    const { stdout } = await dead("list", "--queue", "quarantine");
    assert.match(stdout, /^3 messages in quarantine in 2 groups/);
    assert.match(stdout, /2 × {2}utf8 {2}no type/);
    const show = (id: string) => dead("show", `message-of-${id}`, "--queue", "quarantine", "--payload");
    assert.match((await show("bytes")).stdout, /\nff 00 fe\n/);
    assert.match((await show("large")).stdout, /\n(ff ){30,}/);
    assert.match((await show("text")).stdout, /"schema": "3\.0"/);
  });

  const queued = () =>
    storedMessages(state, "events").map(({ body, message_attributes: attributes }) => ({
      id: /event_id\\":\\"([^\\]+)/.exec(body)?.[1] ?? "",
      attributes: JSON.parse(attributes) as Record<string, { StringValue: string }>,
    }));
  const letter = (id: string, given: Omit<Parameters<typeof deathOf>[0], "id"> = {}): TestLetter => ({
    id,
    attributes: deathOf({ id, ...given }),
  });
  const day = 86_400_000;

  test("runs today's handler, sends nothing, and prints what it would send and where it fails", async () => {
    putLetters(state, [letter("good"), letter("ends")], { clear: true });
    project.write(
      "test.event",
      `export default {
  type: "test.event",
  async handle(event, context) {
    context.log.info("Looked at it");
    await context.request("POST", "/open-apis/im/v1/messages", {
      query: { receive_id_type: "chat_id" },
      body: { receive_id: "oc_1", msg_type: "text", content: JSON.stringify({ text: "Repaired" }) },
    });
    await context.request("POST", "/open-apis/vc/v1/rooms", { body: { name: process.env.AWS_ACCESS_KEY_ID } });
    if (context.id === "ends") process.exit(0);
    if (context.id === "blocks") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  },
};
`,
    );
    const type = "im.message.receive_v1";
    const wrongHandler = `export default {
  type: "${type}",
  async handle(_, context) {
    context.log.info("5 s are left " + Math.ceil(context.remainingMs() / 5000) + " times");
    throw new TypeError("still wrong");
  },
};
`;
    project.write(type, wrongHandler);
    putLetters(state, [{ id: "wrong", type, attributes: deathOf({ id: "wrong", type, lane: "ai" }) }]);
    const good = await dead("run", "good");
    assert.deepEqual([good.code, good.stderr], [0, ""]);
    assert.match(good.stdout, /log +Looked at it/);
    assert.match(good.stdout, /handled +test\.event +good/);
    assert.match(good.stdout, /would send {2}POST \/open-apis\/im\/v1\/messages\?receive_id_type=chat_id\n/);
    assert.match(good.stdout, /"content": "\{\\"text\\":\\"Repaired\\"\}"/);
    assert.match(good.stdout, /POST \/open-apis\/vc\/v1\/rooms {2}\(not simulated/);
    assert.match(good.stdout, /"name": "local"/, "the handler could reach this machine's own AWS account");
    assert.match(good.stdout, /Verdict {5}done/);
    const wrong = await dead("run", "wrong");
    assert.equal(wrong.code, 1);
    assert.match(wrong.stdout, /5 s are left 3 times/, "it has not the time of its lane");
    assert.match(wrong.stdout, /TypeError: still wrong\n +at functions\/events\/im\.message\.receive_v1\.ts:5:11/);
    assert.match(wrong.stdout, /Verdict {5}it fails, and would be tried again, after \d+ s/);
    const ends = await dead("run", "ends");
    assert.equal(ends.code, 1);
    assert.match(ends.stdout, / at functions\/events\/test\.event\.ts:10:40\n/);
    assert.match(ends.stdout, /would send [^\n]*rooms[\s\S]*Verdict {5}it ends the process \(exit code 0\)/);
    const envelope = fromRecord({ body: bodyOf("blocks") }) as EventEnvelope;
    // The least in which a worker runs a handler.
    const lane = { timeoutSeconds: 6.5, attempts: 10 };
    const order = { envelope, place: { root, stage: undefined, stateFolder: state }, lane, api: undefined };
    const { signal } = new AbortController();
    const { verdict, seconds, lines, calls } = await runHandler(order, { onText() {}, signal });
    const stages = lines.map(({ stage }) => stage);
    assert.deepEqual([verdict, seconds, stages], ["blocked", 6.5, ["started", "log", "called", "called"]]);
    assert.deepEqual(
      calls.map(({ isKnown }) => isKnown),
      [true, false],
    );
    // The letters stay, and nothing was queued.
    assert.deepEqual([await idsOf(), queued()], [["ends", "good", "wrong"], []]);
    const secret = await dead("run", "good", "--send");
    assert.match(secret.stderr, /^Cannot run with --send: APP_SECRET is not set/);
  });

  test("redrives without npm start, and says how many a desk has hidden that was killed", async () => {
    const letters = ["a", "b", "c", "d"].map((id) => letter(id));
    putLetters(state, letters, { clear: true });
    const killed = await runServices(state, { lanes });
    await killed.hide(3);
    await killed.stop();
    const { stdout } = await dead("redrive", "--all", "--rate", "1000");
    assert.match(stdout, /^Redriven: 1 dead letter .*\nHidden: {3}3, .*\nThey run when "npm start" runs\n$/);
    putLetters(state, [], { minutesLater: true });
  });

  describe("while npm start runs", () => {
    let running: Awaited<ReturnType<typeof runServices>>;
    before(async () => {
      running = await runServices(state, { lanes });
      writeFileSync(join(state, "local.json"), JSON.stringify({ services: running.services }));
    });
    after(() => running.stop());

    test("redrives what a killed desk had hidden, and loses none", async () => {
      const { stdout } = await dead("redrive", "--all", "--rate", "1000");
      assert.match(stdout, /^Redriven: 3 dead letters/);
      assert.deepEqual(await idsOf(), []);
      assert.deepEqual(
        queued()
          .map(({ id }) => id)
          .sort(),
        ["a", "b", "c", "d"],
      );
    });

    test("X1, X4, X5: redrives with its attributes what may run again, and says why the rest may not", async () => {
      await running.put([
        letter("good", { redrives: 2 }),
        { id: "bare" },
        letter("fourth", { redrives: 3 }),
        { ...letter("old"), body: bodyOf("old", "test.event", Date.now() - 34 * day) },
        letter("same-code", { diedAtMs: Date.now() + 60_000 }),
        letter("no-verdict", { diedAtMs: Date.now() + 60_000, reason: "receivesExhausted" }),
      ]);
      const { code, stdout, stderr } = await dead("redrive", "--all", "--rate", "1000/s");

      assert.equal(code, 1);
      assert.match(stdout, /^Redriven: 3 dead letters of this machine/);
      assert.match(stdout, /Refused: {2}1 × redriven 3 times already/);
      assert.match(stdout, /Refused: {2}1 × older than 33 days/);
      assert.match(stdout, /Refused: {2}1 × the code that failed still runs/);
      assert.match(stderr, /^Cannot redrive 3 dead letters\. Repair the cause, or pass --force\n$/);
      assert.deepEqual(await idsOf(), ["fourth", "old", "same-code"]);
      const [first, second] = queued().sort((a, b) => a.id.localeCompare(b.id));
      assert.equal(first?.id, "bare");
      const traced = (await larkpost(["trace", "bare"], { root })).stdout;
      assert.match(traced, / desk +redriven +lane default, by \S+/, "it waits in a queue, and nothing has run");
      assert.match((await dead("show", "same-c…ode")).stdout, /same-code/);
      assert.equal(first?.attributes["deadReason"]?.StringValue, "movedBySqs");
      assert.equal(second?.attributes["redrives"]?.StringValue, "2");
      assert.equal(second?.attributes["deadReason"]?.StringValue, "attemptsExhausted");

      // As the deletion of a handler's file leaves its folder.
      const [handlers, later] = [join(root, "functions/events"), Date.now() / 1000 + 120];
      utimesSync(handlers, later, later);
      assert.equal((await dead("redrive", "same-code")).code, 0);

      const messageId = (await listed()).find(({ id }) => id === "old")?.messageId ?? "";
      const forced = await dead("redrive", "fourth", messageId, "--force");
      assert.deepEqual([forced.code, forced.stderr], [0, ""]);
      assert.deepEqual(await idsOf(), []);
      assert.equal(queued().length, 6);
    });

    test("redrives what the ids or the fault name, and nothing without them", async () => {
      const other = { fingerprint: "eeeeeeee" };
      await running.put([letter("a"), letter("b", other), letter("c", other), letter("d")]);
      assert.equal((await dead("redrive")).code, 2);
      assert.equal((await dead("redrive", "a", "--all")).code, 2);
      assert.equal((await dead("redrive", "--all", "--rate", "0")).code, 2);
      const missing = await dead("redrive", "a", "nowhere");
      assert.equal(missing.code, 1);
      assert.match(missing.stdout, /^Redriven: 1 dead letter /);
      assert.match(missing.stderr, /^Cannot find "nowhere"/);
      assert.equal((await dead("redrive", "--fingerprint", "eeeeeeee")).code, 0);
      assert.deepEqual(await idsOf(), ["d"]);
      assert.deepEqual(
        queued()
          .map(({ id }) => id)
          .sort(),
        ["a", "b", "c"],
      );
    });

    test("redrives from quarantine what this release reads, and refuses the rest", async () => {
      const quarantined = (id: string, reason: string, body: string) =>
        ({ id, queue: "quarantine", attributes: { reason }, body }) as const;
      const asReceived = (text: string) =>
        JSON.stringify({ v: 1, kind: "unreadable", reason: "schema", receivedBy: null, text });
      const sealed = (key?: string) => asReceived(sealedText("sealed", key));
      writeFileSync(join(state, "local.json"), JSON.stringify({ services: running.services, encryptKey }));
      await running.put([
        quarantined("raw", "schema", asReceived(textOf("readable"))),
        quarantined("sealed", "schema", sealed()),
        quarantined("other-key", "schema", sealed("another key")),
        quarantined("other-app", "app", bodyOf("other-app")),
        quarantined("never", "json", "no JSON"),
      ]);
      const [, { messageId = "" } = {}] = await listed("--queue", "quarantine");
      const shown = await dead("show", messageId, "--queue", "quarantine", "--payload");
      const advice = `npm run dead -- redrive ${messageId} --queue q`;
      assert.match(shown.stdout, new RegExp(`"text": "the text of sealed"[\\s\\S]*${advice}`));
      const { code, stdout } = await dead("redrive", "--all", "--queue", "quarantine");
      assert.equal(code, 1);
      assert.match(stdout, /^Redriven: 2 messages in quarantine/);
      assert.match(stdout, /2 × this release cannot read it/);
      assert.match(stdout, /1 × it belongs to another app/);
      // The worker runs it at any age.
      assert.deepEqual(
        queued().sort((a, b) => a.id.localeCompare(b.id)),
        ["readable", "sealed"].map((id) => ({ id, attributes: valuesOf({ deadReason: "schema" }) })),
      );
    });

    test("redrives each letter to its lane's queue, and those of a chat in the order in which they died", async () => {
      const now = Date.now();
      const type = "im.message.receive_v1";
      const inLane = (id: string, chat: string, minutes: number, lane = "ai"): TestLetter => {
        const attributes = deathOf({ id, type, lane, redrives: 1, diedAtMs: now - minutes * 60_000 });
        return { id, type, attributes, body: inChat(id, chat) };
      };
      const plain = { id: "plain", type, attributes: deathOf({ id: "plain", type }), body: inChat("plain", "oc_a") };
      const bare = { type, queue: "dead-letters.fifo" } as const;
      const letters: TestLetter[] = [
        ...[inLane("a3", "oc_a", 5), inLane("a1", "oc_a", 9), inLane("b1", "oc_b", 8), inLane("a2", "oc_a", 7)],
        ...[inLane("gone", "oc_a", 6, "old"), inLane("sync", "oc_a", 6, "bulk"), plain],
        { id: "moved", type },
        { id: "f1", group: "oc_f", body: inChat("f1", "oc_f"), ...bare },
        { id: "f2", group: "oc_f", body: inChat("f2", "oc_f"), ...bare },
      ];
      await running.put(letters);
      assert.equal((await dead()).stdout.split(", ")[0]?.split(" in ")[0], "10 dead letters");
      assert.equal(storedDeadLetters(state), 10);
      assert.deepEqual(await idsOf("--lane", "ai"), ["a1", "a2", "a3", "b1", "f1", "f2", "moved"]);
      assert.deepEqual(await idsOf("--lane", "default"), ["plain"]);
      assert.match(
        (await dead("list", "--lane", "bulk")).stdout,
        /\n {2}sync {2}6 min ago {2}lane bulk {2}10 attempts {2}redriven 1 ×\n/,
      );
      assert.match((await dead("show", "a1")).stdout, /\n {2}lane {9}ai, in the order of message\.chat_id\n/);
      assert.match(
        (await dead("show", "gone")).stdout,
        /\n {2}lane {9}old, which is no more: redrive gives it to the default/,
      );
      assert.match((await dead("show", "plain")).stdout, /\n {2}lane {9}default\n/);

      assert.equal((await dead("drop", "f1", "--why", "a test", "--yes")).code, 0);
      const { code, stderr } = await dead("redrive", "--all", "--rate", "1000/s", "--force");
      assert.deepEqual([code, stderr], [0, ""]);
      const inQueue = (name: string) =>
        storedMessages(state, name).map((row) => [/event_id[^\w]+(\w+)/.exec(row.body)?.[1], row.message_group_id]);
      const ordered = inQueue("events-ai.fifo");
      assert.deepEqual(
        ordered.filter(([, group]) => group === "oc_a").map(([id]) => id),
        ["a1", "a2", "a3"],
      );
      assert.deepEqual(ordered.filter(([, group]) => group !== "oc_a").toSorted(), [
        ["b1", "oc_b"],
        ["f2", "oc_f"],
        ["moved", "moved"],
      ]);
      assert.deepEqual(inQueue("events-bulk"), [["sync", null]]);
      assert.deepEqual(inQueue("events").toSorted(), [
        ["gone", null],
        ["plain", null],
      ]);
      assert.deepEqual(await idsOf(), []);
    });

    test("drops a letter only when somebody says so, and writes down who and why", async () => {
      await running.put([letter("kept"), letter("gone")]);
      assert.equal((await dead("drop", "gone")).code, 2);
      assert.equal((await dead("drop", "gone", "--why", " ", "--yes")).code, 2);
      const unasked = await dead("drop", "gone", "--why", "a test");
      assert.deepEqual([unasked.code, unasked.stderr], [2, "Cannot drop: nobody can be asked here. Pass --yes\n"]);
      for (const typed of ["n\n", "\u0003", "\u0004"]) {
        const refused = await larkpost(["dead", "drop", "gone", "--why", "a test", "--json"], {
          ...{ root, input: typed, isTyped: true },
        });
        assert.deepEqual([refused.code, refused.stdout], [1, ""]);
        assert.match(refused.stderr, /Drop 1 dead letter of .* for good\? \[y\/N\] [^\n]*\nNothing was dropped\n$/);
      }
      assert.equal((await dead("drop", "gone", "nowhere", "--why", "a test", "--yes")).code, 1);
      assert.deepEqual(await idsOf(), ["gone", "kept"]);
      const { code, stdout } = await dead("drop", "gone", "--why", "a test", "--yes");
      assert.equal(code, 0);
      assert.match(stdout, /^Dropped: 1 dead letter of this machine/);
      assert.deepEqual([await idsOf(), queued()], [["kept"], []]);
      const log = readFileSync(join(state, "dropped.jsonl"), "utf8").trimEnd().split("\n").at(-1) ?? "";
      const { id, who, why, type } = JSON.parse(log) as Record<string, string>;
      assert.ok(log.includes(`"at":"functions/events/test.event.ts:3:9"`));
      assert.deepEqual([id, who, why, type], ["gone", userInfo().username, "a test", "test.event"]);
      assert.ok(!log.includes("the text of gone"));
    });
  });

  test("says what it can do", async () => {
    const { code, stdout } = await dead("--help");
    assert.equal(code, 0);
    assert.match(stdout, /list \[options\][\s\S]*show \[options\] <id>/);
    assert.match((await dead("list", "--help")).stdout, /Examples:\n {2}npm run dead\n/);
    assert.equal((await dead("nothing")).code, 2);
  });
});

describe("npm run dead, on a stage", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let root: string;
  let remove: () => void;
  let cloud: Cloud;
  let services: Services;
  let faults: Faults;
  const dead = (...args: string[]) => run(root, [...args, "--stage", "prod", "--region", "eu-west-1"], env());
  const outputs = () => {
    const values = {
      EventsQueueUrl: queueUrl(faults.endpoint, "events"),
      DeadLetterQueueUrl: queueUrl(faults.endpoint, "dead-letters"),
      QuarantineQueueUrl: queueUrl(faults.endpoint, "quarantine"),
    };
    return Object.fromEntries(Object.entries(values).map(([name, Value]) => [name, { Value }]));
  };
  const env = () => ({ ...cloud.env, AWS_ENDPOINT_URL_SQS: faults.endpoint, HOME: root });

  before(async () => {
    [project, cloud, services] = await Promise.all([temporaryProject({}), startCloud(), startServices()]);
    ({ root, remove } = project);
    writeFileSync(join(root, "serverless.yml"), "service: larkpost\n");
    faults = await startFaults(services.exchangeSqs);
    cloud.putStack("larkpost-prod", {
      Resources: {
        Log: { Type: "AWS::Logs::LogGroup", Properties: { LogGroupName: "/aws/lambda/larkpost-prod-worker" } },
      },
      Outputs: outputs(),
    });
  });
  beforeEach(async () => {
    faults.reset();
    cloud.denied.clear();
    await services.callSqs("PurgeQueue", { QueueUrl: services.urls.deadLetterQueueUrl });
  });
  after(async () => {
    await Promise.all([cloud.stop(), faults.stop(), services.stop()]);
    remove();
  });

  async function bury(letters: readonly TestLetter[]): Promise<void> {
    for (const { id, type = "test.event", body = bodyOf(id, type), attributes = {} } of letters) {
      await services.callSqs("SendMessage", {
        QueueUrl: services.urls.deadLetterQueueUrl,
        MessageBody: body,
        MessageAttributes: valuesOf(attributes),
      });
    }
  }

  test("lists over several pages and hides no letter, also while SQS throttles", async () => {
    await bury(manyLetters(35));
    faults.inject("ReceiveMessage", throttled, (_call, nth) => nth <= 2);
    const { code, stdout } = await dead();
    assert.equal(code, 0);
    assert.match(stdout, /^35 dead letters in 7 groups: the stage prod in eu-west-1\n/);
    assert.match(stdout, /npm run dead -- show event-\d+ --stage prod --region eu-west-1\n/);
    assert.equal((await services.take(services.urls.deadLetterQueueUrl, { hiddenSeconds: 0 })).length, 10);
  });

  test("shows a letter with what the log says, and alone without the right to ask it", async () => {
    await bury([{ id: "logged", attributes: deathOf({ id: "logged" }) }]);
    const message = JSON.stringify({ level: "error", stage: "dead", id: "logged", ms: 9 });
    cloud.logs.lines.push({ group: "/aws/lambda/larkpost-prod-worker", atMs: Date.now() - 180_000, message });
    assert.match((await dead("show", "logged")).stdout, /\+0 ms {2}worker {2}dead {9}9 ms\n/);
    cloud.denied.add("logs:StartQuery");
    const { code, stdout } = await dead("show", "logged");
    assert.equal(code, 0);
    assert.match(stdout, /^test\.event {2}logged\n[\s\S]*AccessDenied.*You need the right logs:StartQuery\n/);
  });

  test("ends a look when SQS shows no more, however many there are", async () => {
    const { urls, callSqs, take } = services;
    await bury(manyLetters(12));
    await take(urls.deadLetterQueueUrl);
    const sqs = {
      receiveMessage: (input: object) => callSqs("ReceiveMessage", input),
      getQueueAttributes: (input: object) => callSqs("GetQueueAttributes", input),
    } as SQS;
    const given = { sqs, url: urls.deadLetterQueueUrl, onSeen: undefined, most: undefined };
    const { messages, total } = await lookByReceives("Cannot list", given);
    assert.deepEqual([messages.length, total], [2, 12]);
  });

  test("redrives what died before the worker was last changed", async () => {
    const changedAtMs = Date.now() - 60_000;
    cloud.functions.changedAt = new Date(changedAtMs).toISOString().replace("Z", "+0000");
    cloud.putStack("larkpost-prod", {
      Resources: {
        Worker: { Type: "AWS::Lambda::Function", Properties: { FunctionName: "larkpost-prod-worker", Code: {} } },
      },
      Outputs: outputs(),
    });
    await bury([
      { id: "before", attributes: deathOf({ id: "before", diedAtMs: changedAtMs - 1 }) },
      { id: "after", attributes: deathOf({ id: "after", diedAtMs: changedAtMs }) },
    ]);
    const { code, stdout, stderr } = await dead("redrive", "--all");
    assert.equal(code, 1, stderr);
    assert.match(
      stdout,
      /^Redriven: 1 dead letter of the stage prod in eu-west-1\nRefused: {2}1 × the code that failed/,
    );
    const [sent] = await services.take(services.urls.eventsQueueUrl);
    assert.match(sent?.Body ?? "", /before/);

    // The deployment changed a lane's numbers, and so its worker alone.
    const named = ["larkpost-prod-worker", "larkpost-prod-workerAi"] as const;
    const Resources = Object.fromEntries(
      named.map((FunctionName, index) => [
        `Worker${index}`,
        { Type: "AWS::Lambda::Function", Properties: { FunctionName, Code: {} } },
      ]),
    );
    const { timeoutSeconds: _, ...ai } = lanes.ai;
    cloud.putStack("larkpost-prod", {
      Resources,
      Outputs: { ...outputs(), Lanes: { Value: JSON.stringify({ ai }) } },
    });
    for (const [changedMs, code] of [
      [changedAtMs, 1],
      [changedAtMs + 1, 0],
    ] as const) {
      cloud.functions[named[1]] = new Date(changedMs).toISOString();
      assert.equal((await dead("redrive", "after")).code, code);
    }
    await bury([{ id: "after", attributes: deathOf({ id: "after", diedAtMs: changedAtMs }) }]);
    cloud.denied.add("lambda:GetFunction");
    assert.match(
      (await dead("redrive", "--all")).stderr,
      /^Cannot redrive: AccessDenied.*\. You need the right lambda:GetFunction\n$/,
    );
    for (const action of ["SendMessage", "DeleteMessage"]) {
      faults.reset();
      faults.inject(action, denied);
      assert.match(
        (await dead("redrive", "--all", "--force")).stderr,
        new RegExp(`You need the right sqs:${action}\\n$`),
      );
      assert.equal(await services.count(services.urls.deadLetterQueueUrl), 1);
    }
  });

  test("redrives an event once, however soon it is dead again", async () => {
    cloud.putStack("larkpost-prod", { Resources: {}, Outputs: outputs() });
    await bury([{ id: "again", attributes: deathOf({ id: "again" }) }]);
    let deaths = 0;
    const unwatch = faults.watch(({ action }) => {
      if (action === "SendMessage" && ++deaths < 5) void bury([{ id: "again", attributes: deathOf({ id: "again" }) }]);
    });
    const { code, stdout, stderr } = await dead("redrive", "--all", "--force");
    unwatch();
    assert.deepEqual([code, deaths, await services.count(services.urls.deadLetterQueueUrl)], [1, 1, 1]);
    assert.match(stdout, /^Redriven: 1 dead letter .*\nRefused: {2}1 × redriven just now, and dead again: its cause/);
    assert.match(stderr, /^Cannot redrive 1 dead letter\. Repair the cause/);
    await services.callSqs("PurgeQueue", { QueueUrl: services.urls.eventsQueueUrl });
  });

  test("redrives to the lanes that the stack's outputs name, under an id that SQS has not just seen", async () => {
    const { urls, callSqs, take, count } = services;
    for (const QueueName of ["events-ai.fifo", "dead-letters.fifo"]) await callSqs("CreateQueue", { QueueName });
    const [aiUrl, fifoUrl] = ["events-ai.fifo", "dead-letters.fifo"].map((name) => queueUrl(faults.endpoint, name));
    const { timeoutSeconds: _, ...ai } = lanes.ai;
    const more = { Lanes: { Value: JSON.stringify({ ...lanes, ai }) }, DeadLetterFifoQueueUrl: { Value: fifoUrl } };
    cloud.putStack("larkpost-prod", { Resources: {}, Outputs: { ...outputs(), ...more } });
    const [type, event] = ["im.message.receive_v1", { message: { chat_id: "oc_1" } }];
    const receiving = receiverQueues(clientTo(services.endpoints.sqs), {
      ...urls,
      laneOf: laneFinder(parseLanes(more.Lanes.Value)),
    });
    await receiving.send(envelopeOf(eventText({ id: "asked", type, event })), new AbortController().signal);
    const taken = async () => {
      const messages = await take(aiUrl ?? "");
      for (const { ReceiptHandle } of messages) await callSqs("DeleteMessage", { QueueUrl: aiUrl, ReceiptHandle });
      return messages.map(({ Body = "", Attributes }) => [
        /event_id[^\w]+(\w+)/.exec(Body)?.[1],
        Attributes?.MessageGroupId,
      ]);
    };
    assert.deepEqual(await taken(), [["asked", "oc_1"]]);
    const body = inChat("asked", "oc_1");
    for (const redrives of [0, 1]) {
      await bury([{ id: "asked", type, body, attributes: deathOf({ id: "asked", type, lane: "ai", redrives }) }]);
      const { code, stderr } = await dead("redrive", "asked", "--force");
      assert.deepEqual([code, stderr, await taken()], [0, "", [["asked", "oc_1"]]]);
    }
    const quarantined = {
      QueueUrl: urls.quarantineQueueUrl,
      MessageBody: body,
      MessageAttributes: valuesOf({ reason: "shape" }),
    };
    await callSqs("SendMessage", quarantined);
    assert.equal((await dead("redrive", "--all", "--queue", "quarantine", "--force")).code, 0);
    assert.deepEqual(await taken(), [["asked", "oc_1"]]);

    // What was received encrypted needs the stage's keys.
    const MessageBody = JSON.stringify({ v: 1, kind: "unreadable", reason: "schema", text: sealedText("sealed") });
    await callSqs("SendMessage", { ...quarantined, MessageBody });
    const keys = { appId, encryptKeys: [{ value: encryptKey }], verificationTokens: [{ value: "a token" }] };
    cloud.store.put("/larkpost/prod/app", JSON.stringify(keys));
    cloud.store.become("denied");
    const all = ["--all", "--queue", "quarantine", "--force"];
    assert.match((await dead("redrive", ...all)).stderr, /AccessDeniedException \(ssm:GetParameter\)/);
    cloud.store.become("up");
    assert.equal((await dead("redrive", ...all)).code, 0);
    const [sent] = await take(urls.eventsQueueUrl);
    assert.match(sent?.Body ?? "", /the text of sealed/);

    // What SQS moved: of each chat only the first is given out while that is looked at.
    for (const [id, MessageGroupId] of [
      ["m1", "oc_m"],
      ["m2", "oc_m"],
      ["n1", "oc_n"],
    ] as const) {
      const MessageBody = inChat(id, MessageGroupId);
      await callSqs("SendMessage", { QueueUrl: fifoUrl, MessageBody, MessageGroupId, MessageDeduplicationId: id });
    }
    assert.match(
      (await dead("list", "--lane", "ai")).stdout,
      /^2 dead letters in 1 group.*\(2 of about 3 were seen: SQS/,
    );
    await until(
      "they are shown again",
      async () => (await count(fifoUrl ?? "")) === 3 && (await take(fifoUrl ?? "", { hiddenSeconds: 0 })).length === 2,
      { everyMs: 200 },
    );
    assert.equal((await dead("redrive", "--all", "--rate", "1000", "--force")).code, 0);
    const moved: unknown[] = [];
    for (let messages = await taken(); messages.length > 0; messages = await taken()) moved.push(...messages);
    assert.deepEqual(moved, [
      ["m1", "oc_m"],
      ["n1", "oc_n"],
      ["m2", "oc_m"],
    ]);
    assert.equal(await count(fifoUrl ?? ""), 0);
  });

  test("finds the lane of a letter that SQS moved by the queue from which it came", () => {
    const lane = (name: string | undefined, queue: "dead" | "quarantine" = "dead") => {
      const source = { DeadLetterQueueSourceArn: `arn:aws:sqs:eu-west-1:000000000000:${name}` };
      const message = { Body: inChat("moved", "oc_1"), Attributes: name === undefined ? {} : source };
      return toLetter(message, queue, {
        list: parseLanes(JSON.stringify(lanes)),
        eventsQueue: "https://host/app-events",
      }).lane;
    };
    assert.deepEqual(
      ["app-events-old.fifo", "app-events-bulk", "app-events", undefined].map((name) => lane(name)),
      ["old", "bulk", "default", "ai"],
    );
    assert.equal(lane(undefined, "quarantine"), "ai");
  });

  test("run --send really sends, with the secret of the letter's app, and prints one JSON object", async (t) => {
    const calls: string[][] = [];
    const platform = createServer(async (request, response) => {
      calls.push([request.url ?? "", await text(request)]);
      response.end(JSON.stringify({ code: 0, tenant_access_token: "t-CANARY", expire: 7_200, data: {} }));
    });
    const LARK_DOMAIN = `http://127.0.0.1:${await listenOnLoopback(platform)}`;
    t.after(() => {
      platform.closeAllConnections();
      platform.close();
    });
    project.write(
      "test.event",
      `export default {
  type: "test.event",
  async handle(event, { request }) {
    console.log("printed by the handler");
    await request("POST", "/open-apis/vc/v1/rooms", { body: { name: "sent" } });
  },
};
`,
    );
    const keys = { encryptKeys: [{ value: encryptKey }], verificationTokens: [{ value: "a token" }] };
    cloud.store.put("/larkpost/prod/app", JSON.stringify({ appId, appSecret: "CANARY-of-the-stage", ...keys }));
    await bury([{ id: "sent", attributes: deathOf({ id: "sent" }) }]);
    const args = ["run", "sent", "--send", "--json", "--stage", "prod", "--region", "eu-west-1"];
    const other = { APP_ID: "cli_of_tests", APP_SECRET: "CANARY-of-tests" };
    const { code, stdout, stderr } = await run(root, args, { ...env(), LARK_DOMAIN, ...other });
    assert.deepEqual([code, stderr], [0, ""]);
    const { verdict, isSent, lines } = JSON.parse(stdout) as {
      verdict: string;
      isSent: boolean;
      lines: readonly { stage: string; id: string }[];
    };
    assert.deepEqual([verdict, isSent], ["done", true]);
    assert.deepEqual(
      lines.map(({ stage, id }) => [stage, id]),
      ["started", "called", "handled"].map((one) => [one, "sent"]),
    );
    assert.deepEqual(
      calls.map(([path]) => path),
      ["/open-apis/auth/v3/tenant_access_token/internal", "/open-apis/vc/v1/rooms"],
    );
    assert.match(calls[0]?.[1] ?? "", /"CANARY-of-the-stage"/);
    assert.equal(calls[1]?.[1], '{"name":"sent"}');
  });

  test("drops in the name of the AWS identity", async () => {
    await bury([{ id: "gone", attributes: deathOf({ id: "gone" }) }]);
    assert.equal((await dead("drop", "gone", "--why", "a test", "--yes")).code, 0);
    assert.equal(await services.count(services.urls.deadLetterQueueUrl), 0);
    const log = readFileSync(join(root, ".larkpost/dropped.jsonl"), "utf8");
    assert.match(log, /"who":"arn:aws:iam::\d+:user\/deployer","why":"a test","place":"the stage prod in eu-west-1"/);
  });

  for (const action of ["ReceiveMessage", "GetQueueAttributes"]) {
    test(`names the right when ${action} is denied`, async () => {
      await bury(manyLetters(1));
      faults.inject(action, denied);
      const { code, stdout, stderr } = await dead();
      assert.deepEqual([code, stdout], [1, ""]);
      assert.equal(stderr, `Cannot list: AccessDeniedException. You need the right sqs:${action}\n`);
    });
  }

  test("says why the stack is not to be had", async () => {
    cloud.denied.add("cloudformation:DescribeStacks");
    assert.match((await dead()).stderr, /^Cannot list: AWS does not say .*\(cloudformation:DescribeStacks\)/);
    cloud.denied.clear();
    const nobody = { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_EC2_METADATA_DISABLED: "true" };
    const unknown = await run(root, ["--stage", "prod", "--region", "eu-west-1"], { ...env(), ...nobody });
    assert.match(
      unknown.stderr,
      /^Cannot list: AWS .* larkpost-prod in eu-west-1: CredentialsProviderError\. Run "aws sso login", or set AWS_PROFILE/,
    );
    const other = await run(root, ["--stage", "dev"], env());
    assert.match(other.stderr, /^Cannot list: there is no stack larkpost-dev in/);
  });
});
