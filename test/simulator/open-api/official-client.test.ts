// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as lark from "@larksuiteoapi/node-sdk";
import type { AppTicket } from "../../../lib/simulator/open-api/apps.ts";
import { bot, groupChat, mei } from "../../../lib/simulator/samples/facts.ts";
import { sampleEnvelope } from "../../../lib/simulator/samples/samples.ts";
import { card, marketplace, selfBuilt, startOpenApi, text } from "../../support/open-api.ts";
import { until } from "../../support/until.ts";

// The official client is the judge: what it takes for an answer is one.

const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
const hour = 3_600_000;

async function start(t: TestContext) {
  const simulated = await startOpenApi(t);
  const client = new lark.Client({
    ...selfBuilt,
    domain: simulated.url,
    cache: new lark.DefaultCache(),
    logger: silent,
    loggerLevel: lark.LoggerLevel.error,
  });
  return { ...simulated, client };
}

/** What the official client rejects with. */
async function refusal(call: Promise<unknown>) {
  const error = await call.then(
    (answer) => assert.fail(`answered ${JSON.stringify(answer)}`),
    (error: { response?: { status: number; headers: Record<string, string>; data: { code: number } } }) => error,
  );
  assert.ok(error.response !== undefined, String(error));
  return { status: error.response.status, code: error.response.data.code, headers: error.response.headers };
}

const toMei = { receive_id_type: "open_id" } as const;
const toChat = { receive_id_type: "chat_id" } as const;

test("the official client sends, replies, updates, forwards, edits, recalls and reads", async (t) => {
  const { client, simulator, clock } = await start(t);
  const said: string[] = [];
  simulator.onMessage(({ what, message }) => said.push(`${what} ${message.msgType}`));

  const hello = await client.im.message.create({ params: toMei, data: { receive_id: mei.open_id, ...text("hello") } });
  assert.equal(hello.code, 0);
  assert.match(hello.data?.message_id ?? "", /^om_/);
  assert.equal(hello.data?.sender?.id, selfBuilt.appId);

  const data = { receive_id: groupChat, msg_type: "interactive", content: card("Pallet 17") };
  const shown = await client.im.message.create({ params: toChat, data });
  const path = { message_id: shown.data?.message_id ?? "" };
  const reply = await client.im.message.reply({ path, data: text("on its way") });
  assert.equal(reply.data?.parent_id, path.message_id);
  assert.equal(reply.data?.root_id, path.message_id);
  assert.equal(reply.data?.chat_id, groupChat);

  await clock.advance(1_000);
  assert.equal((await client.im.message.patch({ path, data: { content: card("Pallet 17: released") } })).code, 0);
  const read = await client.im.message.get({ path });
  assert.equal(read.data?.items?.[0]?.updated, true);
  assert.match(read.data?.items?.[0]?.body?.content ?? "", /released/);
  assert.equal(Number(read.data?.items?.[0]?.update_time) - Number(read.data?.items?.[0]?.create_time), 1_000);

  const passedOn = await client.im.message.forward({ path, params: toMei, data: { receive_id: mei.open_id } });
  assert.equal(passedOn.data?.chat_id, hello.data?.chat_id);
  assert.equal(passedOn.data?.upper_message_id, path.message_id);

  const own = { message_id: hello.data?.message_id ?? "" };
  assert.equal((await client.im.message.update({ path: own, data: text("hello, Mei") })).data?.updated, true);
  assert.equal((await client.im.message.delete({ path: own })).code, 0);
  assert.equal((await client.im.message.get({ path: own })).data?.items?.[0]?.deleted, true);

  const created = ["created text", "created interactive", "created text"];
  assert.deepEqual(said, [...created, "updated interactive", "created interactive", "updated text", "recalled text"]);
  assert.deepEqual(
    simulator.message(own.message_id)?.history.map(({ what, content }) => [what, JSON.parse(content).text]),
    [
      ["created", "hello"],
      ["updated", "hello, Mei"],
      ["recalled", "hello, Mei"],
    ],
  );
  assert.equal(simulator.messages(groupChat).length, 2);
  // All that on one token.
  assert.equal(simulator.tokensIssued(), 1);
});

test("the official client reads a user by each kind of id", async (t) => {
  const { client } = await start(t);
  for (const type of ["open_id", "union_id", "user_id"] as const) {
    const answer = await client.contact.user.get({ path: { user_id: mei[type] }, params: { user_id_type: type } });
    assert.equal(answer.data?.user?.open_id, mei.open_id);
    assert.equal(answer.data?.user?.name, "Mei Okafor");
  }
});

