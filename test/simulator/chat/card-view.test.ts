import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Field, FieldError, fieldOf, hintOf, readField } from "../../../lib/simulator/chat/card-fields.ts";
import { type CardView, cardView } from "../../../lib/simulator/chat/card-view.ts";
import { textView } from "../../../lib/simulator/chat/message-view.ts";
import { mei, tomas } from "../../../lib/simulator/samples/facts.ts";

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
      seen: v2({ tag: "form", elements: [button({ behaviors: [callback], form_action_type: "submit" })] }).choices,
      does: { ...asks({ value }), asks: [], isSubmit: true },
    },
    {
      when: "is in a form, and calls back",
      seen: v2({ tag: "form", elements: [button({ behaviors: [callback] })] }).choices,
      does: asks({ value }),
    },
    {
      when: "empties a form",
      seen: v2({ tag: "form", elements: [button({ action_type: "form_reset" })] }).choices,
      does: { does: "nothing", label: "Go", why: "it empties the form" },
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

const docks = [
  { text: plain("North"), value: "n" },
  { text: plain("South"), value: "s" },
];
const fields: readonly {
  element: object;
  line: string;
  hint: string;
  reads: [typed: string, value: unknown][];
  refuses?: string[];
}[] = [
  {
    element: { tag: "input", name: "note", label: plain("Note"), placeholder: plain("why"), max_length: 5 },
    ...{ line: "Note: ____", hint: "may be empty" },
    reads: [
      ["late", "late"],
      ["", ""],
    ],
    refuses: ["too long"],
  },
  {
    element: { tag: "input", name: "note", required: true },
    ...{ line: "note *: ____", hint: "required", reads: [["x", "x"]], refuses: [""] },
  },
  {
    element: { tag: "date_picker", name: "day", placeholder: plain("Day"), initial_date: "2026-11-28" },
    ...{ line: "Day: ____", hint: 'like 2026-11-29; empty for "2026-11-28 +0800"' },
    reads: [
      ["2026-12-01", "2026-12-01 +0800"],
      ["", "2026-11-28 +0800"],
    ],
    refuses: ["tomorrow", "2026-13-01", "2026-12-32"],
  },
  {
    element: { tag: "picker_time", name: "at" },
    ...{
      line: "at: ____",
      hint: "like 17:30; may be empty",
      reads: [
        ["07:05", "07:05 +0800"],
        ["", undefined],
      ],
    },
    refuses: ["7:05", "24:00"],
  },
  {
    element: { tag: "picker_datetime", name: "at", required: true },
    ...{ line: "at *: ____", hint: "like 2026-11-29 17:30; required" },
    reads: [["2026-12-01 07:05", "2026-12-01 07:05 +0800"]],
    refuses: ["2026-12-01", ""],
  },
  {
    element: { tag: "select_static", name: "dock", placeholder: plain("Dock"), options: docks },
    ...{ line: "Dock: ____", hint: "1 North, 2 South; may be empty" },
    reads: [
      ["2", "s"],
      ["north", "n"],
      ["s", "s"],
    ],
    refuses: ["3", "0", "west"],
  },
  {
    element: { tag: "multi_select_static", name: "docks", options: docks, selected_values: ["n"] },
    ...{ line: "docks: ____", hint: '1 North, 2 South; several with commas between them; empty for ["n"]' },
    reads: [
      ["1, South", ["n", "s"]],
      ["", ["n"]],
    ],
    refuses: ["1, 9"],
  },
  {
    element: { tag: "select_person", name: "who" },
    ...{ line: "who: ____", hint: "1 Mei Okafor, 2 Tomas Reyes; may be empty" },
    reads: [
      ["tomas reyes", tomas.open_id],
      ["1", mei.open_id],
    ],
  },
  {
    element: { tag: "multi_select_person", name: "who", options: [{ value: tomas.open_id }, { value: "ou_1" }] },
    ...{ line: "who: ____", hint: "1 Tomas Reyes, 2 ou_1; several with commas between them; may be empty" },
    reads: [["1,2", [tomas.open_id, "ou_1"]]],
  },
  {
    element: { tag: "select_img", name: "pic", multi_select: true, options: [{ img_key: "img_1", value: "a" }] },
    ...{ line: "pic: ____", hint: "1 a; several with commas between them; may be empty", reads: [["1", ["a"]]] },
  },
  {
    element: { tag: "checker", name: "done", text: plain("Done"), checked: true },
    ...{
      line: "☐ Done",
      hint: "yes or no; empty for true",
      reads: [
        ["no", false],
        ["", true],
      ],
      refuses: ["maybe"],
    },
  },
];
for (const { element, line, hint, reads, refuses = [] } of fields) {
  test(`a form asks for ${JSON.stringify(element)}, and reads what is typed`, () => {
    const submit = button({ form_action_type: "submit", name: "go" });
    const { lines, choices } = v2({ tag: "form", name: "f", elements: [submit, element] });
    const field = fieldOf(element as Record<string, unknown>) as Field;
    assert.deepEqual(lines, [line]);
    assert.deepEqual(choices, [
      {
        ...{ does: "callback", label: "Go", action: { tag: "button", name: "go" } },
        asks: [JSON.parse(JSON.stringify(field))],
        isSubmit: true,
      },
    ]);
    assert.equal(hintOf(field), hint);
    for (const [typed, value] of reads) assert.deepEqual(readField(field, typed), value, typed);
    for (const typed of refuses) assert.throws(() => readField(field, typed), FieldError, typed);
  });
}

test("outside of a form, each field is a choice, and one that is disabled is none", () => {
  const { choices } = v2(
    { tag: "input", label: plain("Note"), behaviors: [{ type: "callback", value }] },
    { tag: "checker", text: plain("Done"), name: "c" },
    { tag: "date_picker", disabled: true },
    { tag: "overflow", options: [{ text: plain("More"), value: "m" }] },
  );
  assert.deepEqual(
    choices.map((choice) => ({ ...choice, asks: undefined })),
    [
      { does: "callback", label: "Note …", action: { tag: "input", value }, asks: undefined },
      { does: "callback", label: "☐ Done", action: { tag: "checker", name: "c", checked: true }, asks: undefined },
      { does: "nothing", label: "date_picker", why: "disabled", asks: undefined },
      { does: "callback", label: "…: More", action: { tag: "overflow", option: "m" }, asks: undefined },
    ],
  );
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
  const content = `<at id=${mei.open_id}></at> <at id=ou_1></at>`;
  assert.deepEqual(v2({ tag: "markdown", content }).lines, ["@Mei Okafor @ou_1"]);
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
