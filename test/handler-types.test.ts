import assert from "node:assert/strict";
import { test } from "node:test";
import approval from "../functions/events/approval_instance.ts";
import message from "../functions/events/im.message.receive_v1.ts";
import { type EventList, onAnyEvent, onEvent } from "../lib/handler.ts";

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
