import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { answerLimitBytes, answerLimitDepth, checkAnswer } from "../../lib/feishu/answers.ts";
import { callbackTypes } from "../../lib/feishu/classify.ts";
import { rawCard, templateCard } from "../../lib/handler.ts";

const card = "card.action.trigger";
const preview = "url.preview.get";
const oldCard = "card.action.trigger_v1";

/** The member at fault; what was right fails the test. */
function faultOf(type: string, returned: unknown): string {
  const checked = checkAnswer(type, returned);
  assert.ok("fault" in checked, `it was taken: ${JSON.stringify(checked)}`);
  assert.ok(checked.fault.found !== "");
  return checked.fault.field;
}

const v2 = {
  schema: "2.0",
  config: { update_multi: true },
  body: { elements: [{ tag: "markdown", content: "\u4f60\u597d \u{1f44b}" }] },
};
const v1 = { config: { wide_screen_mode: true }, header: {}, elements: [{ tag: "div" }] };

const right: [type: string, what: string, answer: unknown][] = [
  ...[card, preview, oldCard, "profile.view.get"].map((type): [string, string, unknown] => [
    type,
    "an empty object",
    {},
  ]),
  ...["info", "success", "error", "warning"].map((type): [string, string, unknown] => [
    card,
    `a toast of type ${type}`,
    { toast: { type, content: "Released" } },
  ]),
  [card, "an empty toast", { toast: {} }],
  [card, "a toast without a type", { toast: { content: "Released" } }],
  [card, "a toast of translations only", { toast: { i18n: { en_us: "Released", zh_cn: "\u5df2\u653e\u884c" } } }],
  [card, "a card of version 2.0", { card: rawCard(v2) }],
  [card, "a card of version 1.0", { card: rawCard(v1) }],
  [card, "a card that says that it is of version 1.0", { card: rawCard({ schema: "1.0", ...v1 }) }],
  [card, "a card without elements", { card: rawCard({}) }],
  [card, "a card in several languages", { card: rawCard({ i18n_elements: { zh_cn: [] } }) }],
  [card, "a template", { card: templateCard("AAq1") }],
  [
    card,
    "a template with a version and variables",
    {
      card: {
        type: "template",
        data: { template_id: "AAq1", template_version_name: "1.0.2", template_variable: { n: 3 } },
      },
    },
  ],
  [card, "a toast and a card", { toast: { type: "success" }, card: rawCard(v2) }],
  [card, "members that nobody has told us of", { toast: { content: "x", new: 1 }, newer: [1] }],
  [preview, "a title", { inline: { title: "Order 17" } }],
  [
    preview,
    "a title in several languages, an image and addresses",
    {
      inline: {
        i18n_title: { en_us: "Order" },
        image_key: "img_v3_1",
        url: { copy_url: "https://e.example/", ios: "https://e.example/i" },
      },
    },
  ],
  [preview, "a title and a card", { inline: { title: "Order 17" }, card: templateCard("AAq1", { order: "17" }) }],
  [card, "members whose names only contain a card's", { "x-header": {}, headers: {} }],
  [card, "a card of version 2.0 without elements", { card: rawCard({ schema: "2.0", body: {} }) }],
  [oldCard, "a whole card", v1],
  [
    oldCard,
    "a whole card in several languages, with a link",
    { i18n_elements: { zh_cn: [] }, card_link: { url: "https://e.example/" } },
  ],
  [oldCard, "a template", { type: "template", data: { template_id: "AAq1", template_variable: {} } }],
  [oldCard, "a toast", { toast: { type: "warning", content: "Late" } }],
  [oldCard, "a card and a toast", { ...v1, toast: { content: "x" } }],
  ["profile.view.get", "anything, since nothing is published", { toast: 5, card: "x", elements: [] }],
];

const written = (answer: unknown) => ({ answer, json: JSON.stringify(answer) });

