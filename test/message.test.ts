import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mentionsBot, type ReceivedMessage, resourcesOf, textOf } from "../lib/handler.ts";

const bot = { key: "@_user_1", id: { open_id: "ou_bot" }, mentioned_type: "bot", name: "Larkpost" };
const otherBot = { key: "@_user_2", id: { open_id: "ou_other_bot" }, mentioned_type: "bot", name: "Reception" };
const mei = { key: "@_user_3", id: { open_id: "ou_mei" }, mentioned_type: "user", name: "Mei Okafor" };

function message(type: string, content: unknown, mentions?: ReceivedMessage["mentions"]): ReceivedMessage {
  const written = { message_id: "om_1", message_type: type, content: JSON.stringify(content) };
  return mentions === undefined ? written : { ...written, mentions };
}

const text = (written: string, mentions?: ReceivedMessage["mentions"]) => message("text", { text: written }, mentions);

/** Every element of https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content */
const post = {
  title: "Delivery",
  content: [
    [
      { tag: "at", user_id: "@_user_1", user_name: "Larkpost" },
      { tag: "text", text: " pallet 17 ", style: ["bold"] },
      { tag: "a", href: "https://dock.example/17", text: "at the dock" },
      { tag: "text", text: ", says " },
      { tag: "at", user_id: "@_user_3", user_name: "" },
      { tag: "emotion", emoji_type: "SMILE" },
    ],
    [{ tag: "img", image_key: "img_1" }],
    [{ tag: "media", file_key: "file_1", image_key: "img_cover" }],
    [{ tag: "hr" }],
    [{ tag: "code_block", language: "GO", text: "a := 1\nb := 2" }],
    [{ tag: "newer_than_this", text: "and so on" }],
  ],
};
const postText =
  "Delivery\npallet 17 [at the dock](https://dock.example/17), says @Mei Okafor[SMILE]\n\n\n---\na := 1\nb := 2\nand so on";

const texts: readonly { when: string; given: ReceivedMessage; is: string }[] = [
  { when: "nobody is mentioned", given: text(" is pallet 17 here? "), is: "is pallet 17 here?" },
  { when: "the bot is mentioned in front", given: text("@_user_1 card", [bot]), is: "card" },
  { when: "the bot is mentioned in between", given: text("please @_user_1  card", [bot]), is: "please card" },
  { when: "the bot is mentioned at the end", given: text("card @_user_1", [bot]), is: "card" },
  { when: "only the bot is mentioned", given: text("@_user_1", [bot]), is: "" },
  { when: "a person is mentioned", given: text("@_user_3 knows", [mei]), is: "@Mei Okafor knows" },
  { when: "everyone is mentioned", given: text("@_all come here"), is: "@all come here" },
  { when: "a digit follows the mention", given: text("@_user_12 pallets", [bot]), is: "2 pallets" },
  {
    when: "there are more than nine mentions",
    given: text("@_user_1 @_user_10", [bot, { ...mei, key: "@_user_10" }]),
    is: "@Mei Okafor",
  },
  {
    when: "a name looks like a placeholder or a pattern",
    given: text("@_user_3 @_user_2", [
      { ...mei, name: "@_user_2 $&" },
      { ...mei, key: "@_user_2", name: "Tomas" },
    ]),
    is: "@@_user_2 $& @Tomas",
  },
  { when: "a mention has no name", given: text("@_user_3 knows", [{ ...mei, name: "" }]), is: "@_user_3 knows" },
  { when: "a placeholder belongs to no mention", given: text("@_user_4 hi", [bot]), is: "@_user_4 hi" },
  {
    when: "a placeholder belongs to no mention, and a mention to no placeholder",
    given: text("@_user_4 hi", [{ ...mei, key: "" }]),
    is: "@_user_4 hi",
  },
  { when: "a word begins like everyone's placeholder", given: text("@_allow @_all", []), is: "@_allow @all" },
  { when: "it is a post", given: message("post", post, [bot, mei]), is: postText },
  { when: "a post has a language", given: message("post", { zh_cn: post }, [bot, mei]), is: postText },
  { when: "a post has a title alone", given: message("post", { zh_cn: { title: "Delivery" } }), is: "Delivery" },
  {
    when: "a post names people without placeholders",
    given: message("post", {
      content: [[{ tag: "at", user_id: "ou_mei", user_name: "Mei" }], [{ tag: "at", user_id: "all" }]],
    }),
    is: "@Mei\n@all",
  },
  {
    when: "a post has links that are their own text",
    given: message("post", {
      content: [
        [
          { tag: "a", text: "https://dock.example", href: "https://dock.example" },
          { tag: "a", text: " no address" },
        ],
      ],
    }),
    is: "https://dock.example no address",
  },
  { when: "it is an image", given: message("image", { image_key: "img_1", text: "no" }), is: "" },
  { when: "it is a card", given: message("interactive", { title: "Pallets", elements: [] }), is: "" },
];
for (const { when, given, is } of texts) {
  test(`textOf reads a message when ${when}`, () => assert.equal(textOf(given), is));
}

