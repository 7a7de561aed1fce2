import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { EventHandler, EventOf } from "../../lib/handler.ts";
import { contextFor, withOpenApi } from "../../lib/testing/context.ts";

// The handler that the project comes with, as long as it is there and its comment claims what these tests check. It is
// the user's to change or delete.

const type = "im.message.receive_v1";
const file = new URL(`../../functions/events/${type}.ts`, import.meta.url);
const claim = 'Answers a text: "card" with a card';
type Event = EventOf<typeof type>;

const cases: readonly { when: string; change: (event: Event) => void; says: string | RegExp | null }[] = [
  { when: "it is mentioned in a group", change: () => {}, says: '{"text":"You said: is pallet 17 on its way?"}' },
  {
    when: "somebody in a group asks for a card",
    change: ({ message }) => (message.content = '{"text":"@_user_1 Card"}'),
    says: /"content":"Pallet 17".*"behaviors":\[\{"type":"callback"/,
  },
  {
    when: "somebody talks to it alone, in a post",
    change: ({ message }) => {
      Object.assign(message, { chat_type: "p2p", message_type: "post", mentions: [] });
      message.content =
        '{"title":"","content":[[{"tag":"text","text":"is pallet 17"}],[{"tag":"text","text":"here?"}]]}';
    },
    says: '{"text":"You said: is pallet 17\\nhere?"}',
  },
  { when: "a group talks of something else", change: ({ message }) => (message.mentions = []), says: null },
  { when: "another bot speaks", change: ({ sender }) => (sender.sender_type = "bot"), says: null },
  {
    when: "it gets an image",
    change: ({ message }) => Object.assign(message, { message_type: "image", content: '{"image_key":"img_1"}' }),
    says: null,
  },
  { when: "the content cannot be read", change: ({ message }) => (message.content = "{"), says: null },
];

if (existsSync(file) && readFileSync(file, "utf8").includes(claim)) {
  const { default: handler } = (await import(file.href)) as { default: EventHandler<typeof type> };

  test("the sample takes pushes of one message for one event", () => {
    const [first, second] = [contextFor(type), contextFor(type)];
    second.event.message.message_id = first.event.message.message_id;
    assert.equal(handler.key?.(second.event, second.context), handler.key?.(first.event, first.context));
    assert.equal(handler.key?.(first.event, first.context), first.event.message.message_id);
  });

  for (const { when, change, says } of cases) {
    test(`the sample ${says === null ? "says nothing" : "answers"} when ${when}`, async (t) => {
      const { event, context: bare } = contextFor(type);
      const { context, sent } = await withOpenApi(t, bare);
      change(event);
      await handler.handle(event, context);
      if (says === null) return assert.deepEqual(sent(), []);
      const [{ parentId, content } = assert.fail(), ...more] = sent();
      assert.deepEqual([parentId, more], [event.message.message_id, []]);
      if (typeof says === "string") assert.equal(content, says);
      else assert.match(content, says);
    });
  }
}
