import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { failureLines } from "../../../lib/cli/start/failure.ts";
import { payloadText } from "../../../lib/cli/start/payloads.ts";

const root = process.platform === "win32" ? "C:\\shop" : "/shop";
const engineFolder = `${root}/node_modules/larkpost/lib`;
const handler = "functions/events/x.ts";
const url = (path: string) => pathToFileURL(`${root}/${path}`).href;

function shown(detail: readonly string[], source: string | undefined) {
  const sourceOf = (path: string) => (path === handler ? source : undefined);
  return failureLines(detail.join("\n"), { root, engineFolder, sourceOf }).map((line) => line.slice(10));
}

test("an error is shown with the project's own frames, and the first one's source with a caret", () => {
  const detail = [
    "HrDown: no route at all",
    "caused by Error: refused",
    `    at node:internal/timers:685:17`,
    `    at open (${url("node_modules/undici/index.js")}:1:2)`,
    `    at async hire (${url(handler)}:2:15)`,
    `    at async request (${url("node_modules/larkpost/lib/open-api/client.ts")}:3:4)`,
    `    at async Object.handle (${url("src/hr.ts")}:9:3)`,
    `    at Object.<anonymous> (${url("src/a.ts")}:1:2)`,
    `    at async ${url("src/b.ts")}:3:4`,
  ];
  assert.deepEqual(shown(detail, 'const a = 1;\n\tif (人 === "人") throw new HrDown();\n'), [
    "HrDown: no route at all",
    "caused by Error: refused",
    `at ${handler}:2:15  hire`,
    '2 │ if (人 === "人") throw new HrDown();',
    `  │ ${" ".repeat(15)}^`,
    "at src/hr.ts:9:3",
    "at src/a.ts:1:2",
    "at src/b.ts:3:4",
  ]);
});

test("a function has the name that its author gave it", () => {
  const names = {
    "onEvent.dedupe [as handle]": "",
    "async larkpost.onCallback.signedValues [as handle]": "",
    "async Object.handle": "",
    "Object.book [as handle]": "  book",
    "async Object.deferred": "  deferred",
    handle: "  handle",
    "Desk.open [as close]": "  Desk.open [as close]",
  };
  for (const [name, own] of Object.entries(names)) {
    const [, place] = shown(["Error: x", `    at ${name} (${url(handler)}:7:1)`], undefined);
    assert.equal(place, `at ${handler}:7:1${own}`);
  }
});

test("of a long line, what is around the caret is shown, without what could move the cursor", () => {
  const line = `${"x".repeat(100)}\u001b[2J${"y".repeat(100)}`;
  const [, , excerpt = "", caret = ""] = shown(["Error: x", `    at ${url(handler)}:1:90`], line);
  assert.ok(excerpt.length <= 80 && excerpt.includes("\\u001b"), excerpt);
  assert.equal(excerpt[caret.indexOf("^")], "x");
  // The caret moves until 16 columns are left behind it; then the line does.
  const caretAt = (column: number) => shown(["Error: x", `    at ${url(handler)}:1:${column}`], line)[3]?.indexOf("^");
  assert.deepEqual([caretAt(49), caretAt(50)], [52, 20]);
});

test("without a frame of the project, the engine's first is shown; without its source, no caret", () => {
  const engine = `    at claim (${url("node_modules/larkpost/lib/handling/claims.ts")}:3:4)`;
  const list = `    at im.chat.updated_v1 (${url("functions/events.gen.ts")}:9:36)`;
  assert.deepEqual(shown(["Error: x", list, engine], "\n".repeat(9)), ["Error: x"]);
  assert.deepEqual(shown(["Error: x", "    at claim (file:///engine/lib/claims.ts:3:4)"], undefined), [
    "Error: x",
    "at claim (file:///engine/lib/claims.ts:3:4)",
  ]);
  const late = "Error: Cannot answer with functions/callbacks/url.preview.get.ts: 2300 ms are over";
  assert.deepEqual(shown([late, "    at claim (file:///engine/lib/claims.ts:3:4)"], undefined), [late]);
  assert.deepEqual(shown(["Error: x", `    at ${url(handler)}:7:1`], undefined), ["Error: x", `at ${handler}:7:1`]);
});

test("a payload is shown with the digits of its numbers, and without its secrets", () => {
  const header = { event_id: "1", token: "the verification token" };
  const inner = JSON.stringify([{ password: "p", id: 17 }]).replace("17", "12345678901234567890");
  const content = JSON.stringify({ text: inner });
  const own = { plain: '{ "a": 1.0 }', broken: '{"token":' };
  const event = {
    token: "c-card",
    app_ticket: "t",
    action: { value: { order: 17 } },
    message_token: "",
    content,
    ...own,
  };
  const text = JSON.stringify({ header, encrypt: "x", event }).replace("17", "12345678901234567890");
  assert.deepEqual(payloadText(text).match(/"\w+": (?!\{$)[^\n]+/gm), [
    '"event_id": "1",',
    '"token": "(hidden)"',
    '"encrypt": "(hidden)",',
    '"token": "(hidden)",',
    '"app_ticket": "(hidden)",',
    '"order": 12345678901234567890',
    '"message_token": "",',
    `"content": ${JSON.stringify(content.replace('\\"p\\"', '\\"(hidden)\\"'))},`,
    `"plain": ${JSON.stringify(own.plain)},`,
    `"broken": ${JSON.stringify(own.broken)}`,
  ]);
});