describe("an answer is sent as it was returned:", () => {
  for (const [type, what, answer] of right) {
    test(`${type}: ${what}`, () => assert.deepEqual(checkAnswer(type, answer), written(answer)));
  }

  for (const nothing of [undefined, null]) {
    test(`${nothing} is an empty object`, () => {
      for (const type of [...callbackTypes, "another"]) assert.deepEqual(checkAnswer(type, nothing), written({}));
    });
  }

  test("as JSON has it: what cannot be in JSON is left out, and what has a spelling there gets it", () => {
    class Toast {
      readonly type = "success";
      readonly #hidden = 1;
      get content() {
        return `not its own ${this.#hidden}`;
      }
    }
    const answers: [returned: unknown, sent: object][] = [
      [{ toast: undefined, card: undefined }, {}],
      [{ toast: { content: "x", i18n: undefined }, after: () => {} }, { toast: { content: "x" } }],
      [{ [Symbol("toast")]: 1, toast: {} }, { toast: {} }],
      [Object.create(null), {}],
      [Object.create({ toast: { type: "danger" } }), {}],
      [{ toast: new Toast() }, { toast: { type: "success" } }],
      [{ toJSON: () => ({ toast: { type: "info" } }) }, { toast: { type: "info" } }],
      [new Map([["toast", { type: "danger" }]]), {}],
      [{ toast: new Map() }, { toast: {} }],
      [{ toast: { content: new Date(0) } }, { toast: { content: "1970-01-01T00:00:00.000Z" } }],
      [{ toast: { content: Object("x") } }, { toast: { content: "x" } }],
      [Promise.resolve(5), {}],
    ];
    for (const [returned, sent] of answers) assert.deepEqual(checkAnswer(card, returned), written(sent));
    const own = checkAnswer(card, JSON.parse('{"__proto__":{"toast":5},"constructor":1}'));
    const ownText = '{"__proto__":{"toast":5},"constructor":1}';
    assert.ok("answer" in own && JSON.stringify(own.answer) === ownText && own.json === ownText);
  });
});