test("the official client sees the documented refusals, with status, code and headers", async (t) => {
  const { client, simulator } = await start(t);
  const send = () => client.im.message.create({ params: toChat, data: { receive_id: groupChat, ...text("x") } });
  const path = "/open-apis/im/v1/messages";
  await send();

  simulator.addRule({ method: "POST", path, fault: { kind: "rate-limit", resetSeconds: 52 } });
  const limited = await refusal(send());
  assert.deepEqual([limited.status, limited.code], [429, 99991400]);
  assert.equal(limited.headers["x-ogw-ratelimit-reset"], "52");
  assert.match(limited.headers["x-tt-logid"] ?? "", /^\d{14}[0-9A-F]+$/);

  simulator.world.removeBot(groupChat, selfBuilt.appId);
  const outside = await refusal(send());
  assert.deepEqual([outside.status, outside.code], [400, 230002]);
  simulator.world.addBot(groupChat, selfBuilt.appId);

  simulator.revokeTokens();
  const revoked = await refusal(send());
  assert.deepEqual([revoked.status, revoked.code], [400, 99991663]);
  assert.equal(simulator.messages(groupChat).length, 1);
});

test("the official client updates a card late with its callback's token, and not when that has expired", async (t) => {
  const { client, simulator, clock } = await start(t);
  const data = { receive_id: groupChat, msg_type: "interactive", content: card("waiting") };
  const messageId = (await client.im.message.create({ params: toChat, data })).data?.message_id ?? "";
  const update = (title: string) =>
    client.request({
      method: "POST",
      url: "/open-apis/interactive/v1/card/update",
      data: { token: "c-0123", card: JSON.parse(card(title)) },
    });
  simulator.registerCardToken({ token: "c-0123", messageId });
  simulator.callbackAnswered("c-0123");
  assert.equal((await update("done")).code, 0);
  assert.match(simulator.message(messageId)?.content ?? "", /done/);
  await clock.advance(hour / 2);
  assert.deepEqual((({ status, code }) => ({ status, code }))(await refusal(update("later"))), {
    status: 400,
    code: 300030,
  });
});

