// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, type TestContext, test } from "node:test";
import { toBody } from "../../lib/aws/record.ts";
import { dynamoTokens } from "../../lib/aws/tokens.ts";
import { NonRetryableError, OpenApiError } from "../../lib/errors.ts";
import { classify } from "../../lib/feishu/classify.ts";
import type { Context, DeferredContext } from "../../lib/handler.ts";
import { toolMaker } from "../../lib/handling/tools.ts";
import { groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { impatient, messagesPath } from "../support/api.ts";
import { appId, eventBody, jobOf, type TestHandle } from "../support/events.ts";
import { internal } from "../support/faults.ts";
import { card, startOpenApi, text } from "../support/open-api.ts";
import { startWorker, type Worker } from "../support/worker.ts";

// The worker as it runs, between an embedded SQS and DynamoDB, with the simulator's Open API for its handlers.

let bench: Worker;
before(async () => {
  bench = await startWorker();
});
beforeEach(() => bench.reset());
after(() => bench.stop());

let secrets = 0;
const png = Buffer.from("89504e470d0a1a0a", "hex");
const about = ({ messageId }: { messageId: string }) => ({ message: { message_id: messageId } });

async function start(t: TestContext) {
  // Another secret than the test's before: the tokens that it left in the table are not for this one's platform.
  const appSecret = `secret ${++secrets} of the app`;
  const app = { kind: "self-built", appId, appSecret } as const;
  const simulated = await startOpenApi(t, { clock: bench.clock, apps: [app] });
  const clock = impatient(bench.clock);
  const store = dynamoTokens(bench.client, bench.ledgerTable);
  const api = { appId, appSecret: async () => appSecret, origin: simulated.url, store, clock, random: () => 0 };
  const signer = { sign: () => Promise.reject(new Error("nothing is signed")) };
  const parent = simulated.simulator.say({
    userId: mei.open_id,
    chatId: groupChat,
    content: JSON.stringify({ text: "Is pallet 17 released?" }),
  });
  const ofBots = () => simulated.simulator.messages().filter(({ sender }) => sender.kind === "app");
  return {
    ...simulated,
    app,
    parent,
    ofBots,
    ports: { tools: toolMaker({ signer, api, secrets: async () => ({}) }) },
  };
}

describe("a handler that calls the Open API", () => {
  const ways: Readonly<Record<string, (context: Context, messageId: string) => Promise<unknown>>> = {
    request: ({ request }, messageId) => request("POST", `${messagesPath}/${messageId}/reply`, { body: text("It is") }),
    "the official client": async ({ lark }, message_id) =>
      (await lark()).im.message.reply({ path: { message_id }, data: text("It is") }),
    reply: ({ reply }) => reply("It is"),
    "reply with an image": ({ reply }) => reply({ image: png }),
  };
  for (const [how, answer] of Object.entries(ways)) {
    test(`A3: replies by ${how}, crashes, and is delivered again: one message`, async (t) => {
      const { ports, parent, ofBots, simulator } = await start(t);
      const id = bench.newId("crash");
      await bench.send(eventBody({ id, event: about(parent) }));
      let runs = 0;
      const outcomes = await bench.drain({
        ports,
        handlers: ({ die }) => ({
          "test.event": async (_event, context) => {
            runs++;
            await answer(context, parent.messageId);
            if (runs < 3) await die();
          },
        }),
      });
      assert.deepEqual([runs, outcomes.filter(({ died }) => died).length], [3, 2]);
      assert.deepEqual(bench.idsAt("handled"), [id]);
      assert.equal(ofBots().length, 1);
      assert.equal(simulator.calls().filter(({ path }) => path.endsWith("/reply")).length, 3);
    });
  }

  test("A3: sends to two people, crashes in between, and is delivered again: each has one message", async (t) => {
    const { ports, parent, ofBots } = await start(t);
    await bench.send(eventBody({ id: bench.newId("between") }));
    let runs = 0;
    await bench.drain({
      ports,
      handlers: ({ die }) => ({
        "test.event": async (_event, { request }) => {
          const isFirst = ++runs === 1;
          const toMei = { query: { receive_id_type: "open_id" }, body: { receive_id: mei.open_id, ...text("one") } };
          const steps = [
            () => request("POST", messagesPath, toMei),
            () => request("POST", `${messagesPath}/${parent.messageId}/reply`, { body: text("two") }),
          ];
          // The other way round the second time: what comes first is not what was sent first.
          for (const step of isFirst ? steps : steps.reverse()) {
            await step();
            if (isFirst) await die();
          }
        },
      }),
    });
    assert.deepEqual(
      ofBots()
        .map(({ content }) => JSON.parse(content).text)
        .sort(),
      ["one", "two"],
    );
  });

  test("A3: replies with an image and a text at once, crashes after the text, and uploads faster the second time: each is sent once", async (t) => {
    const { ports, parent, ofBots } = await start(t);
    await bench.send(eventBody({ id: bench.newId("at-once"), event: about(parent) }));
    let runs = 0;
    await bench.drain({
      ports,
      handlers: ({ die }) => ({
        "test.event": async (_event, { reply }) => {
          const isFirst = ++runs === 1;
          const uploaded = Promise.withResolvers<void>();
          const image = (async function* () {
            if (isFirst) await new Promise(() => {});
            yield png;
          })();
          const sent = reply({ image }).then(() => uploaded.resolve());
          const text = reply("It is");
          if (isFirst) return text.then(die);
          await uploaded.promise;
          return Promise.all([sent, text]);
        },
      }),
    });
    assert.deepEqual(
      ofBots()
        .map(({ msgType }) => msgType)
        .sort(),
      ["image", "text"],
    );
  });

  test("A1: too many calls, with 10 s left: its event waits 52 to 63 s, and no call is made before", async (t) => {
    const { ports, parent, simulator, ofBots } = await start(t);
    const path = `${messagesPath}/${parent.messageId}/reply`;
    simulator.addRule({ path, fault: { kind: "rate-limit", resetSeconds: 52 } });
    await bench.send(eventBody({ id: bench.newId("rate") }));
    const handler: TestHandle = (_event, { request }) => request("POST", path, { body: text("at last") });
    const { kept } = await bench.invoke(await bench.receive(), {
      ...{ ports, handlers: { "test.event": handler } },
      // Five seconds are the worker's, two the calls' own.
      timeoutMs: 17_000,
    });
    const [{ record: waiting, waitSeconds } = assert.fail("it is not kept")] = kept;
    assert.ok(waitSeconds >= 52 && waitSeconds <= 63, `${waitSeconds} s`);
    await bench.clock.advance(waitSeconds * 1000);
    await bench.show(waiting);
    await bench.drain({ ports, handlers: { "test.event": handler } });
    assert.equal(ofBots().length, 1);
    const times = simulator.calls().flatMap((call) => (call.path === path ? [call.atMs] : []));
    assert.ok(times.length === 2 && (times[1] ?? 0) - (times[0] ?? 0) >= 52_000);
  });

  for (const { what, code, arrange } of [
    { what: "the bot has left the chat", code: 230002, arrange: "removeBot" },
    { what: "the app was removed from the tenant", code: 99991673, arrange: "rule" },
    { what: "the app was disabled", code: 99991662, arrange: "disable" },
  ] as const) {
    test(`A6: is dead after one attempt when ${what}`, async (t) => {
      const { ports, parent, simulator } = await start(t);
      const path = `${messagesPath}/${parent.messageId}/reply`;
      let runs = 0;
      const handlers = {
        "test.event": (async (_event, { request }) => {
          runs++;
          await request("GET", `${messagesPath}/${parent.messageId}`);
          if (arrange === "removeBot") simulator.world.removeBot(groupChat, appId);
          else if (arrange === "disable") simulator.setDisabled(appId, true);
          else simulator.addRule({ path, times: 99, fault: { kind: "answer", code } });
          await request("POST", path, { body: text("x") });
        }) satisfies TestHandle,
      };
      await bench.send(eventBody({ id: bench.newId("permanent") }));
      await bench.drain({ ports, handlers });
      assert.equal(runs, 1);
      const [dead, ...others] = await bench.lying();
      assert.deepEqual(others, []);
      assert.equal(dead?.MessageAttributes?.["deadReason"]?.StringValue, "nonRetryable");
      const told = bench.trace.entries.find(({ stage, facts }) => stage === "log" && facts?.["call"] !== undefined);
      assert.deepEqual(
        [told?.facts?.["call"], told?.facts?.["apiCode"]],
        ["POST /open-apis/im/v1/messages/…/reply", code],
      );
    });
  }

  test("A8: has its calls end before the worker does, however slow the platform is", async (t) => {
    const { ports, simulator } = await start(t);
    await bench.send(eventBody({ id: bench.newId("slow") }));
    simulator.addRule({ path: messagesPath, times: 99, delayMs: 3_600_000 });
    const startMs = bench.clock.nowMs();
    let failedAtMs = 0;
    const running = bench.invoke(await bench.receive(), {
      ports,
      handlers: {
        "test.event": (_event, { request }) =>
          request("GET", messagesPath).catch((error: unknown) => {
            failedAtMs = bench.clock.nowMs();
            throw error;
          }),
      },
      timeoutMs: 20_000,
    });
    let isOver = false;
    void running.finally(() => {
      isOver = true;
    });
    while (!isOver) await bench.clock.advance(100);
    const { kept } = await running;
    assert.equal(kept.length, 1);
    assert.ok(bench.trace.entries.every(({ error }) => (error as Error | undefined)?.name !== "HandlerTimeoutError"));
    assert.ok(failedAtMs - startMs <= 20_000 - 5_000, `${failedAtMs - startMs} ms of 15,000`);
  });
});

describe("a reaction", () => {
  const reactionsPath = `${messagesPath}/:id/reactions`;

  /** What its message has at the end, and while the handler ran. Mei reacts too, and stays. */
  async function reacting(t: TestContext) {
    const started = await start(t);
    const { simulator, parent } = started;
    simulator.react(parent, mei.open_id, "OnIt");
    const emojis = () =>
      simulator
        .reactions(parent.messageId)
        .flatMap(({ operator, emoji }) => (operator.id === mei.open_id ? [] : [emoji]));
    const id = bench.newId("reacts");
    await bench.send(eventBody({ id, event: about(parent) }));
    return {
      ...started,
      emojis,
      id,
      onReacted: (act: () => void) => simulator.onActivity(({ what }) => what === "reacted" && act()),
    };
  }

  const stagesOf = (id: string) => bench.stagesOf(id).filter((stage) => stage !== "called" && stage !== "log");

  type Act = (run: { context: Context; attempt: number; die: () => Promise<never> }) => unknown;
  const endings: readonly {
    when: string;
    handle: Act;
    dedupe?: "required" | "off";
    lost?: number;
    stages: string[];
  }[] = [
    { when: "the handler returns", handle: ({ context }) => context.react("OnIt"), stages: ["started", "handled"] },
    {
      when: "the handler returns and has not waited for it",
      handle: ({ context }) => void context.react("OnIt"),
      stages: ["started", "handled"],
    },
    {
      when: "the handler throws, and its next run does not react",
      handle: async ({ context, attempt }) => {
        if (attempt > 1) return;
        await context.react("OnIt");
        throw new Error("fails");
      },
      stages: ["started", "failed", "started", "handled"],
    },
    {
      when: "the event dies of an error",
      handle: async ({ context }) => {
        await context.react("OnIt");
        throw new NonRetryableError("never");
      },
      stages: ["started", "dead"],
    },
    {
      when: "no answer to it ever comes",
      lost: 3,
      handle: ({ context }) => assert.rejects(context.react("OnIt"), OpenApiError),
      stages: ["started", "handled"],
    },
    {
      when: "the handler does without the ledger",
      dedupe: "off",
      handle: ({ context }) => context.react("OnIt"),
      stages: ["started", "handled"],
    },
  ];
  for (const { when, handle, dedupe = "required", lost = 0, stages } of endings) {
    test(`is there while the handler runs, and gone when ${when}`, async (t) => {
      const { ports, simulator, emojis, id, onReacted } = await reacting(t);
      if (lost > 0)
        simulator.addRule({ method: "POST", times: lost, path: reactionsPath, fault: { kind: "lose-answer" } });
      const seen: unknown[] = [];
      onReacted(() => seen.push(emojis()));
      await bench.drain({
        ports,
        handlers: ({ die }) => ({
          "test.event": { dedupe, handle: (_event, context) => handle({ context, attempt: context.attempt, die }) },
        }),
      });
      assert.deepEqual([seen.at(-1), emojis(), stagesOf(id)], [["OnIt"], [], stages]);
    });
  }

  test("is gone when the handler's time is over", async (t) => {
    const { ports, emojis, onReacted } = await reacting(t);
    const added = Promise.withResolvers<void>();
    onReacted(added.resolve);
    const handle: TestHandle = async (_event, { react }) => {
      await react("OnIt");
      await new Promise(() => {});
    };
    const running = bench.invoke(await bench.receive(), { ports, handlers: { "test.event": handle } });
    await added.promise;
    await bench.clock.advance(55_000);
    await running;
    assert.deepEqual([emojis(), bench.idsAt("failed").length], [[], 1]);
  });

  // The process dies when Feishu has added it, and before the answer is there.
  for (const { runs, end } of [
    { runs: 1, end: "handled" },
    { runs: 5, end: "dead" },
  ]) {
    test(`whose process dies ${runs} time${runs === 1 ? "" : "s"} is there until the event is ${end}`, async (t) => {
      const { ports, emojis, id, onReacted } = await reacting(t);
      let die: () => unknown = () => {};
      onReacted(() => die());
      const atDeath: unknown[] = [];
      const outcomes = await bench.drain({
        ports,
        handlers: (process) => {
          die = () => {
            atDeath.push(emojis());
            return process.die();
          };
          return {
            "test.event": async (_event, { react, attempt }) => {
              if (attempt > runs) return;
              await react(attempt === 1 ? "OnIt" : "OK");
              // The bench ends only what the process does with AWS.
              await process.die();
            },
          };
        },
      });
      assert.equal(outcomes.filter(({ died }) => died).length, runs);
      assert.deepEqual(atDeath.at(-1), runs === 1 ? ["OnIt"] : ["OnIt", "OK"]);
      assert.deepEqual([emojis(), stagesOf(id).at(-1)], [[], end]);
    });
  }

  test("is gone when the process dies after the event is done, which runs no second time", async (t) => {
    const { ports, parent, simulator, emojis, id } = await reacting(t);
    // The bench ends only what the process does with AWS.
    const path = `${messagesPath}/${parent.messageId}/reactions`;
    simulator.addRule({ method: "GET", path, times: 1, fault: { kind: "answer", code: 231008 } });
    const atDeath: unknown[] = [];
    const outcomes = await bench.drain({
      ports,
      handlers: ({ die }) => ({
        "test.event": async (_event, { react }) => {
          void bench.reached("handled").then(() => {
            atDeath.push(emojis());
            return die();
          });
          await react("OnIt");
        },
      }),
    });
    assert.deepEqual(
      outcomes.map(({ died }) => died),
      [true, false],
    );
    assert.deepEqual([atDeath, emojis(), stagesOf(id)], [[["OnIt"]], [], ["started", "handled", "duplicate"]]);
  });

  const noAnswers = [{ kind: "answer", code: 10500 }, { kind: "close" }, { kind: "lose-answer" }] as const;
  for (const method of ["POST", "DELETE"]) {
    test(`is there and gone although Feishu does not answer a ${method}, which is repeated`, async (t) => {
      const { ports, parent, simulator, emojis, id } = await reacting(t);
      const path = `${messagesPath}/${parent.messageId}/reactions${method === "POST" ? "" : "/:id"}`;
      for (const [nth, fault] of noAnswers.entries()) {
        if (nth > 0) await bench.send(eventBody({ id: `${id}-${nth}`, event: about(parent) }));
        simulator.addRule({ method, path, fault });
        await bench.drain({ ports, handlers: { "test.event": (_event, { react }) => react("OnIt") } });
      }
      const stages = [id, `${id}-1`, `${id}-2`].map(stagesOf);
      assert.deepEqual([emojis(), stages], [[], Array.from(noAnswers, () => ["started", "handled"])]);
      assert.equal(
        bench.trace.entries.filter(({ stage, level }) => stage === "log" && level === "warn").length,
        method === "POST" ? 0 : 1,
      );
    });
  }

  test("that Feishu refuses is not looked for, unless a run before may have added it", async (t) => {
    const { ports, parent, simulator, emojis, id } = await reacting(t);
    const path = `${messagesPath}/${parent.messageId}/reactions`;
    await bench.drain({
      ports,
      handlers: ({ die }) => ({
        "test.event": async (_event, { react, attempt }) => {
          if (attempt > 1) {
            await assert.rejects(react("No emoji"), (error: Error) => {
              return error instanceof NonRetryableError && error.stack?.includes(import.meta.filename) === true;
            });
            simulator.addRule({ method: "POST", path, fault: { kind: "answer", code: 231002 } });
          }
          await react("OnIt");
          await die();
        },
      }),
    });
    assert.deepEqual([emojis(), stagesOf(id).at(-1)], [[], "dead"]);
    const looked = simulator.calls().filter(({ method, path }) => method === "GET" && path.endsWith("/reactions"));
    assert.equal(looked.length, 1);
  });

  test("is found among those of a hundred people", async (t) => {
    const { ports, parent, simulator, emojis } = await reacting(t);
    for (let person = 0; person < 100; person++) simulator.react(parent, `ou_${person}`, "OnIt");
    await bench.drain({ ports, handlers: { "test.event": (_event, { react }) => react("OnIt") } });
    assert.deepEqual([simulator.reactions().length, emojis().length], [101, 100]);
  });

  test("that Feishu does not remove is logged, others are removed, and the event is done", async (t) => {
    const { ports, parent, simulator, emojis, id } = await reacting(t);
    const path = `${messagesPath}/${parent.messageId}/reactions`;
    simulator.addRule({ method: "GET", path, fault: { kind: "answer", code: 231008 } });
    const handle: TestHandle = async (_event, { react }) => {
      for (const emoji of ["OnIt", "OK", "DONE"]) await react(emoji);
    };
    await bench.drain({ ports, handlers: { "test.event": handle } });
    assert.deepEqual([emojis(), stagesOf(id).at(-1)], [["OnIt"], "handled"]);
    const logged = bench.trace.entries.filter(({ level }) => level === "warn").map(({ facts }) => facts?.["message"]);
    assert.deepEqual(logged, ["A call of the Open API failed", "A reaction stays on its message"]);
  });

  test("is not added when the ledger cannot store it, nor when the run is over", async (t) => {
    const { ports, simulator, emojis, id } = await reacting(t);
    const stop = bench.dynamoFaults.inject("UpdateItem", internal);
    let react: Context["react"] = () => assert.fail("no run");
    const handle: TestHandle = async (_event, context) => {
      ({ react } = context);
      await react("OnIt").finally(stop);
    };
    await bench.drain({ ports, handlers: { "test.event": handle } });
    assert.deepEqual(stagesOf(id), ["started", "failed", "started", "handled"]);
    await assert.rejects(react("OK"), /the run is over/);
    const added = simulator.calls().filter(({ method, path }) => method === "POST" && path.endsWith("/reactions"));
    assert.deepEqual([emojis(), added.length], [[], 1]);
  });
});

test("deferred work updates the card that was clicked, in the worker, and a third time is dead with what to do instead", async (t) => {
  const { ports, simulator, send, tenantToken, app } = await start(t);
  const receiver = { receive_id: groupChat, msg_type: "interactive", content: card("Pallet 17") };
  const path = "im/v1/messages?receive_id_type=chat_id";
  const { body } = await send("POST", path, receiver, await tenantToken(app));
  const messageId = String(body.data.message_id);
  const token = "c-0123456789abcdef";
  simulator.registerCardToken({ token, messageId });
  simulator.callbackAnswered(token);
  const header = {
    ...{ event_id: bench.newId("click"), event_type: "card.action.trigger", app_id: appId, token: "" },
    create_time: String(bench.clock.nowMs() * 1000),
  };
  const event = { token, operator: { open_id: mei.open_id }, action: { tag: "button", value: {} }, context: {} };
  const classified = classify(JSON.stringify({ schema: "2.0", header, event }));
  assert.ok(classified.kind === "callback");
  const { token: _, ...callback } = classified;
  const transport = { requestId: null, transport: "webhook", receivedBy: appId } as const;
  const job = jobOf({ ...callback, ...transport, kind: "callback" }, { pallet: 17 });
  const update = async (payload: unknown, context: DeferredContext) => {
    for (const title of ["checking", "released", "once too often"]) {
      await context.updateCard(JSON.parse(card(`${JSON.stringify(payload)} ${title}`)));
    }
  };
  const name = "callbacks/card.action.trigger";
  const dispatchJob = () => ({ name, load: async () => ({ name, handle: update as never }) });
  await bench.send(toBody(job));
  await bench.drain({ handlers: {}, ports: { ...ports, dispatchJob } });
  assert.match(simulator.message(messageId)?.content ?? "", /released/);
  const [dead] = await bench.lying();
  const { errorClass } = JSON.parse(dead?.MessageAttributes?.["error"]?.StringValue ?? "{}");
  assert.equal(errorClass, "CardTokenError");
});