const wrong: [type: string, what: string, answer: unknown, field: string][] = [
  [card, "a raw card without its member", rawCard(v2), "type"],
  [card, "a template without its member", templateCard("AAq1"), "type"],
  [card, "a card's data without its member", { toast: {}, data: v2 }, "data"],
  [preview, "a template without its member", templateCard("AAq1"), "type"],
  [preview, "a title without its member", { title: "Order 17" }, "title"],
  [
    card,
    "elements of version 2.0 in no list",
    { card: rawCard({ schema: "2.0", body: { elements: {} } }) },
    "card.data.body.elements",
  ],
  [oldCard, "a raw card as for the new callback", rawCard(v1), "type"],
  [card, "a type of toast that is none", { toast: { type: "danger", content: "x" } }, "toast.type"],
  [card, "a type in capitals", { toast: { type: "Success" } }, "toast.type"],
  [card, "an inherited name for a type", { toast: { type: "constructor" } }, "toast.type"],
  [card, "a number for a type", { toast: { type: 1 } }, "toast.type"],
  [card, "null for a type", { toast: { type: null } }, "toast.type"],
  [card, "an empty type", { toast: { type: "" } }, "toast.type"],
  [card, "a text for a toast", { toast: "x" }, "toast"],
  [card, "null for a toast", { toast: null }, "toast"],
  [card, "a list for a toast", { toast: [{ content: "x" }] }, "toast"],
  [card, "a number for a text", { toast: { content: 5 } }, "toast.content"],
  [card, "NaN for a text", { toast: { content: Number.NaN } }, "toast.content"],
  [card, "an object for a text", { toast: { content: { zh_cn: "x" } } }, "toast.content"],
  [card, "a text for translations", { toast: { i18n: "x" } }, "toast.i18n"],
  [card, "a list of translations", { toast: { i18n: ["x"] } }, "toast.i18n"],
  [card, "a number among translations", { toast: { i18n: { en_us: "x", zh_cn: 5 } } }, "toast.i18n.zh_cn"],
  [card, "a text for a card", { card: "{}" }, "card"],
  [card, "null for a card", { card: null }, "card"],
  [card, "a list for a card", { card: [] }, "card"],
  [card, "a card without a type", { card: { data: {} } }, "card.type"],
  [card, "a card of another type", { card: { type: "card_json", data: {} } }, "card.type"],
  [card, "a card without data", { card: { type: "raw" } }, "card.data"],
  [card, "a card in a text", { card: { type: "raw", data: JSON.stringify(v2) } }, "card.data"],
  [card, "a list for a card's data", { card: { type: "raw", data: [] } }, "card.data"],
  [card, "a template without data", { card: { type: "template" } }, "card.data"],
  [
    card,
    "a template without its id",
    { card: { type: "template", data: { template_variable: {} } } },
    "card.data.template_id",
  ],
  [
    card,
    "a template with an empty id",
    { card: { type: "template", data: { template_id: "" } } },
    "card.data.template_id",
  ],
  [
    card,
    "a template with a number for an id",
    { card: { type: "template", data: { template_id: 5 } } },
    "card.data.template_id",
  ],
  [
    card,
    "a list of variables",
    { card: { type: "template", data: { template_id: "x", template_variable: [] } } },
    "card.data.template_variable",
  ],
  [
    card,
    "a number for a template's version",
    { card: { type: "template", data: { template_id: "x", template_version_name: 1 } } },
    "card.data.template_version_name",
  ],
  [card, "a card of version 3.0", { card: rawCard({ schema: "3.0" }) }, "card.data.schema"],
  [card, "a version that is a number", { card: rawCard({ schema: 2 }) }, "card.data.schema"],
  [
    card,
    "elements where version 1.0 has them, in 2.0",
    { card: rawCard({ schema: "2.0", elements: [] }) },
    "card.data.elements",
  ],
  [card, "a list for a body", { card: rawCard({ schema: "2.0", body: [] }) }, "card.data.body"],
  [card, "a body without a version", { card: rawCard({ body: {} }) }, "card.data.body"],
  [card, "an object of elements", { card: rawCard({ elements: {} }) }, "card.data.elements"],
  [card, "a bare card of version 2.0", v2, "schema"],
  [card, "a bare card of version 1.0", v1, "config"],
  [card, "a bare list of elements", { elements: [] }, "elements"],
  [card, "a bare body", { body: {} }, "body"],
  [card, "a bare header", { header: {} }, "header"],
  [card, "a bare link", { card_link: {} }, "card_link"],
  [card, "bare elements in several languages", { i18n_elements: {} }, "i18n_elements"],
  [card, "a bare card beside a toast", { toast: { content: "x" }, elements: [] }, "elements"],
  [preview, "a text for a title's object", { inline: "t" }, "inline"],
  [preview, "null for it", { inline: null }, "inline"],
  [preview, "a number for a title", { inline: { title: 5 } }, "inline.title"],
  [preview, "a text for translations", { inline: { i18n_title: "t" } }, "inline.i18n_title"],
  [preview, "a number among translations", { inline: { i18n_title: { zh_cn: 5 } } }, "inline.i18n_title.zh_cn"],
  [preview, "a number for an image", { inline: { image_key: 5 } }, "inline.image_key"],
  [preview, "a text for the addresses", { inline: { url: "https://e.example/" } }, "inline.url"],
  [preview, "a number among the addresses", { inline: { url: { pc: 5 } } }, "inline.url.pc"],
  [preview, "a template without its id", { card: { type: "template", data: {} } }, "card.data.template_id"],
  [preview, "a bare card", v2, "schema"],
  [oldCard, "a card of version 2.0", v2, "schema"],
  [oldCard, "a version that is none", { schema: "x" }, "schema"],
  [oldCard, "a body", { body: {} }, "body"],
  [oldCard, "an object of elements", { elements: {} }, "elements"],
  [oldCard, "a template without data", { type: "template" }, "data"],
  [oldCard, "a template without its id", { type: "template", data: {} }, "data.template_id"],
  [oldCard, "the new callback's card", { card: rawCard(v1) }, "card"],
  [oldCard, "a type of toast that is none", { toast: { type: "danger" } }, "toast.type"],
];

/** Nests `depth` times, itself included. */
function nested(depth: number, make: (inner: unknown) => unknown = (inner) => [inner]): unknown {
  let value: unknown = {};
  for (let level = 1; level < depth; level++) value = make(value);
  return value;
}

