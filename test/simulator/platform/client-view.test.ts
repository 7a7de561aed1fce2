import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ClientView, clientView } from "../../../lib/simulator/platform/client-view.ts";
import type { PushResult } from "../../../lib/simulator/platform/push.ts";

const answered = (body: string, status = 200): PushResult => ({
  ...{ status, ms: 5, body, delivered: status === 200 },
  ...(status === 200 ? {} : { problem: `answered ${status}` }),
});
const unanswered = (code: string): PushResult => ({
  ...{ status: null, ms: 5, body: "", delivered: false, problem: "no answer", code },
});
/** As commands print it: in JSON, where a member that is `undefined` is absent. */
const view = (type: string, answer: unknown): ClientView =>
  JSON.parse(JSON.stringify(clientView(type, answered(JSON.stringify(answer)))));

const card = "card.action.trigger";
const preview = "url.preview.get";
const oldCard = "card.action.trigger_v1";
const raw = { type: "raw", data: { schema: "2.0", body: { elements: [] } } };

describe("an answer that the client takes", () => {
  const template = { type: "template", data: { template_id: "AAq1", template_variable: { order: "42" } } };
  const taken: readonly { type: string; answer: object; shows: Partial<ClientView> }[] = [
    { type: card, answer: {}, shows: {} },
    ...["info", "success", "error", "warning"].map((kind) => ({
      ...{ type: card, answer: { toast: { type: kind, content: "x" } }, shows: { toast: { type: kind, text: "x" } } },
    })),
    { type: card, answer: { toast: { i18n: { en_us: "x" } } }, shows: { toast: { type: null, text: "x" } } },
    { type: card, answer: { toast: { content: "x" } }, shows: { toast: { type: null, text: "x" } } },
    { type: card, answer: { toast: {} }, shows: { toast: { type: null, text: "" } } },
    { type: card, answer: { card: raw }, shows: { card: "raw" } },
    { type: card, answer: { card: template, unknown: 1 }, shows: { card: "template" } },
    { type: preview, answer: {}, shows: {} },
    { type: preview, answer: { inline: { title: "t" } }, shows: { title: "t" } },
    { type: preview, answer: { inline: { title: "t", i18n_title: { zh_cn: "标题" } } }, shows: { title: "标题" } },
    { type: preview, answer: { inline: { url: { copy_url: "https://a.example/" } } }, shows: {} },
    { type: preview, answer: { inline: { title: "t" }, card: template }, shows: { title: "t", card: "template" } },
    { type: oldCard, answer: {}, shows: {} },
    { type: oldCard, answer: { toast: { content: "x" } }, shows: { toast: { type: null, text: "x" } } },
    { type: oldCard, answer: { config: {}, elements: [] }, shows: { card: "raw" } },
    { type: oldCard, answer: template, shows: { card: "template" } },
    { type: "profile.view.get", answer: { anything: ["goes"] }, shows: {} },
  ];
  for (const { type, answer, shows } of taken) {
    test(`${type} ${JSON.stringify(answer)}`, () => {
      assert.deepEqual(view(type, answer), { isTaken: true, code: null, ...shows });
    });
  }
});

