// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { describe, type TestContext, test } from "node:test";
import { OpenApiError, RetryLaterError } from "../../lib/errors.ts";
import type { Context, EventOf } from "../../lib/handler.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { defaultTenant, groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { contextFor, withOpenApi } from "../../lib/testing/context.ts";
import { messagesPath, startApi, tokenPath } from "../support/api.ts";
import { marketplace, text } from "../support/open-api.ts";

const toChat = { params: { receive_id_type: "chat_id" }, data: { receive_id: groupChat, ...text("hello") } } as const;

interface Got {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** A platform that answers as told, and the API that calls it. */
async function startStub(
  t: TestContext,
  answer: (got: Got) => { status?: number; headers?: object; body: string | Buffer },
) {
  const got: Got[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = "", url = "", headers } = request;
    if (url === tokenPath) {
      response.end(JSON.stringify({ code: 0, tenant_access_token: `t-${got.length}`, expire: 7_200 }));
      return;
    }
    const call = { method, url, headers, body: Buffer.concat(chunks) };
    got.push(call);
    const { status = 200, headers: given = {}, body } = answer(call);
    response.writeHead(status, { "content-type": "application/json", ...given }).end(body);
  });
  const port = await listenOnLoopback(server);
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const origin = `http://127.0.0.1:${port}`;
  return { ...(await startApi(t, { origin })), got };
}

describe("the official client", () => {
  test("sends once what it sends again because the event ran again", async (t) => {
    const { run, simulator } = await startApi(t);
    const parent = simulator.say({ userId: mei.open_id, chatId: groupChat, content: JSON.stringify({ text: "?" }) });
    for (let attempt = 1; attempt <= 2; attempt++) {
      const client = await run().lark();
      await client.im.v1.message.create(toChat);
      const path = { message_id: parent.messageId };
      await client.im.message.reply({ path, data: text("a reply") });
      await client.im.message.forward({
        path,
        params: { receive_id_type: "open_id" },
        data: { receive_id: mei.open_id },
      });
    }
    assert.equal(simulator.messages().length, 1 + 3);
    // The same event without the client sends the same.
    await run().request("POST", messagesPath, { query: toChat.params, body: toChat.data });
    assert.equal(simulator.messages().length, 1 + 3);
  });

  test("waits for the platform and its tokens as request does", async (t) => {
    const { run, simulator, called } = await startApi(t);
    const client = await run().lark();
    assert.equal((await run().lark()) === client, false);
    simulator.addRule({ path: messagesPath, fault: { kind: "close" } });
    await client.im.message.create(toChat);
    simulator.revokeTokens();
    await client.im.message.create(toChat);
    assert.equal(called("/internal"), 2);
    simulator.addRule({ path: messagesPath, fault: { kind: "rate-limit", resetSeconds: 600 } });
    await assert.rejects(client.im.message.create(toChat), RetryLaterError);
  });

  test("is one for a run, however often it is asked for", async (t) => {
    const { run } = await startApi(t);
    const { lark } = run();
    assert.equal(await lark(), await lark());
  });

  test("rejects where the platform says with a 200 that it failed", async (t) => {
    const { run } = await startStub(t, () => ({ body: '{"code":1254607,"msg":"not ready"}' }));
    const client = await run().lark();
    await assert.rejects(client.im.message.get({ path: { message_id: "om_1" } }), (error: unknown) => {
      assert.ok(error instanceof OpenApiError);
      assert.deepEqual([error.status, error.apiCode], [200, 1254607]);
      return true;
    });
  });

  test("rejects where a success is a page", async (t) => {
    const { run } = await startStub(t, () => ({
      headers: { "content-type": "text/html" },
      body: "<html>sign in</html>",
    }));
    const client = await run().lark();
    await assert.rejects(client.im.message.get({ path: { message_id: "om_1" } }), /no answer \(UNREADABLE\)/);
  });

  test("downloads a file, byte for byte, and knows a refusal of one by its code", async (t) => {
    const file = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));
    const { run, got } = await startStub(t, ({ url }) =>
      url.includes("gone")
        ? { status: 400, body: '{"code":234002,"msg":"no such file"}' }
        : { headers: { "content-type": "application/octet-stream" }, body: file },
    );
    const client = await run().lark();
    const download = await client.im.file.get({ path: { file_key: "file_1" } });
    const chunks: Buffer[] = [];
    for await (const chunk of download.getReadableStream()) chunks.push(chunk);
    assert.ok(Buffer.concat(chunks).equals(file));
    assert.equal(download.headers["content-type"], "application/octet-stream");
    assert.equal(got[0]?.headers.authorization, "Bearer t-0");
    await assert.rejects(client.im.file.get({ path: { file_key: "gone" } }), (error: unknown) => {
      assert.ok(error instanceof OpenApiError);
      return error.apiCode === 234002;
    });
  });

  test("uploads a file from bytes and from a stream", async (t) => {
    const { run, got, apiClock } = await startStub(t, () => ({ body: '{"code":0,"data":{"file_key":"file_9"}}' }));
    const client = await run().lark();
    await client.im.message.get({ path: { message_id: "om_1" } });
    assert.equal(apiClock.asked.at(-1), 10_000);
    got.length = 0;
    for (const file of [Buffer.from("the bytes"), Readable.from([Buffer.from("the bytes")])]) {
      const data = { file_type: "stream", file_name: "a.txt", file: file as Buffer } as const;
      assert.equal((await client.im.file.create({ data }))?.file_key, "file_9");
      // The run's time, since a file may take long.
      assert.equal(apiClock.asked.at(-1), 60_000);
    }
    assert.equal(got.length, 2);
    for (const { headers, body } of got) {
      assert.match(headers["content-type"] ?? "", /^multipart\/form-data; *boundary=/);
      assert.match(body.toString("latin1"), /the bytes/);
      assert.match(headers.authorization ?? "", /^Bearer t-/);
    }
  });

  test("does not send what is left of a stream: a refused token fails the attempt, and the next has another", async (t) => {
    let refusals = 1;
    const { run, got } = await startStub(t, () =>
      refusals-- > 0 ? { status: 400, body: '{"code":99991663}' } : { body: '{"code":0,"data":{"file_key":"file_9"}}' },
    );
    const upload = async () => {
      const client = await run().lark();
      const file = Readable.from([Buffer.from("the bytes")]) as unknown as Buffer;
      return client.im.file.create({ data: { file_type: "stream", file_name: "a.txt", file } });
    };
    await assert.rejects(upload(), OpenApiError);
    assert.equal(got.length, 1);
    assert.equal((await upload())?.file_key, "file_9");
    assert.deepEqual(
      got.map(({ headers }) => headers.authorization),
      ["Bearer t-0", "Bearer t-1"],
    );
    assert.match(got[1]?.body.toString("latin1") ?? "", /the bytes/);
  });

  test("uses a user's token where it is given one, and asks for no other when it is refused", async (t) => {
    const { run, got } = await startStub(t, () => ({ status: 400, body: '{"code":99991668}' }));
    const client = await run().lark();
    const call = client.im.message.get({ path: { message_id: "om_1" } }, client.withUserAccessToken("u-1"));
    await assert.rejects(call, OpenApiError);
    assert.deepEqual(
      got.map(({ headers }) => headers.authorization),
      ["Bearer u-1"],
    );
  });
});

