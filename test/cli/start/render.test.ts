import assert from "node:assert/strict";
import { test } from "node:test";
import { humanLine, welcome } from "../../../lib/cli/start/render.ts";

const now = new Date("2026-01-02T03:04:05");
const card = { level: "info", id: "click-1", type: "card.action.trigger", app: "cli_1", ms: 12, requestId: null };

for (const stage of ["handled", "late", "unhandled", "duplicate"]) {
  test(`says after how long a callback was answered: ${stage}`, () => {
    assert.equal(
      humanLine({ ...card, stage }, undefined, { now, isCallback: true }),
      `03:04:05  ${stage.padEnd(11)}  card.action.trigger  click-1  answer after 12 ms`,
    );
  });
}

test("a stage on the way to an answer, or of an event, is told by its time alone", () => {
  for (const [stage, isCallback] of [
    ["deferred", true],
    ["handled", false],
  ] as const) {
    const line = humanLine({ ...card, stage }, undefined, { now, isCallback });
    assert.equal(line, `03:04:05  ${stage.padEnd(11)}  card.action.trigger  click-1  12 ms`);
  }
});

test("tells the developer what was wrong with an answer, and where", () => {
  const facts = { field: "toast.type", message: "Cannot answer card.action.trigger: toast.type is none of …" };
  const line = humanLine({ ...card, stage: "failed", ...facts }, "TypeError: x\n    at handler.ts:3", {
    now,
    isCallback: true,
  });
  assert.match(
    line,
    /failed .* 12 ms {2}field toast\.type {2}Cannot answer card\.action\.trigger: toast\.type is none/,
  );
  assert.match(line, /\n +TypeError: x\n +at handler\.ts:3$/);
});

const started = {
  url: "http://127.0.0.1:3000/webhook",
  callbackUrl: "http://127.0.0.1:3000/callback",
  state: ".larkpost",
  openApi: "http://127.0.0.1:4000",
  hasLongConnection: false,
};

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
    /^ {2}Find other types {2}npm run types -- message$/m,
  ]) {
    assert.match(text, line);
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
    /^ {2}Open API +http:\/\/127\.0\.0\.1:4000 \(a simulated Feishu: what handlers send appears here\)$/m,
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