test("textOf leaves out all bots, or the one it is told of", () => {
  const given = text("@_user_2 ask @_user_1 about pallet 17", [bot, otherBot]);
  assert.equal(textOf(given), "ask about pallet 17");
  assert.equal(textOf(given, { open_id: "ou_bot" }), "@Reception ask about pallet 17");
});

const resources: readonly { of: string; given: ReceivedMessage; are: unknown[] }[] = [
  { of: "an image", given: message("image", { image_key: "k" }), are: [{ key: "k", type: "image", name: null }] },
  {
    of: "a file",
    given: message("file", { file_key: "k", file_name: "17.pdf" }),
    are: [{ key: "k", type: "file", name: "17.pdf" }],
  },
  ...["../../etc/17.pdf", "C:\\\\docs\\17.pdf", "/17.pdf"].map((file_name) => ({
    of: `a file that its sender named ${file_name}`,
    given: message("file", { file_key: "k", file_name }),
    are: [{ key: "k", type: "file", name: "17.pdf" }],
  })),
  {
    of: "a file that its sender named ..",
    given: message("file", { file_key: "k", file_name: "17/.." }),
    are: [{ key: "k", type: "file", name: null }],
  },
  {
    of: "a recording",
    given: message("audio", { file_key: "k", duration: 9 }),
    are: [{ key: "k", type: "file", name: null }],
  },
  {
    of: "a video",
    given: message("media", { file_key: "k", image_key: "cover", file_name: "dock.mp4" }),
    are: [{ key: "k", type: "file", name: "dock.mp4" }],
  },
  {
    of: "a post",
    given: message("post", { en_us: post }),
    are: [
      { key: "img_1", type: "image", name: null },
      { key: "file_1", type: "file", name: null },
    ],
  },
  // The platform gives none of these out.
  { of: "a sticker", given: message("sticker", { file_key: "k" }), are: [] },
  { of: "a folder", given: message("folder", { file_key: "k", file_name: "pallets" }), are: [] },
  { of: "a card", given: message("interactive", { elements: [[{ tag: "img", image_key: "k" }]] }), are: [] },
  { of: "a text", given: text("hi"), are: [] },
  { of: "an image without its key", given: message("image", {}), are: [] },
];
for (const { of, given, are } of resources) {
  test(`resourcesOf lists what can be downloaded of ${of}`, () => {
    assert.deepEqual(
      resourcesOf(given),
      are.map((one) => ({ messageId: "om_1", ...(one as object) })),
    );
  });
}

test("mentionsBot knows a bot by its open_id, or any bot by its kind; everyone is no bot", () => {
  const event = { message: text("@_user_2 hi", [otherBot, mei]) };
  assert.equal(mentionsBot(event), true);
  assert.equal(mentionsBot(event, { open_id: "ou_other_bot" }), true);
  assert.equal(mentionsBot(event, { open_id: "ou_bot" }), false);
  assert.equal(mentionsBot({ message: text("@_user_3 hi", [mei]) }), false);
  assert.equal(mentionsBot({ message: text("@_all hi") }), false);
});

test("none of them throws, whatever the message is", () => {
  const part = fc.oneof(
    fc.jsonValue(),
    fc.record({ tag: fc.constantFrom("at", "a", "img", "text", "hr"), text: fc.jsonValue(), user_id: fc.jsonValue() }),
  );
  const content = fc.oneof(
    fc.jsonValue(),
    fc.record({ text: fc.jsonValue() }),
    fc.record({ content: fc.array(fc.oneof(fc.jsonValue(), fc.array(part))) }),
    fc.dictionary(fc.string(), fc.record({ content: fc.oneof(fc.jsonValue(), fc.array(fc.array(part))) })),
  );
  const any = fc.oneof(
    fc.anything(),
    fc.record(
      {
        message_type: fc.constantFrom("text", "post", "image", "file", "__proto__"),
        content: fc.oneof(
          content.map((value) => JSON.stringify(value)),
          fc.anything(),
        ),
        mentions: fc.oneof(
          fc.anything(),
          fc.array(fc.oneof(fc.anything(), fc.record({ key: fc.anything(), id: fc.anything() }))),
        ),
      },
      { requiredKeys: [] },
    ),
  );
  fc.assert(
    fc.property(any, (value) => {
      const given = value as ReceivedMessage;
      assert.equal(typeof textOf(given), "string");
      assert.equal(typeof textOf(given, { open_id: "ou_bot" }), "string");
      assert.ok(Array.isArray(resourcesOf(given)));
      assert.equal(typeof mentionsBot({ message: given }), "boolean");
      assert.equal(mentionsBot(given as unknown as { message: ReceivedMessage }), false);
    }),
    { numRuns: 50 },
  );
});
