import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type CardView, cardView } from "../../../lib/simulator/chat/card-view.ts";
import { textView } from "../../../lib/simulator/chat/message-view.ts";

const plain = (content: string) => ({ tag: "plain_text", content });
/** As a terminal receives it: in JSON, where a member that is `undefined` is absent. */
const view = (card: object): CardView => JSON.parse(JSON.stringify(cardView(JSON.stringify(card))));
const v1 = (...elements: object[]) => view({ elements });
const v2 = (...elements: object[]) => view({ schema: "2.0", body: { elements } });
const button = (rest: object) => ({ tag: "button", text: plain("Go"), ...rest });
const value = { order: 17 };

test("shows title, texts and columns of a card in their order", () => {
  const elements = [
    { tag: "div", text: { tag: "lark_md", content: "**a**" }, fields: [{ text: plain("b") }] },
    { tag: "column_set", columns: [{ tag: "column", elements: [{ tag: "markdown", content: "c" }] }] },
    { tag: "hr" },
    { tag: "note", elements: [plain("d")] },
    { tag: "img", alt: plain("a map") },
    { tag: "something_new" },
  ];
  const header = { title: plain("Pallet 17"), subtitle: plain("Dock 3") };
  const lines = ["Dock 3", "**a**", "b", "c", "———", "d", "[img: a map]", "[something_new]"];
  for (const card of [
    { header, elements },
    { header, i18n_elements: { zh_cn: elements } },
  ]) {
    assert.deepEqual(view(card), { title: "Pallet 17", lines, choices: [] });
  }
  assert.deepEqual(view({ schema: "2.0", header, body: { elements } }).lines, lines);
});

describe("what a button does", () => {
  const asks = (rest: object = {}) => ({ does: "callback", label: "Go", action: { tag: "button", ...rest } });
  const callback = { type: "callback", value };
  const open = { type: "open_url", default_url: "https://a.example/" };
  const cases: readonly { when: string; seen: readonly object[]; does: object }[] = [
    { when: "has a value", seen: v1({ tag: "action", actions: [button({ value })] }).choices, does: asks({ value }) },
    { when: "has a name", seen: v2(button({ value: "x", name: "n" })).choices, does: asks({ value: "x", name: "n" }) },
    { when: "calls back", seen: v2(button({ behaviors: [callback] })).choices, does: asks({ value }) },
    { when: "calls back and opens", seen: v2(button({ behaviors: [open, callback] })).choices, does: asks({ value }) },
    { when: "has nothing, in version 1.0", seen: v1(button({})).choices, does: asks() },
    {
      when: "has nothing, in version 2.0",
      seen: v2(button({})).choices,
      does: { does: "nothing", label: "Go", why: "it has no behaviors" },
    },
    {
      when: "is disabled",
      seen: v2(button({ behaviors: [callback], disabled: true })).choices,
      does: { does: "nothing", label: "Go", why: "disabled" },
    },
    {
      when: "submits a form",
      seen: v2({ tag: "form", elements: [button({ behaviors: [callback] })] }).choices,
      does: { does: "nothing", label: "Go", why: "forms cannot be filled in here" },
    },
    ...[
      v1(button({ url: "https://a.example/" })),
      v1(button({ multi_url: { url: "https://a.example/" } })),
      v2(button({ behaviors: [open] })),
    ].map(({ choices }) => ({
      when: "is a link",
      seen: choices,
      does: { does: "open", label: "Go", url: "https://a.example/" },
    })),
  ];
  for (const { when, seen, does } of cases) test(`when it ${when}`, () => assert.deepEqual(seen, [does]));
});

test("each option of a list is a choice", () => {
  const options = [
    { text: plain("One"), value: "1" },
    { text: plain("Two"), value: "2" },
  ];
  const select = { tag: "select_static", placeholder: plain("Dock"), value, options };
  const chosen = (label: string, option: string) => ({
    ...{ does: "callback", label, action: { tag: "select_static", value, option } },
  });
  const expected = [chosen("Dock: One", "1"), chosen("Dock: Two", "2")];
  assert.deepEqual(v1({ tag: "action", actions: [select] }).choices, expected);
  assert.deepEqual(v1({ tag: "div", text: plain("x"), extra: select }).choices, expected);
});

test("a stored card is shown by its id and its variables", () => {
  const data = { template_id: "AAq1", template_variable: { order: "17", list: [1] } };
  assert.deepEqual(view({ type: "template", data }), {
    ...{ title: "[template AAq1]", lines: ["order: 17", "list: [1]"], choices: [] },
  });
});

test("shows the words of messages", () => {
  const post = {
    zh_cn: {
      title: "T",
      content: [
        [
          { tag: "text", text: "a " },
          { tag: "a", text: "b", href: "https://b.example/" },
        ],
        [{ tag: "at", user_id: "ou_1", user_name: "Mei" }, { tag: "img" }],
      ],
    },
  };
  assert.equal(textView("text", '{"text":"<at user_id=\\"ou_1\\">Mei</at> hi"}'), "@Mei hi");
  assert.equal(textView("post", JSON.stringify(post)), "T\na b (https://b.example/)\n@Mei[img]");
  assert.equal(textView("image", '{"image_key":"img_1"}'), "[image img_1]");
  assert.equal(textView("text", "no JSON"), "");
});

test("shows some card, and some words, whatever the content is", () => {
  const names = ["tag", "text", "content", "elements", "actions", "value", "options", "toString", "i18n", "behaviors"];
  const tags = ["div", "action", "button", "select_static", "form", "markdown", "interactive_container", "at"];
  const anything = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom<unknown>(...tags, null, 1, true, ""),
      fc.array(tie("node"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...names), tie("node"), { maxKeys: 5 }),
    ),
  })).node;
  fc.assert(
    fc.property(anything, anything, (elements, header) => {
      const card = { schema: "2.0", header: { title: header }, body: { elements: [elements].flat() } };
      const { title, lines, choices } = view(card);
      const texts = [title, ...lines, ...choices.map(({ label }) => label)];
      assert.ok(texts.every((text) => typeof text === "string"));
      for (const type of ["text", "post", "file"]) {
        assert.equal(
          typeof textView(type, JSON.stringify({ text: elements, en_us: { content: [[header]] } })),
          "string",
        );
      }
    }),
    { numRuns: 300 },
  );
});
