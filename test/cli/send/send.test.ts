import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { keepRecent } from "../../../lib/cli/state/recent.ts";
import { fallback } from "../../../lib/handling/fallback.ts";
import { env, larkpost, larkpostProcess, secrets, startReceiver, temporaryRoot } from "../run.ts";

const type = "im.message.receive_v1";

/** A receiver, an empty project folder, and the command bound to both; all gone when the test ends. */
async function setUp(t: TestContext, options: Parameters<typeof startReceiver>[0] = {}) {
  const receiver = await startReceiver(options);
  const { root, remove } = temporaryRoot();
  t.after(async () => {
    await receiver.stop();
    remove();
  });
  const send = (...args: string[]) =>
    larkpost(["send", ...args], { root, env: { ...env, PORT: String(receiver.port) } });
  /** The same, in a process of its own. */
  const sendProcess = (...args: string[]) =>
    larkpostProcess(["send", ...args], { root, env: { ...env, PORT: String(receiver.port) } });
  return { receiver, root, send, sendProcess };
}

/** The messages' ids, as the handlers would see them. */
const messageIds = (events: readonly { event: object }[]) =>
  events.map(({ event }) => (event as { message: { message_id: string } }).message.message_id);

describe("send", { concurrency: 4 }, () => {
  test("pushes one event that the receiver verifies, and prints the answer", async (t) => {
    const { receiver, sendProcess } = await setUp(t);
    const { code, stdout, stderr } = await sendProcess(type);
    const [event] = receiver.events();
    assert.deepEqual([code, stderr, event?.type, receiver.received[0]?.path], [0, "", type, "/webhook"]);
    assert.match(stdout, new RegExp(`^200 in \\d+ ms  ${type}  id ${event?.id}  \\{\\}\n$`));
  });

  test("clicks on an old card, which a receiver takes only where it is switched on", async (t) => {
    const old = "card.action.trigger_v1";
    const body = JSON.stringify({ toast: { type: "info", content: "later" } });
    const on = await setUp(t, { oldCards: true, answer: () => ({ body }) });
    const { code, stdout } = await on.send(old, "--set", "action.value.order=18");
    const { path, envelope } = on.receiver.received[0] ?? assert.fail("nothing came");
    assert.ok(envelope?.kind === "callback", envelope?.kind);
    assert.deepEqual([code, path, envelope.type, envelope.schema], [0, "/callback", old, "1.0"]);
    assert.deepEqual(envelope.event["action"], {
      ...{ tag: "button", name: "Button_release", value: { order: "18", decision: "release" } },
    });
    assert.match(stdout, /toast info "later"/);

    const off = await setUp(t);
    const refused = await off.send(old);
    assert.equal(refused.code, 1);
    assert.match(refused.stdout, /\nRefused\. Check that LEGACY_CARD_CALLBACK is true at the receiver/);
    assert.equal(off.receiver.received[0]?.envelope, undefined);
  });

  const answers: readonly { says: string; type: string; body: object; shown: string }[] = [
    {
      says: "a toast",
      type: "card.action.trigger",
      body: { toast: { type: "info", content: "later" } },
      shown: 'toast info "later"',
    },
    {
      says: "a toast and a card",
      type: "card.action.trigger",
      body: { toast: { i18n: { zh_cn: "好" } }, card: { type: "template", data: { template_id: "AAq1" } } },
      shown: 'toast "好", card template',
    },
    {
      says: "a preview",
      type: "url.preview.get",
      body: { inline: { title: "Order 42" } },
      shown: 'preview "Order 42"',
    },
    { says: "nothing", type: "profile.view.get", body: {}, shown: "{}" },
    {
      says: "that the handler failed",
      type: "card.action.trigger",
      body: fallback("card.action.trigger", "failed"),
      shown: 'toast error "Something went wrong. Please try again later"\nThe receiver\'s log says why',
    },
  ];
  for (const { says, type: callback, body, shown } of answers) {
    test(`prints what the client shows of a callback's answer: ${says} (${callback})`, async (t) => {
      const { receiver, send } = await setUp(t, { answer: () => ({ body: JSON.stringify(body) }) });
      const { code, stdout } = await send(callback);
      assert.equal(code, 0);
      const [{ path } = { path: "" }] = receiver.received;
      assert.deepEqual([path, receiver.events()[0]?.kind], ["/callback", "callback"]);
      assert.match(stdout.replace(/\d+ ms {2}.*? {2}id [0-9a-f]{32} /, ""), new RegExp(`^200 in  ${shown}\n$`));
    });
  }

  for (const { callback, line, shown } of [
    {
      callback: "url.preview.get",
      line: { stage: "failed", message: "Cannot answer with it" },
      shown: "failed {7}url.preview.get {2}one {2}Cannot answer with it",
    },
    {
      callback: "card.action.trigger",
      line: { stage: "failed", reason: "value-unsigned" },
      shown:
        'failed {7}card.action.trigger {2}one {2}reason value-unsigned {2}sign .*\nOr click in "npm run chat", where a card has .*',
    },
  ]) {
    test(`prints why a callback has failed, if the local runtime's log says it: ${callback}`, async (t) => {
      const answer = () => {
        write(line);
        return { body: JSON.stringify(fallback(callback, "failed")) };
      };
      const { root, send } = await setUp(t, { answer });
      mkdirSync(join(root, ".larkpost"));
      const write = (line: object, id = "one") => {
        const kept = keepRecent(join(root, ".larkpost"), assert.fail);
        kept.line("callback", { level: "warn", type: callback, id, ...line });
        kept.close();
      };
      write({ stage: "failed" }, "two");
      const { stdout } = await send(callback, "--event-id", "one");
      assert.match(stdout, new RegExp(`^200 in .*\n[\\d:]{8} {2}${shown}\n$`));
    });
  }

  test("a callback's payload can be changed; --json gives its answer whole", async (t) => {
    const body = '{"toast":{"type":"info","content":"later"}}';
    const { receiver, send } = await setUp(t, { answer: () => ({ body }) });
    const { stdout } = await send("card.action.trigger", "--set", "event.action.value.order=18", "--json");
    const [callback] = receiver.events();
    assert.ok(callback);
    assert.equal((callback.event as { action: { value: { order: string } } }).action.value.order, "18");
    const [first = ""] = stdout.split("\n");
    const told = JSON.parse(first) as { body: string; view: unknown };
    assert.equal(told.body, body);
    assert.deepEqual(told.view, { isTaken: true, code: null, toast: { type: "info", text: "later" } });
  });

  const untaken: readonly { when: string; args?: string[]; status?: number; body: string; says: RegExp }[] = [
    {
      when: "is not JSON",
      body: "ok",
      says: / {2}ok {2}the client shows error 200672: the body is not a JSON object\n$/,
    },
    {
      when: "has a bad card",
      args: ["--repush", "--speed", "100000"],
      body: '{"card":{"type":"raw"}}',
      says: / {2}the client shows error 200673: "card.data" is/,
    },
    {
      when: "has another status",
      args: ["--repush", "--speed", "100000"],
      status: 503,
      body: "",
      says: / {2}the client shows error 200671: answered 503\nUnavailable\. The receiver.s log says why\n$/,
    },
  ];
  for (const { when, args = [], says, ...answer } of untaken) {
    test(`exits with 1 and the client's error when a callback's answer ${when}, and does not ask again`, async (t) => {
      const { receiver, send } = await setUp(t, { answer: () => answer });
      const { code, stdout } = await send("card.action.trigger", ...args);
      assert.equal(code, 1);
      assert.match(stdout, says);
      assert.equal(receiver.received.length, 1);
    });
  }

  test("--url takes events and callbacks alike", async (t) => {
    const { receiver, send } = await setUp(t);
    const url = `http://127.0.0.1:${receiver.port}/elsewhere`;
    for (const one of [type, "card.action.trigger"]) assert.equal((await send(one, "--url", url)).code, 0);
    assert.deepEqual(
      receiver.received.map(({ path }) => path),
      ["/elsewhere", "/elsewhere"],
    );
  });

  test("--repush pushes an event again until it is acknowledged", async (t) => {
    let n = 0;
    const { receiver, send } = await setUp(t, { answer: () => (++n < 3 ? { status: 503, body: "" } : {}) });
    const { code, stdout } = await send(type, "--repush", "--speed", "10000");
    assert.equal(code, 0);
    const steps = stdout.replaceAll(/ in \d+ ms.*(?=push)/g, " ").trimEnd();
    assert.deepEqual(steps.split("\n"), ["503 push 1, again in 15 s", "503 push 2, again in 5 min", "200 push 3"]);
    assert.equal(new Set(receiver.events().map(({ id }) => id)).size, 1);
    assert.equal(new Set(receiver.received.map(({ headers }) => headers["x-lark-signature"])).size, 3);
  });

  test("--repush gives up after five pushes, and names what is lost", async (t) => {
    const { receiver, send } = await setUp(t, {
      answer: ({ envelope }) => ({ status: envelope?.kind === "event" && envelope.id === "lost" ? 500 : 200 }),
    });
    const ladder = ["--repush", "--speed", "1000000"];
    const { code, stdout } = await send(type, "--event-id", "lost", ...ladder);
    assert.equal(code, 1);
    assert.match(stdout, /push 4, again in 6 h\n500 .* push 5, given up\n$/);
    assert.equal(receiver.received.length, 5);
    const { stdout: twice } = await send(type, "--event-id", "lost", "--times", "2", "--json", ...ladder);
    const summary = JSON.parse(twice.trimEnd().split("\n").at(-1) ?? "") as Record<string, unknown>;
    assert.deepEqual([summary["sent"], summary["messages"], summary["givenUp"]], [10, 2, ["lost", "lost"]]);
    assert.match(
      (await send(type, "--event-id", "lost", "--times", "2", ...ladder)).stdout,
      /\n2 given up: lost lost\n/,
    );
  });

  test("what an answer holds cannot move the cursor", async (t) => {
    const { send } = await setUp(t, { answer: () => ({ body: "a\u001b[2Jb\r\nc\u009bd\u202ee" }) });
    const { stdout } = await send(type);
    assert.match(stdout, /a\\u001b\[2Jb\\r c\ufffdd\ufffde\n$/);
  });

  for (const status of [204, 302, 503]) {
    test(`exits with 1 when the answer is ${status}`, async (t) => {
      const { receiver, send } = await setUp(t, { answer: () => ({ status, body: "" }) });
      const { code, stdout, stderr } = await send(type);
      assert.deepEqual([code, stderr], [1, ""]);
      assert.match(stdout, new RegExp(`^${status} in `));
      assert.equal(receiver.received.length, 1, "nothing is pushed again");
    });
  }

  test("--times sends as many events, pushes again after 15 s what was answered 503, and sums up", async (t) => {
    const pushed = new Set<string>();
    const { receiver, send } = await setUp(t, {
      answer({ envelope }) {
        const id = envelope?.kind === "event" ? envelope.id : "";
        const isFirst = !pushed.has(id);
        pushed.add(id);
        return { status: isFirst && pushed.size % 5 === 0 ? 503 : 200 };
      },
    });
    const { code, stdout, stderr } = await send(type, "--times", "20", "--speed", "1000");
    assert.deepEqual(
      [code, stderr],
      [0, "Warning: some were answered 503: they are pushed again after 15 s, as the platform does\n"],
    );
    assert.match(
      stdout,
      /^24 sent: 20 × 200, 4 × 503\n {2}answered 503\n {2}Unavailable\. .*\nack min \d+ ms, median .*, p99 .*, max /,
    );
    const events = receiver.events();
    assert.equal(new Set(events.map(({ id }) => id)).size, 20);
    assert.equal(new Set(messageIds(events)).size, 20);
  });

  test("--times pushes nothing again but what was answered 503, and that once", async (t) => {
    const { receiver, send } = await setUp(t, {
      answer: () => ({ status: receiver.received.length <= 2 ? 500 : 503 }),
    });
    assert.equal((await send(type, "--times", "2", "--speed", "1000")).code, 1);
    assert.equal(receiver.received.length, 2);
    assert.equal((await send(type, "--times", "2", "--speed", "1000")).code, 1);
    assert.equal(receiver.received.length, 6);
  });

  test("--event-id with --times pushes one event again and again, each push signed anew", async (t) => {
    const { receiver, send } = await setUp(t);
    assert.equal((await send(type, "--event-id", "x-1", "--times", "5", "--speed", "100")).code, 0);
    const events = receiver.events();
    assert.deepEqual([events.length, new Set(events.map(({ text }) => text)).size], [5, 1]);
    assert.equal(events[0]?.id, "x-1");
    assert.equal(new Set(receiver.received.map(({ headers }) => headers["x-lark-signature"])).size, 5);
    assert.equal((await send(type, "--event-id", "x-1")).code, 0);
    assert.equal(new Set(messageIds(receiver.events())).size, 1, "in another run it is still the same message");
  });

  test("--json prints a JSON object a push and a summary, and nothing else", async (t) => {
    const { send } = await setUp(t);
    const { code, stdout } = await send("not.in.the_catalogue_v1", "--json", "--times", "3");
    assert.equal(code, 0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(lines.length, 4);
    for (const line of lines.slice(0, 3)) {
      assert.deepEqual(
        { ...line, id: "", ms: 0 },
        { type: "not.in.the_catalogue_v1", id: "", status: 200, ms: 0, delivered: true, ok: true, body: "{}" },
      );
    }
    const { summary, sent, ok, statuses } = lines[3] ?? {};
    assert.deepEqual({ summary, sent, ok, statuses }, { summary: true, sent: 3, ok: 3, statuses: { "200": 3 } });
  });

  test("warns of a type that is not in the catalogue, and sends it all the same", async (t) => {
    const { receiver, send } = await setUp(t);
    const { code, stderr } = await send("im.message.recieve_v1");
    assert.equal(code, 0);
    assert.match(stderr, /^Warning: "im.message.recieve_v1" is not in the catalogue.*"im.message.receive_v1"/);
    assert.equal(receiver.events()[0]?.schema, "2.0");
  });

  test("--challenge succeeds when the challenge comes back, encrypted and unsigned", async (t) => {
    const { receiver, send } = await setUp(t);
    const { code, stdout } = await send("--challenge");
    assert.equal(code, 0);
    assert.match(stdout, /^200 in .*the challenge came back\n$/);
    assert.equal(receiver.received[0]?.headers["x-lark-signature"], undefined);
    assert.match(receiver.received[0]?.rawBody.toString() ?? "", /^\{"encrypt":"/);
  });

  test("--challenge fails when something else comes back", async (t) => {
    const { send } = await setUp(t, { answer: () => ({ body: '{"challenge":"another"}' }) });
    const { code, stdout } = await send("--challenge");
    assert.equal(code, 1);
    assert.match(stdout, /the challenge did not come back/);
  });

  test("--bad-signature succeeds when the receiver refuses with 401", async (t) => {
    const { send } = await setUp(t);
    const { code, stdout } = await send(type, "--bad-signature");
    assert.equal(code, 0);
    assert.match(stdout, /^401 in .*refused with 401, as it should be\n$/);
  });

  test("--bad-signature fails when the receiver takes it", async (t) => {
    const { send } = await setUp(t, { answer: () => ({ status: 200 }) });
    const { code, stdout } = await send(type, "--bad-signature");
    assert.equal(code, 1);
    assert.match(stdout, /answered 200 although the signature is wrong/);
  });

  test("--set changes the payload, and a text stays a text", async (t) => {
    const { receiver, send } = await setUp(t);
    const sets = ['event.message.content={"text":"hi"}', "event.message.chat_type=p2p", "event.extra=[1]"];
    assert.equal((await send(type, ...sets.flatMap((set) => ["--set", set]))).code, 0);
    const [first] = receiver.events();
    const event = first?.event as { message: Record<string, unknown>; extra: unknown };
    assert.equal(event.message["content"], '{"text":"hi"}');
    assert.equal(event.message["chat_type"], "p2p");
    assert.deepEqual(event.extra, [1]);
    const { code, stderr } = await send(type, "--set", "event.mesage.content=1", "--times", "2");
    assert.deepEqual(
      [code, stderr],
      [0, "Warning: the payload has no event.mesage, so it is added. Did you mean event.message?\n"],
    );
    assert.deepEqual(receiver.events().at(-1)?.event["mesage"], { content: 1 });
  });

  test("--file sends what was recorded elsewhere as the receiver's own, with whole numbers; --keep leaves its id", async (t) => {
    const { receiver, root, send } = await setUp(t);
    const file = join(root, "payload.json");
    const header = { event_id: "kept", event_type: type, token: "of another app", app_id: "cli_another" };
    writeFileSync(file, `{"schema":"2.0","header":${JSON.stringify(header)},"event":{"big":7123456789012345678}}`);
    const sent = await send(type, "--file", file);
    assert.deepEqual([sent.code, sent.stderr], [0, ""]);
    const [event] = receiver.events();
    assert.match(event?.id ?? "", /^[0-9a-f]{32}$/);
    assert.equal(event?.app, secrets.appId);
    assert.match(event?.text ?? "", /"big":7123456789012345678/);

    const kept = await send("--file", file, "--keep");
    assert.equal(kept.code, 1);
    assert.match(
      kept.stderr,
      /^Warning: .* names the app "cli_another", but the receiver's is .*it will be refused\n$/,
    );
    writeFileSync(file, JSON.stringify({ schema: "2.0", header: { ...header, app_id: secrets.appId }, event: {} }));
    assert.equal((await send("--file", file, "--keep")).code, 0);
    const last = receiver.received.at(-1)?.envelope;
    assert.equal(last?.kind === "event" && last.id, "kept");

    const other = await send("approval_instance", "--file", file);
    assert.deepEqual(
      [other.code, other.stderr],
      [2, `Cannot send ${file} as "approval_instance": it holds "${type}"\n`],
    );
  });

  test("--file with an event alone puts it in an envelope of the given type", async (t) => {
    const { receiver, root, send } = await setUp(t);
    const file = join(root, "event.json");
    // As PowerShell 5 writes it.
    writeFileSync(file, '\ufeff{"instance_code":"I-1"}', "utf16le");
    assert.equal((await send("approval_instance", "--file", file)).code, 0);
    const [event] = receiver.events();
    assert.deepEqual([event?.schema, event?.type], ["1.0", "approval_instance"]);
    assert.equal(event?.event["instance_code"], "I-1");
    assert.equal(event.event["app_id"], secrets.appId);
  });

  test("what the receiver quarantines is not called delivered", async (t) => {
    const { root, send } = await setUp(t, { answer: () => ({ status: 200 }) });
    const file = join(root, "unreadable.json");
    writeFileSync(file, JSON.stringify({ schema: "2.0", header: { event_type: type } }));
    const { code, stdout, stderr } = await send("--file", file, "--repush");
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^Warning: this is not an envelope that Larkpost can read \(event\): it will be quarantined\n$/,
    );
    assert.match(stdout, /^200 in \d+ ms {2}unreadable .*quarantined, and not delivered: no handler gets it/);
    const [line = ""] = (await send("--file", file, "--json")).stdout.split("\n");
    assert.deepEqual([JSON.parse(line).delivered, JSON.parse(line).ok], [false, false]);
  });

  test("an old card's body from a file is pushed as it is, without an envelope", async (t) => {
    const { receiver, root, send } = await setUp(t, { oldCards: true, answer: () => ({ body: "{}" }) });
    const file = join(root, "card.json");
    writeFileSync(
      file,
      JSON.stringify({ open_message_id: "om_1", token: "c-1", action: { tag: "button", value: {} } }),
    );
    assert.equal((await send("--file", file)).code, 0);
    const { envelope } = receiver.received[0] ?? assert.fail("nothing came");
    assert.ok(envelope?.kind === "callback", envelope?.kind);
    assert.deepEqual([envelope.type, envelope.event["open_message_id"]], ["card.action.trigger_v1", "om_1"]);
    assert.notEqual(envelope.event["token"], "c-1");
  });

  const misuse: readonly { when: string; args: string[]; says: RegExp }[] = [
    { when: "no type is given", args: [], says: /^Cannot send: no type was given/ },
    { when: "an option is unknown", args: [type, "--bogus"], says: /unknown option '--bogus'/ },
    { when: "there is a word too many", args: [type, "x"], says: /too many arguments/ },
    { when: "--times is no number", args: [type, "--times", "x"], says: /^Cannot send "x" times/ },
    { when: "--set has no =", args: [type, "--set", "event"], says: /^Cannot set "event"/ },
    { when: "--set reaches for a prototype", args: [type, "--set", "event.__proto__.x=1"], says: /"__proto__" is not/ },
    { when: "--file is not there", args: ["--file", "/nowhere.json"], says: /there is no such file/ },
    { when: "--url is no URL", args: [type, "--url", "localhost"], says: /^Cannot send to "localhost"/ },
    { when: "--challenge has a type", args: [type, "--challenge"], says: /^Cannot send a challenge/ },
    {
      when: "--speed has no --repush",
      args: [type, "--speed", "10"],
      says: /^Cannot wait shorter: --speed goes with --repush or/,
    },
    { when: "--keep has no --file", args: [type, "--keep"], says: /^Cannot keep anything: --keep goes with --file/ },
    { when: "--speed is 0", args: [type, "--repush", "--speed", "0"], says: /^Cannot wait "0" times shorter/ },
    { when: "a forged push is to climb", args: [type, "--repush", "--bad-signature"], says: /^Cannot push a forged/ },
    {
      when: "an old card has no action",
      args: ["card.action.trigger_v1", "--set", "action=1"],
      says: /it has no action/,
    },
  ];
  for (const { when, args, says } of misuse) {
    test(`exits with 2 and pushes nothing when ${when}`, async (t) => {
      const { receiver, send } = await setUp(t);
      const { code, stdout, stderr } = await send(...args);
      assert.deepEqual([code, stdout], [2, ""]);
      assert.match(stderr, says);
      assert.equal(receiver.received.length, 0);
    });
  }

  test("says plainly that PORT is none, or that nothing listens", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    for (const PORT of ["65536", "x1", "1x"]) {
      const { code, stderr } = await larkpost(["send", type], { root, env: { ...env, PORT } });
      const says = `Cannot send: the port "${PORT}" is not a number from 1 to 65535. Check PORT\n`;
      assert.deepEqual([code, stderr], [1, says]);
    }
    const last = await larkpost(["send", type], { root, env: { ...env, PORT: "65535" } });
    assert.match(last.stderr, /^Cannot reach http:\/\/127\.0\.0\.1:65535\/webhook: /);
    const other = "http://127.0.0.1:1/hook";
    const simulated = temporaryRoot({ pushTo: other, ...secrets });
    t.after(simulated.remove);
    for (const [args, given] of [
      [[], '--push-to of "npm run simulate"'],
      [["--url", other], "--url"],
    ] as const) {
      const { stderr } = await larkpost(["send", type, ...args], { root: simulated.root });
      const says = `Cannot reach ${other}: connection refused. Start the receiver there, or check ${given}\n`;
      assert.equal(stderr, says);
    }
    const { code, stdout, stderr } = await larkpost(["send", type, "--times", "100"], {
      root,
      env: { ...env, PORT: "1" },
    });
    assert.equal(code, 1);
    assert.match(stdout, /^\d+ sent: \d+ × no answer\n/);
    assert.equal(
      stderr,
      'Cannot reach http://127.0.0.1:1/webhook: connection refused. Start the runtime with "npm start" in another terminal\n',
    );
  });

  test("takes address and keys from the running local runtime", async (t) => {
    const receiver = await startReceiver();
    const { root, remove } = temporaryRoot({ url: receiver.url, ...secrets });
    t.after(async () => {
      await receiver.stop();
      remove();
    });
    assert.equal((await larkpost(["send", type], { root })).code, 0);
    const other = await larkpost(["send", type], { root, env: { ENCRYPT_KEY: "the environment comes first" } });
    assert.equal(other.code, 1);
    assert.match(other.stdout, /^401 in .*\nRefused\. Check that ENCRYPT_KEY/);
    assert.deepEqual(
      receiver.received.map(({ envelope }) => envelope?.kind),
      ["event", undefined],
    );
  });

  test("sends plain text to a runtime without an Encrypt Key, and has no signature to spoil", async (t) => {
    const receiver = await startReceiver({ isPlain: true });
    const { root, remove } = temporaryRoot({ url: receiver.url, ...secrets, encryptKey: null });
    t.after(async () => {
      await receiver.stop();
      remove();
    });
    assert.equal((await larkpost(["send", type], { root })).code, 0);
    assert.equal(receiver.received[0]?.headers["x-lark-signature"], undefined);
    assert.equal((await larkpost(["send", type, "--bad-signature"], { root })).code, 2);
    assert.equal(receiver.received.length, 1);
  });

  for (const [when, local] of [
    ["there are no keys", undefined],
    ["the runtime's file is broken", `{"encryptKey":"${secrets.encryptKey}",`],
    ["npm start was given its keys", { url: "http://127.0.0.1:9/webhook" }],
  ] as const) {
    test(`exits with 1 when ${when}, and prints none`, async (t) => {
      const { root, remove } = temporaryRoot(local);
      t.after(remove);
      const { code, stdout, stderr } = await larkpost(["send", type], { root });
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /npm start/);
      if (local === undefined) assert.match(stderr, /ENCRYPT_KEY, VERIFICATION_TOKEN, APP_ID are not set/);
      else assert.ok(!stderr.includes(secrets.encryptKey));
      assert.equal(/Put those that npm start was given into \.env/.test(stderr), typeof local === "object");
    });
  }
});