test("the official channel sends in every kind, edits, streams, reacts, reads a chat and its history, and downloads; its stream fails after ten minutes", async (t) => {
  const { url, simulator, clock } = await startOpenApi(t);
  const channel = lark.createLarkChannel({
    ...{ ...selfBuilt, domain: url, cache: new lark.DefaultCache(), logger: silent },
    ...{ transport: "webhook", webhook: { verificationToken: "not used" } },
    outbound: { streamThrottleMs: 0, retry: { maxAttempts: 1 } },
  });
  await channel.connect();
  assert.deepEqual(channel.botIdentity, { openId: bot.open_id, name: "Larkpost" });
  const source = Buffer.from("89504e470d0a1a0a00ff", "hex");
  const sent: string[] = [];
  for (const input of [
    { text: "Pallet 17" },
    { markdown: "**Pallet** 17" },
    { post: { zh_cn: { title: "Pallet", content: [[{ tag: "text", text: "17" }]] } } },
    { card: { schema: "2.0", body: { elements: [] } } },
    { image: { source } },
    { file: { source, fileName: "pallet.bin" } },
    { audio: { source, duration: 1_000 } },
    { video: { source, duration: 1_000 } },
    { shareChat: { chatId: groupChat } },
    { shareUser: { userId: mei.open_id } },
    { sticker: { fileKey: "file_v3_of_a_user" } },
  ]) {
    sent.push((await channel.send(groupChat, input)).messageId);
  }
  assert.deepEqual(
    simulator.sent().map(({ msgType }) => msgType),
    [
      ...[
        "text",
        "post",
        "post",
        "interactive",
        "image",
        "file",
        "audio",
        "media",
        "share_chat",
        "share_user",
        "sticker",
      ],
    ],
  );
  const { image_key } = JSON.parse(simulator.message(sent[4] ?? "")?.content ?? "{}");
  assert.deepEqual(await channel.downloadResource(image_key, "image"), source);
  const [text = ""] = sent;
  const reactionId = await channel.addReaction(text, "OK");
  assert.deepEqual(
    simulator.reactions(text).map(({ emoji }) => emoji),
    ["OK"],
  );
  await channel.removeReaction(text, reactionId);
  await channel.addReaction(text, "SMILE");
  assert.equal(await channel.removeReactionByEmoji(text, "SMILE"), true);
  assert.deepEqual(simulator.reactions(), []);
  assert.deepEqual((await channel.getChatInfo(groupChat)).name, "Warehouse shifts");
  assert.equal(await channel.getChatMode(groupChat), "group");

  const mentions = [{ openId: mei.open_id, name: "Mei", isBot: false, key: "@Mei" }];
  const asked = await channel.send(groupChat, { text: "released?" }, { replyTo: text, replyInThread: true, mentions });
  await channel.editMessage(text, "Pallet 18");
  const [, , , shown = "", , recalled = ""] = sent;
  const card = { schema: "2.0", body: { elements: [{ tag: "markdown", content: "released" }] } };
  await channel.updateCard(shown, card);
  await channel.recallMessage(recalled);
  const history = async (container_id_type: string, container_id: string) => {
    const params = { container_id_type, container_id, page_size: 50 };
    return (await channel.rawClient.im.v1.message.list({ params })).data?.items ?? [];
  };
  const inChat = await history("chat", groupChat);
  assert.deepEqual(
    inChat.map(({ message_id }) => message_id),
    sent,
  );
  assert.deepEqual(
    [0, 1, 3].map((index) => JSON.parse(inChat[index]?.body?.content ?? "{}")),
    [
      { text: "Pallet 18" },
      {
        title: "",
        content: [
          [
            { tag: "text", text: "Pallet", style: ["bold"] },
            { tag: "text", text: " 17", style: [] },
          ],
        ],
      },
      { title: "", elements: [[{ tag: "text", text: "released", style: [] }]] },
    ],
  );
  assert.deepEqual([inChat[0]?.updated, inChat[5]?.deleted], [true, true]);
  const [root, reply] = await history("thread", inChat[0]?.thread_id ?? "");
  assert.deepEqual([root?.message_id, reply?.message_id], [text, asked.messageId]);
  assert.deepEqual(JSON.parse(reply?.body?.content ?? "{}"), { text: "@_user_1 released?" });
  assert.deepEqual(
    reply?.mentions?.map(({ id, name }) => [id, name]),
    [[mei.open_id, "Mei Okafor"]],
  );

  const { messageId } = await channel.stream(groupChat, {
    async markdown(stream) {
      await stream.append("Pallet 17 ");
      await stream.append("is on its way");
    },
  });
  const { history: states, isStreaming } = simulator.card(messageId);
  assert.equal(isStreaming, false, "the channel has closed it");
  assert.match(JSON.stringify(states().at(-1)?.card), /Pallet 17 is on its way/);
  const patched = await channel.stream(groupChat, {
    card: {
      initial: card,
      producer: (stream) => stream.update({ schema: "2.0", body: { elements: [{ tag: "hr" }] } }),
    },
  });
  assert.match(simulator.message(patched.messageId)?.content ?? "", /"hr"/);
  const long = channel.stream(groupChat, {
    async markdown(stream) {
      await stream.append("Pallet 17 ");
      await clock.advance(10 * 60_000);
      await stream.append("is on its way");
    },
  });
  // The channel logs the refusal and goes on, so the person sees no end of the answer.
  const cut = simulator.card((await long).messageId);
  assert.doesNotMatch(JSON.stringify(cut.card["body"]), /is on its way/);
  assert.ok(simulator.calls().some(({ code }) => code === 200850));
});

test("the official client of a wrong secret says so", async (t) => {
  const { url } = await startOpenApi(t);
  const client = new lark.Client({
    appId: selfBuilt.appId,
    appSecret: "wrong",
    domain: url,
    cache: new lark.DefaultCache(),
    logger: silent,
  });
  await assert.rejects(
    client.im.message.create({ params: toChat, data: { receive_id: groupChat, ...text("x") } }),
    /code: 10015/,
  );
});

test("the official client of a marketplace app asks for its ticket, and sends as each of its tenants", async (t) => {
  const tickets: AppTicket[] = [];
  const { url, simulator, clock } = await startOpenApi(t, { onAppTicket: (ticket) => tickets.push(ticket) });
  const cache = new lark.DefaultCache();
  const client = new lark.Client({
    ...marketplace,
    appType: lark.AppType.ISV,
    domain: url,
    cache,
    logger: silent,
  });
  const dispatcher = new lark.EventDispatcher({ cache, logger: silent });
  const { ticket } = await until("a ticket is due", () => tickets[0]);
  const event = { nowMs: clock.nowMs(), appId: marketplace.appId, newId: () => "0".repeat(32) };
  await dispatcher.invoke(sampleEnvelope("app_ticket", event, { app_ticket: ticket }));

  for (const tenant of ["tenant-1", "tenant-2"]) {
    const data = { receive_id: groupChat, ...text(`to ${tenant}`) };
    await client.im.message.create({ params: toChat, data }, lark.withTenantKey(tenant));
  }
  assert.deepEqual(
    simulator.messages(groupChat).map(({ tenant, sender, content }) => [tenant, sender.id, JSON.parse(content).text]),
    [
      ["tenant-1", marketplace.appId, "to tenant-1"],
      ["tenant-2", marketplace.appId, "to tenant-2"],
    ],
  );
  // The app's own token served both.
  assert.equal(simulator.tokensIssued(), 3);
});
