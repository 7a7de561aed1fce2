import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { type Cloud, startCloud } from "../../support/cloud.ts";
import { denied, type Faults, startFaults, throttled } from "../../support/faults.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { larkpost } from "../run.ts";
import { bodyOf, deathOf, makeState, putLetters, type TestLetter, valuesOf } from "./letters.ts";

/** Letters in seven groups, of which SQS moved one without attributes. */
function manyLetters(count: number): TestLetter[] {
  return Array.from({ length: count }, (_, index) => {
    const id = `event-${index}`;
    const group = index % 7;
    const type = group < 3 ? "im.message.receive_v1" : "contact.user.created_v3";
    const at = `functions/events/${type}.ts:${group + 1}:5`;
    if (group === 6) return { id, type };
    return { id, type, attributes: deathOf({ id, type, at, fingerprint: `0000000${group}` }) };
  });
}

/** Nothing of a payload's secrets may be printed. */
async function run(root: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const ended = await larkpost(["dead", ...args], { root, env });
  assert.ok(!`${ended.stdout}${ended.stderr}`.includes("CANARY"), "a secret was printed");
  return ended;
}

describe("npm run dead, on this machine", () => {
  let root: string;
  let state: string;
  let remove: () => void;
  const dead = (...args: string[]) => run(root, args);
  const idsOf = async (...args: string[]) => {
    const { stdout } = await dead("list", "--json", ...args);
    return (JSON.parse(stdout) as { letters: { id: string }[] }).letters.map(({ id }) => id).sort();
  };

  before(async () => {
    ({ root, remove } = await temporaryProject({}));
    state = join(root, ".larkpost");
  });
  after(() => remove());

  test("says that there is none where nothing has run", async () => {
    const { code, stdout } = await dead();
    assert.equal(code, 0);
    assert.match(stdout, /^0 dead letters: this machine \(.*\.larkpost\)\n$/);
  });

  test("lists 10,000 in seven groups completely, in less than 5 s, by what failed", async () => {
    await makeState(state);
    putLetters(state, manyLetters(10_000));
    const began = process.cpuUsage();
    const { code, stdout } = await dead();
    const { user, system } = process.cpuUsage(began);
    assert.ok(user + system < 5_000_000, `${user + system} µs`);
    assert.equal(code, 0);
    assert.match(stdout, /^10000 dead letters in 7 groups: this machine/);
    const error = /TypeError {2}ECONNRESET {2}functions\/events\/im\.message\.receive_v1\.ts:1:5/.source;
    assert.match(
      stdout,
      new RegExp(`\\n00000000 {2}1429 × {2}attemptsExhausted {2}im\\.message\\.receive_v1 {2}${error} {2}3 min ago`),
    );
    assert.match(stdout, /\n[\da-f]{8} {2}1428 × {2}movedBySqs {2}contact\.user\.created_v3 {2}/);
    assert.match(stdout, /and 1427 more: npm run dead -- list --fingerprint 00000000\n/);
    assert.match(stdout, /\nLook at one {3}npm run dead -- show event-\d+/);
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
    const whole = await dead("show", "two", "--payload");
    assert.match(whole.stdout, /"text": "the text of two"[\s\S]*"app_ticket": "\(hidden\)"/);
    assert.match((await dead("show", "three")).stdout, /reason {7}movedBySqs: SQS moved it bare/);
    const json = JSON.parse((await dead("show", "message-of-one", "--json", "--payload")).stdout) as {
      id: string;
      payload: { event: object };
    };
    assert.equal(json.id, "one");
    assert.deepEqual(json.payload.event, { text: "the text of one", app_ticket: "(hidden)" });
    const none = await dead("show", "nowhere");
    assert.deepEqual([none.code, none.stdout], [1, ""]);
    assert.match(none.stderr, /^Cannot find "nowhere" among the dead letters of this machine .*Check the id/);
  });

  test("shows what is in quarantine with its reason, as text or as hexadecimal digits", async () => {
    const unreadable = (content: object) => JSON.stringify({ v: 1, kind: "unreadable", ...content });
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
    ]);
    const { stdout } = await dead("list", "--queue", "quarantine");
    assert.match(stdout, /^2 messages in quarantine in 2 groups/);
    assert.match(stdout, /1 × {2}utf8 {2}no type/);
    const show = (id: string) => dead("show", `message-of-${id}`, "--queue", "quarantine", "--payload");
    assert.match((await show("bytes")).stdout, /\nff 00 fe\n/);
    assert.match((await show("text")).stdout, /"schema": "3\.0"/);
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
  let root: string;
  let remove: () => void;
  let cloud: Cloud;
  let services: Services;
  let faults: Faults;
  const dead = (...args: string[]) => run(root, [...args, "--stage", "prod", "--region", "eu-west-1"], env());
  const env = () => ({ ...cloud.env, AWS_ENDPOINT_URL_SQS: faults.endpoint, HOME: root });

  before(async () => {
    [{ root, remove }, cloud, services] = await Promise.all([temporaryProject({}), startCloud(), startServices()]);
    writeFileSync(join(root, "serverless.yml"), "service: larkpost\n");
    faults = await startFaults(services.exchangeSqs);
    const outputs = {
      EventsQueueUrl: queueUrl(faults.endpoint, "events"),
      DeadLetterQueueUrl: queueUrl(faults.endpoint, "dead-letters"),
      QuarantineQueueUrl: queueUrl(faults.endpoint, "quarantine"),
      LedgerTableName: "ledger",
    };
    const Outputs = Object.fromEntries(Object.entries(outputs).map(([name, Value]) => [name, { Value }]));
    cloud.putStack("larkpost-prod", { Resources: {}, Outputs });
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
    for (const { id, type = "test.event", attributes = {} } of letters) {
      await services.callSqs("SendMessage", {
        QueueUrl: services.urls.deadLetterQueueUrl,
        MessageBody: bodyOf(id, type),
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
    assert.match(stdout, /npm run dead -- show event-\d+ --stage prod\n/);
    assert.equal((await services.take(services.urls.deadLetterQueueUrl, { hiddenSeconds: 0 })).length, 10);
  });

  test("says how many of all it has seen when SQS shows no more", async () => {
    await bury(manyLetters(12));
    await services.take(services.urls.deadLetterQueueUrl);
    assert.match((await dead()).stdout, /^2 dead letters in 2 groups: .* \(2 of about 12 were seen: SQS/);
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
    const other = await run(root, ["--stage", "dev"], env());
    assert.match(other.stderr, /^Cannot list: there is no stack larkpost-dev in/);
  });
});
