import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CallbackHandler,
  type CallbackList,
  type DeferredEventContext,
  type EventList,
  onAnyEvent,
  onCallback,
  onEvent,
  rawCard,
  signValue,
  templateCard,
} from "../lib/handler.ts";
import cardAction from "./fixtures/app/callbacks/card.action.trigger.ts";
import approval from "./fixtures/app/events/approval_instance.ts";
import message from "./fixtures/app/events/im.message.receive_v1.ts";

// The compiler is the test: `tsc` fails on a wrong line that it accepts ("unused @ts-expect-error").

onEvent("im.message.receive_v1", async ({ message, sender }, { id, attempt, signal, raw }) => {
  const texts: string[] = [message.message_id, message.content, sender.sender_type, id, raw];
  const facts: [number, boolean] = [attempt, signal.aborted];
  return [texts, facts];
});

onEvent("contact.user.created_v3", async (event) => {
  // @ts-expect-error the envelope's members are in the context, not in the event
  event.event_id;
  // @ts-expect-error likewise
  event.token;
  // @ts-expect-error no such member
  event.object?.nmae;
  return event.object?.name;
});

// Schema 1.0: the envelope's members are gone, the event's own are there.
onEvent("p2p_chat_create", async (event) => {
  // @ts-expect-error the identity of the push is in the context
  event.uuid;
  return [event.type, event.chat_id, event.tenant_key];
});

// @ts-expect-error a type that nobody has declared
onEvent("contact.user.craeted_v3", async () => {});

// @ts-expect-error the key must be a text
onEvent("im.message.receive_v1", async () => {}, { key: ({ message }) => message.message_type.length });

onAnyEvent(async (event, { type }) => [event["anything"], type]);

// A callback that the platform added since.
declare module "../lib/handler.ts" {
  interface CallbackTypes {
    "shop.order.get": { asks: { order: number }; takes: { title: string } };
  }
}

const card = onCallback(
  "card.action.trigger",
  async ({ operator, token, action, host }, { isSigned, purpose, defer, signal, log, signCard, tenant }) => {
    const texts: (string | undefined)[] = [operator.open_id, operator.user_id, token, action.tag, action.name, host];
    const parts: unknown[] = [action.value.order, action.form_value?.["note"], action.options?.[0]];
    const { _signed } = await signValue({ texts, parts }, { signCard, tenant }, { purpose: "x", expiresInSeconds: 60 });
    await defer({ _signed, isSigned, purpose, aborted: signal.aborted });
    log.info("clicked", { isSigned });
    // @ts-expect-error the envelope's members are in the context
    action.event_id;
    // @ts-expect-error no such member
    operator.opne_id;
    return { toast: { type: "success", content: "Released", i18n: { zh_cn: "x" } }, card: rawCard({ schema: "2.0" }) };
  },
  {
    dedupe: "off",
    signedValues: true,
    async deferred(payload: { order: number }, { callback, attempt, signal }) {
      const texts: string[] = [callback.token, callback.action.tag];
      return [payload.order + attempt, signal.aborted, texts];
    },
  },
);

const preview = onCallback("url.preview.get", ({ context }) => ({
  inline: { title: new URL(context.url).hostname, url: { pc: context.url } },
  card: templateCard("AAq1", { order: 17 }),
}));

onCallback("card.action.trigger_v1", ({ open_id, token, action }) => ({
  config: {},
  elements: [open_id, token, action.tag],
  toast: { type: "info" },
}));
onCallback("profile.view.get", (asked) => ({ anything: asked["anything"] }));
onCallback("shop.order.get", ({ order }) => ({ title: `Order ${order.toFixed()}` }));

// Nothing to say is an answer, in every spelling of nothing.
onCallback("card.action.trigger", () => {});
onCallback("card.action.trigger", async () => {});
onCallback("card.action.trigger", () => null);
onCallback("card.action.trigger", async () => undefined);
onCallback("card.action.trigger", () => ({}));
onCallback("card.action.trigger", async ({ action }) => {
  if (action.tag !== "button") return;
  return { toast: { type: "info" } };
});
onCallback("card.action.trigger", async () => ({ card: templateCard("AAq1") }), { deferred() {} });

// @ts-expect-error a type that nobody has declared
onCallback("card.action.triger", async () => {});

// @ts-expect-error an event is no callback
onCallback("im.message.receive_v1", async () => {});

// @ts-expect-error no such type of toast
onCallback("card.action.trigger", async () => ({ toast: { type: "danger", content: "x" } }));

// @ts-expect-error a toast is an object
onCallback("card.action.trigger", () => ({ toast: "Released" }));

// @ts-expect-error no such language
onCallback("card.action.trigger", () => ({ toast: { i18n: { en: "x" } } }));

// @ts-expect-error no such type of card
onCallback("card.action.trigger", () => ({ card: { type: "card_json", data: {} } }));

// @ts-expect-error a template has an id
onCallback("card.action.trigger", () => ({ card: { type: "template", data: {} } }));

// @ts-expect-error a bare card is for the old callback
onCallback("card.action.trigger", () => ({ elements: [] }));

// @ts-expect-error the answer of a preview is none of a card
onCallback("card.action.trigger", async () => ({ inline: { title: "x" } }));