describe("an answer that the client does not take", () => {
  const refused: readonly { answer: unknown; code: number; says: RegExp }[] = [
    { answer: [], code: 200672, says: /not a JSON object/ },
    { answer: null, code: 200672, says: /not a JSON object/ },
    { answer: "{}", code: 200672, says: /not a JSON object/ },
    { answer: { toast: "x" }, code: 200672, says: /"toast" is not an object/ },
    { answer: { toast: null }, code: 200672, says: /"toast" is not an object/ },
    { answer: { toast: { type: "danger", content: "x" } }, code: 200672, says: /"toast.type"/ },
    { answer: { toast: { content: 5 } }, code: 200672, says: /"toast.content"/ },
    { answer: { toast: { i18n: { en_us: 5 } } }, code: 200672, says: /"toast.i18n"/ },
    { answer: { schema: "2.0", body: { elements: [] } }, code: 200672, says: /a card goes into "card"/ },
    { answer: { elements: [] }, code: 200672, says: /a card goes into "card"/ },
    { answer: { type: "raw", data: { elements: [] } }, code: 200672, says: /a card goes into "card"/ },
    { answer: { type: "template", data: { template_id: "A" } }, code: 200672, says: /a card goes into "card"/ },
    {
      answer: { card: { type: "raw", data: { schema: "2.0", body: { elements: {} } } } },
      ...{ code: 200673, says: /ErrPath: ROOT -> body -> elements; .*expected a list/ },
    },
    { answer: { card: "x" }, code: 200673, says: /"card.type"/ },
    { answer: { card: { data: {} } }, code: 200673, says: /"card.type"/ },
    { answer: { card: { type: "card_json", data: {} } }, code: 200673, says: /"card.type"/ },
    { answer: { card: { type: "raw" } }, code: 200673, says: /"card.data" is not/ },
    { answer: { card: { type: "raw", data: "{}" } }, code: 200673, says: /"card.data" is not/ },
    { answer: { card: { type: "template", data: {} } }, code: 200673, says: /template_id/ },
    { answer: { card: { type: "template", data: { template_id: "" } } }, code: 200673, says: /template_id/ },
    {
      answer: { card: { type: "template", data: { template_id: "A", template_version_name: 1 } } },
      ...{ code: 200673, says: /template_version_name/ },
    },
    {
      answer: { card: { type: "template", data: { template_id: "A", template_variable: [] } } },
      ...{ code: 200673, says: /template_variable/ },
    },
  ];
  for (const { answer, code, says } of refused) {
    test(`${card} ${JSON.stringify(answer)} shows error ${code}`, () => {
      const { problem, ...seen } = view(card, answer);
      assert.deepEqual(seen, { isTaken: false, code });
      assert.match(problem ?? "", says);
    });
  }

  const noPreview = [
    { inline: "t" },
    { inline: { title: "t", url: "https://e.example/" } },
    { inline: { title: 1 } },
    { inline: { image_key: 1 } },
    { inline: { i18n_title: "t" } },
    { card: { type: "raw" } },
    { type: "template", data: { template_id: "A" } },
    { title: "t" },
    [],
  ];
  for (const answer of noPreview) {
    test(`${preview} ${JSON.stringify(answer)} gives no preview, and no code`, () => {
      const { isTaken, code } = view(preview, answer);
      assert.deepEqual([isTaken, code], [false, null]);
    });
  }

  const noOldCard: [answer: object, code: number][] = [
    [{ card: raw }, 200672],
    [{ toast: "x" }, 200672],
    [raw, 200673],
    [{ schema: "2.0", body: {} }, 200673],
    [{ type: "template", data: {} }, 200673],
  ];
  for (const [answer, code] of noOldCard) {
    test(`${oldCard} ${JSON.stringify(answer)} shows error ${code}`, () => {
      const { isTaken, code: shown } = view(oldCard, answer);
      assert.deepEqual([isTaken, shown], [false, code]);
    });
  }

  test("an empty body is taken, and a warning except for the old callback", () => {
    const shown = [oldCard, card, preview, "profile.view.get"].map((type) => clientView(type, answered("")));
    assert.deepEqual(
      shown.map(({ isTaken, warning }) => [isTaken, warning !== undefined]),
      [
        [true, false],
        [true, true],
        [true, true],
        [false, false],
      ],
    );
  });

  for (const body of ["ok", "{", "{}{}", "\u0000", '{"a":'.repeat(5_000)]) {
    test(`a body that is no JSON: ${JSON.stringify(body.slice(0, 8))}`, () => {
      assert.equal(clientView(card, answered(body)).code, 200672);
      assert.equal(clientView("profile.view.get", answered(body)).isTaken, false);
    });
  }
});

describe("a callback that was not answered", () => {
  const failures: readonly { when: string; result: PushResult; code: number }[] = [
    { when: "with 200", result: answered("{}", 201), code: 200671 },
    { when: "but redirected", result: answered("", 302), code: 200671 },
    { when: "in time", result: unanswered("ETIMEDOUT"), code: 200341 },
    { when: "to its end in time", result: { ...unanswered("ETIMEDOUT"), status: 200 }, code: 200341 },
    { when: "since nobody listens", result: unanswered("ECONNREFUSED"), code: 200342 },
    { when: "since no connection came about in time", result: unanswered("ECONNECTTIMEOUT"), code: 200342 },
    { when: "since the host is unknown", result: unanswered("ENOTFOUND"), code: 200343 },
    { when: "since the connection was cut", result: unanswered("ECONNRESET"), code: 200080 },
  ];
  for (const { when, result, code } of failures) {
    test(`${when} shows error ${code} on a card, and none for a preview`, () => {
      const { isTaken, code: shown, problem } = clientView(card, result);
      assert.deepEqual([isTaken, shown, problem], [false, code, result.problem]);
      assert.equal(clientView(preview, result).code, null);
    });
  }
});
