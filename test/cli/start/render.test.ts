import assert from "node:assert/strict";
import { test } from "node:test";
import { countsLine, headLine, nestedLine, welcome } from "../../../lib/cli/start/render.ts";

const now = new Date("2026-01-02T03:04:05");
const card = { level: "info", id: "click-1", type: "card.action.trigger", app: "cli_1", ms: 12, requestId: null };

for (const stage of ["handled", "late", "unhandled", "duplicate"]) {
  test(`says after how long a callback was answered: ${stage}`, () => {
    assert.equal(
      headLine({ ...card, stage }, { now, isCallback: true }),
      `03:04:05  ${stage.padEnd(11)}  card.action.trigger  click-1  answer after 12 ms`,
    );
  });
}

test("a stage on the way to an answer, or of an event, is told by its time alone", () => {
  for (const [stage, isCallback] of [
    ["deferred", true],
    ["handled", false],
  ] as const) {
    const line = headLine({ ...card, stage }, { now, isCallback });
    assert.equal(line, `03:04:05  ${stage.padEnd(11)}  card.action.trigger  click-1  12 ms`);
  }
});

test("tells the developer what was wrong with an answer", () => {
  const facts = { field: "toast.type", message: "Cannot answer card.action.trigger: toast.type is none of …" };
  const line = headLine({ ...card, stage: "failed", ...facts }, { now, isCallback: true });
  assert.match(
    line,
    /failed .* 12 ms {2}field toast\.type {2}Cannot answer card\.action\.trigger: toast\.type is none/,
  );
});

test("a refusal says what to check, unless a command has forged the push to see it refused", () => {
  const refused = { level: "warn", stage: "refused", ms: 1, reason: "signature", message: "Cannot verify. Check it" };
  const shown = (requestId: string) => headLine({ ...refused, requestId }, { now, isCallback: false });
  assert.match(shown("0a1b"), /refused {6}1 ms {2}reason signature {2}Cannot verify\. Check it$/);
  assert.match(
    shown("larkpost-probe-0a1b"),
    /reason signature {2}nothing to repair: .* doctor, smoke or deploy has forged it/,
  );
});

test("what to do is said where stage and reason tell it", () => {
  const cureOf = (stage: string, reason: string) =>
    headLine({ stage, reason }, { now, isCallback: false }).split(`reason ${reason}`)[1];
  assert.match(cureOf("disconnected", "discovery failed (ENOTFOUND)") ?? "", / {2}check the network, HTTPS_PROXY/);
  assert.match(
    cureOf("failed", "value-unsigned") ?? "",
    / {2}sign the value with signValue, or leave signedValues out/,
  );
  for (const reason of ["value-forged", "discovery failed (x)"]) assert.equal(cureOf("failed", reason), "");
  assert.equal(cureOf("disconnected", "the connection was closed (1006)"), "");
});

test("the time to the next attempt is told in words, and the class of an error whose lines follow is not repeated", () => {
  const failed = { ...card, stage: "failed", attempt: 2, delaySeconds: 9, errorClass: "HrDown", fingerprint: "0a" };
  const options = { now, isCallback: false };
  assert.match(headLine(failed, options), / 12 ms {2}attempt 2, again in 9 s, errorClass HrDown$/);
  assert.match(headLine(failed, { ...options, details: ["Error: x"] }), / 12 ms {2}attempt 2, again in 9 s$/);
});

test("an id of more than 20 characters is cut, and a line without facts ends with its id", () => {
  for (const [id, shown] of [
    ["12345678901234567890", "12345678901234567890"],
    ["123456789012345678901", "12345678…8901"],
  ]) {
    const line = headLine({ stage: "handled", type: "x", id }, { now, isCallback: false });
    assert.equal(line, `03:04:05  handled      x  ${shown}`);
  }
});

test("a line under an outcome has neither time nor type nor id", () => {
  const log = { ...card, stage: "log", ms: undefined, message: "A text arrived", characters: 24 };
  assert.equal(nestedLine(log, { isCallback: false }), "          log          A text arrived  characters 24");
});

test("counts name each outcome, and what the bot did", () => {
  const counts = new Map([
    ["handled", 95],
    ["failed", 2],
  ]);
  assert.equal(
    countsLine(counts, 1, now),
    "03:04:05  97 events    95 handled, 2 failed  the bot sent or changed 1 message",
  );
});

const started = {
  url: "http://127.0.0.1:3000/webhook",
  callbackUrl: "http://127.0.0.1:3000/callback",
  state: ".larkpost",
  openApi: "http://127.0.0.1:4000",
  hasLongConnection: false,
  deadLetters: 0,
  lanes: [],
  stateArgs: "",
};