// @ts-expect-error the answer of a card is none of a preview
onCallback("url.preview.get", async () => ({ toast: { type: "info" } }));

// @ts-expect-error a title is a text
onCallback("url.preview.get", () => ({ inline: { title: 5 } }));

// @ts-expect-error a text is no answer
onCallback("card.action.trigger", () => "Released");

// @ts-expect-error the declared type takes a title
onCallback("shop.order.get", () => ({ name: "x" }));

// @ts-expect-error no such choice
onCallback("card.action.trigger", () => ({}), { dedupe: "sometimes" });

// @ts-expect-error no such choice
onEvent("im.message.receive_v1", () => {}, { dedupe: "sometimes" });

// @ts-expect-error a yes or no
onCallback("card.action.trigger", () => ({}), { signedValues: "always" });

onCallback("card.action.trigger", () => ({}), { signedValues: { purposes: ["release"] } });

// @ts-expect-error all that is taken is listed
onCallback("card.action.trigger", () => ({}), { signedValues: { purpose: "release" } });

// @ts-expect-error a preview has no value that could be signed
onCallback("url.preview.get", () => ({}), { signedValues: true });

// @ts-expect-error nor has a profile
onCallback("profile.view.get", () => ({}), { signedValues: true });

onCallback("card.action.trigger_v1", () => ({}), { signedValues: true });

// @ts-expect-error what is deferred is run by a function
onCallback("card.action.trigger", () => ({}), { deferred: "later" });

onCallback("url.preview.get", () => ({}), {
  // @ts-expect-error the callback of another type
  deferred: (_payload, { callback }) => callback.action,
});

onEvent(
  "im.message.receive_v1",
  async ({ message }, { defer, remainingMs }) => defer(message, { delaySeconds: remainingMs() }),
  {
    async deferred({ polls }: { polls: number }, { event, depth, chainStartedAtMs, defer }) {
      // @ts-expect-error no such member
      event.mesage;
      if (depth + polls < 9) await defer({ id: event.message.message_id, chainStartedAtMs });
    },
  },
);
export const deferredApart = (payload: unknown, { event }: DeferredEventContext<"im.message.receive_v1">) => [
  payload,
  event.message,
];
onEvent("im.message.receive_v1", async () => {}, { deferred: deferredApart });
onAnyEvent(async (_event, { defer }) => defer(1), { deferred: (_payload, { event }) => event["anything"] });
onCallback("card.action.trigger", () => ({}), { deferred: (_payload, { defer }) => defer(1) });

// @ts-expect-error an event's handler knows of no callback
onEvent("im.message.receive_v1", async () => {}, { deferred: (_payload, { callback }) => callback });

const answering = {
  "card.action.trigger": async () => ({ default: cardAction }),
  "url.preview.get": async () => ({ default: preview }),
  "shop.order.get": async () => ({ default: onCallback("shop.order.get", () => ({ title: "x" })) }),
} satisfies CallbackList;

({
  // @ts-expect-error a file whose name and type differ
  "url.preview.get": async () => ({ default: cardAction }),
}) satisfies CallbackList;

({
  // @ts-expect-error a file named after no type
  "card.action.triger": async () => ({ default: cardAction }),
}) satisfies CallbackList;

({
  // @ts-expect-error an event's handler among the callbacks
  "card.action.trigger": async () => ({ default: message }),
}) satisfies CallbackList;

({
  // @ts-expect-error a callback's handler among the events
  "im.message.receive_v1": async () => ({ default: cardAction }),
}) satisfies EventList;

// @ts-expect-error one callback's handler is none of another's
card satisfies CallbackHandler<"url.preview.get">;

const fitting = {
  "im.message.receive_v1": async () => ({ default: message }),
  approval_instance: async () => ({ default: approval }),
  _default: async () => ({ default: onAnyEvent(async () => {}) }),
} satisfies EventList;

({
  // @ts-expect-error a file whose name and type differ
  "im.message.recalled_v1": async () => ({ default: message }),
}) satisfies EventList;

({
  // @ts-expect-error a file named after no type
  "im.message.recieve_v1": async () => ({ default: message }),
}) satisfies EventList;

test("a handler file's type is the one it declares", async () => {
  assert.equal((await fitting["im.message.receive_v1"]()).default.type, "im.message.receive_v1");
  assert.equal((await fitting.approval_instance()).default.type, "approval_instance");
});

test("a callback file's type is the one it declares, and its options are beside it", async () => {
  assert.equal((await answering["card.action.trigger"]()).default.type, "card.action.trigger");
  assert.equal((await answering["url.preview.get"]()).default.type, "url.preview.get");
  assert.equal((await answering["shop.order.get"]()).default.type, "shop.order.get");
  const { handle, deferred, ...options } = card;
  assert.deepEqual(options, { type: "card.action.trigger", dedupe: "off", signedValues: true });
  assert.deepEqual([typeof handle, typeof deferred], ["function", "function"]);
});

test("a card in an answer is written as the platform names its parts", () => {
  assert.deepEqual(rawCard({ schema: "2.0" }), { type: "raw", data: { schema: "2.0" } });
  assert.deepEqual(templateCard("AAq1"), { type: "template", data: { template_id: "AAq1", template_variable: {} } });
  assert.deepEqual(templateCard("AAq1", { order: "17" }).data.template_variable, { order: "17" });
});