// The bodies of the handlers in the platform's own guides, with nothing changed but where the client comes from.

describe("a handler as the platform's guides have it", () => {
  type Message = EventOf<"im.message.receive_v1">;
  type Lark = Pick<Context, "lark">;
  const event = {
    message: { chat_id: groupChat, content: JSON.stringify({ text: "Is pallet 17 released?" }) },
  } as Message;

  const guides = {
    async "answers with a card, over the long connection"(data: Message, { lark }: Lark) {
      const client = await lark();
      const {
        message: { chat_id, content },
      } = data;
      await client.im.v1.message.create({
        params: {
          receive_id_type: "chat_id",
        },
        data: {
          receive_id: chat_id,
          content: client.messageCard.defaultCard({
            title: `Re: ${JSON.parse(content).text}`,
            content: "It is",
          }),
          msg_type: "interactive",
        },
      });
    },
    async "answers with a text, over HTTP"(data: Message, { lark }: Lark) {
      const client = await lark();
      const chatId = data.message.chat_id;

      const res = await client.im.message.create({
        params: {
          receive_id_type: "chat_id",
        },
        data: {
          receive_id: chatId,
          content: JSON.stringify({ text: "hello world" }),
          msg_type: "text",
        },
      });
      return res;
    },
  };
  for (const [what, handle] of Object.entries(guides)) {
    test(`${what} (Node.js)`, async (t) => {
      const { context, simulator } = await withOpenApi(t, contextFor("im.message.receive_v1").context);
      await handle(event, context);
      const [sent, ...more] = simulator.messages(groupChat);
      assert.deepEqual(more, []);
      if (sent?.msgType === "interactive") {
        const shown = JSON.parse(sent.content);
        assert.equal(shown.header.title.content, "Re: Is pallet 17 released?");
        assert.match(sent.content, /It is/);
      } else {
        assert.equal(sent?.content, '{"text":"hello world"}');
      }
    });
  }

  const post = { en_us: { title: "Shift", content: [[{ tag: "text", text: "It begins at six" }]] } };
  test("of an app of the marketplace sends in the event's tenant, or in the one it names (Go)", async (t) => {
    const tickets: string[] = [];
    const started = await startApi(t, {
      app: marketplace,
      simulator: { onAppTicket: ({ ticket }) => void tickets.push(ticket) },
    });
    started.simulator.issueAppTicket(marketplace.appId);
    await started.tickets.keep(tickets[0] ?? "", started.clock.nowMs());
    const message = {
      params: { receive_id_type: "open_id" as const },
      data: { receive_id: mei.open_id, msg_type: "post", content: JSON.stringify(post) },
    };
    const tenant = defaultTenant;
    const client = await started.run({ tenant }).lark();
    await client.im.message.create(message);
    await client.im.message.create(message, client.withTenantKey(tenant));
    await client.im.message.create(message, client.withTenantKey("another-tenant"));
    assert.deepEqual(
      started.simulator.messages().map(({ tenant }) => tenant),
      [tenant, tenant, "another-tenant"],
    );
  });

  test("sends in the tenant of the event without the client, too (Go, Python)", async (t) => {
    const { run, simulator } = await startApi(t);
    const { request } = run({ tenant: defaultTenant });
    await request("POST", messagesPath, {
      query: { receive_id_type: "open_id" },
      body: { receive_id: mei.open_id, msg_type: "post", content: JSON.stringify(post) },
    });
    assert.equal(simulator.messages()[0]?.tenant, defaultTenant);
  });
});