test("says how many dead letters wait and what shows them, if there are any", () => {
  const none = { handlers: [], callbacks: [] };
  assert.doesNotMatch(welcome({ ...started, ...none }), /Dead letters/);
  assert.match(welcome({ ...started, ...none, deadLetters: 1 }), /\n {2}Dead letters {6}1 waits: npm run dead\n/);
  assert.match(welcome({ ...started, ...none, deadLetters: 12 }), /\n {2}Dead letters {6}12 wait: npm run dead\n/);
});

test("each command that it names finds the state", () => {
  const text = welcome({ ...started, handlers: [], callbacks: [], deadLetters: 1, stateArgs: " --state .two" });
  const commands = text
    .match(/npm run (?:chat|send|dead)\b.*/g)
    ?.map((command) => command.replace(/ -- .* --s/, " … --s"));
  assert.deepEqual(commands, [
    "npm run dead … --state .two",
    "npm run chat -- --state .two",
    "npm run send … --state .two",
    "npm run send … --state .two",
  ]);
});

test("names the lanes in a line, if there are any", () => {
  const none = { handlers: [], callbacks: [] };
  assert.doesNotMatch(welcome({ ...started, ...none }), /Lanes/);
  const text = welcome({ ...started, ...none, lanes: ["ai", "bulk"] });
  assert.match(text, /\n {2}Lanes {13}ai, bulk \(each with a queue and a worker of its own\)\n/);
});

test("names both addresses, what goes where in the console, and every handler", () => {
  const handlers = ["_default", "approval_instance", "contact.user.created_v3"];
  const callbacks = ["card.action.trigger_v1", "url.preview.get"];
  const text = welcome({ ...started, openApi: undefined, handlers, callbacks });
  for (const line of [
    /^ {2}Request address +http:\/\/127\.0\.0\.1:3000\/webhook$/m,
    /^ {2}Callback address +http:\/\/127\.0\.0\.1:3000\/callback$/m,
    /^ {2}Event configuration > Request URL +https:\/\/your-host\/webhook$/m,
    /^ {2}Callback configuration > Request URL +https:\/\/your-host\/callback$/m,
    /Handlers +events\/approval_instance\n +events\/contact\.user\.created_v3\n +callbacks\/card\.action\.trigger_v1\n +callbacks\/url\.preview\.get\n +events\/_default\.ts takes/,
    /npm run send -- contact\.user\.created_v3$/m,
    /npm run send -- url\.preview\.get$/m,
    /^ {2}Add a handler {5}npm run new -- im\.chat\.member\.bot\.added_v1$/m,
    /^Times in ms count from the request; in the worker, from when it got the event\.$/m,
  ]) {
    assert.match(text, line);
  }
});

test("fits a terminal of 80 columns, and suggests to look for types once all suggested ones have a handler", () => {
  const suggested = ["contact.user.created_v3", "im.chat.member.bot.added_v1", "im.message.reaction.created_v1"];
  const handlers = [...suggested, "im.message.receive_v1"];
  for (const openApi of [undefined, started.openApi]) {
    const text = welcome({ ...started, openApi, handlers, callbacks: [] });
    assert.deepEqual(
      text.split("\n").filter((line) => line.length > 80),
      [],
    );
    assert.match(text, /^ {2}Find other types {2}npm run types$/m);
  }
});

test("a project without handlers is told what becomes of events, and has something to send all the same", () => {
  const text = welcome({ ...started, handlers: [], callbacks: [] });
  assert.match(text, /Handlers +none yet; events are completed as unhandled/);
  assert.match(text, /npm run send -- im\.message\.receive_v1$/m);
  assert.match(text, /npm run send -- card\.action\.trigger$/m);
  assert.match(text, /^ {2}Add a handler {5}npm run new -- contact\.user\.created_v3$/m);
});

test("says where what handlers send goes, and offers to talk to the bot only where there is one to talk to", () => {
  const local = welcome({ ...started, handlers: [], callbacks: [] });
  assert.match(
    local,
    /^ {2}Open API +http:\/\/127\.0\.0\.1:4000\n +\(a simulated Feishu: what handlers send appears here\)$/m,
  );
  assert.match(local, /^ {2}Talk to the bot +npm run chat$/m);
  const real = welcome({ ...started, openApi: undefined, handlers: [], callbacks: [] });
  assert.match(real, /^ {2}Open API +the real platform: what handlers send is really sent$/m);
  assert.doesNotMatch(real, /npm run chat/);
});

test("advises only a way to a real app that works with the keys that are used", () => {
  const none = { handlers: [], callbacks: [] };
  const local = welcome({ ...started, ...none });
  assert.match(local, /^ {2}APP_ID=cli_… APP_SECRET=… npm start -- --long-connection$/m);
  assert.doesNotMatch(local, /tunnel/);
  const connected = welcome({ ...started, ...none, openApi: undefined, hasLongConnection: true });
  assert.doesNotMatch(connected, /tunnel|npm start/);
});