describe("an answer is not sent, and the member at fault is named:", () => {
  for (const [type, what, answer, field] of wrong) {
    test(`${type}: ${what}`, () => assert.equal(faultOf(type, answer), field));
  }

  const cyclic: Record<string, unknown> = {};
  cyclic["toast"] = cyclic;
  const thrower = () => {
    throw new Error("no");
  };
  const trap = new Proxy(
    {},
    { get: thrower, has: thrower, ownKeys: thrower, getPrototypeOf: thrower, getOwnPropertyDescriptor: thrower },
  );
  const { proxy: revoked, revoke } = Proxy.revocable({}, {});
  revoke();
  const hostile: [what: string, answer: unknown][] = [
    ["a text", "x"],
    ["an empty text", ""],
    ["a card as a text", JSON.stringify({ card: rawCard(v2) })],
    ["a number", 5],
    ["NaN", Number.NaN],
    ["false", false],
    ["true", true],
    ["a list", []],
    ["a list of one", [{ toast: {} }]],
    ["a function", () => ({})],
    ["a class", class {}],
    ["a symbol", Symbol("x")],
    ["a bigint", 5n],
    ["a bigint within", { toast: { content: 5n } }],
    ["a date", new Date(0)],
    ["a date that is none", new Date(Number.NaN)],
    ["a boxed text", Object("x")],
    ["what writes itself as nothing", { toJSON: () => undefined }],
    ["what writes itself as null", { toJSON: () => null }],
    ["what writes itself as a text", { toJSON: () => "x" }],
    ["what throws while it is written", { toJSON: thrower }],
    [
      "what throws undefined",
      {
        get toast() {
          throw undefined;
        },
      },
    ],
    [
      "a getter that throws",
      {
        get toast() {
          return thrower();
        },
      },
    ],
    ["a cycle", cyclic],
    ["a cycle through a list", { card: { type: "raw", data: { elements: [cyclic] } } }],
    ["a proxy that throws whatever is asked", trap],
    ["a proxy within", { toast: trap }],
    ["a revoked proxy", revoked],
    ["a revoked proxy within", { toast: { i18n: revoked } }],
    [
      "what writes itself anew for ever",
      {
        toJSON() {
          return { again: this };
        },
      },
    ],
    ["what nests 200,000 deep", { card: nested(200_000) }],
    ["what nests in objects, 100,000 deep", nested(100_000, (inner) => ({ inner }))],
  ];
  for (const [what, answer] of hostile) {
    test(`answer: ${what}`, () => {
      for (const type of [...callbackTypes, "another"]) assert.equal(faultOf(type, answer), "answer");
    });
  }

  test("answer: what nests deeper than any card is shown, however much the stack would still take", () => {
    for (const type of [...callbackTypes, "another"]) {
      assert.ok(
        "answer" in checkAnswer(type, { card: rawCard({ elements: [nested(answerLimitDepth - 4)] }) }) ||
          type === oldCard,
      );
    }
    for (const make of [(inner: unknown) => [inner], (inner: unknown) => ({ a: inner })]) {
      const of = (depth: number) => ({ data: nested(depth, make) });
      for (const type of [...callbackTypes, "another"]) assert.equal(faultOf(type, of(answerLimitDepth)), "answer");
      for (const depth of [500, 2_000, 5_000, 10_000]) assert.equal(faultOf(card, of(depth)), "answer");
    }
  });

  test("answer: what is larger than the platform takes, counted in bytes", () => {
    const of = (content: string) => ({ toast: { content } });
    const around = JSON.stringify(of("")).length;
    for (const [letter, bytes] of [
      ["x", 1],
      ["\u4e2d", 3],
      ["\n", 2],
      ["\u{1f44b}", 4],
    ] as const) {
      const most = Math.floor((answerLimitBytes - around) / bytes);
      assert.ok("answer" in checkAnswer(card, of(letter.repeat(most))), letter);
      assert.equal(faultOf(card, of(letter.repeat(most + 1))), "answer", letter);
    }
    assert.equal(faultOf(card, of("x".repeat(2_000_000))), "answer");
  });
});

test("checking an answer never throws, and what is sent can be written", () => {
  const withOurs = fc.dictionary(
    fc.constantFrom(
      "toast",
      "card",
      "inline",
      "type",
      "data",
      "schema",
      "elements",
      "i18n",
      "url",
      "template_id",
      "__proto__",
    ),
    fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
      maxDepth: 3,
    }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(...callbackTypes, "another", "__proto__"),
      fc.oneof(withOurs, fc.anything()),
      (type, returned) => {
        const checked = checkAnswer(type, returned);
        if ("answer" in checked) assert.doesNotThrow(() => JSON.stringify(checked.answer));
        else assert.ok(checked.fault.field !== "" && checked.fault.found !== "");
      },
    ),
    { numRuns: 100, seed: 20_261 },
  );
});
