import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import type { Envelope, EventEnvelope, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import { open } from "../../lib/feishu/open.ts";
import { type ReceiverPorts, receive } from "../../lib/receiving/receiver.ts";
import { settled } from "../support/clock.ts";
import { challengeText, push, ring, signedPush, startMs, unsigned, v2Text } from "../support/push.ts";
import { recordTrace } from "../support/trace.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});

const opened = (request: ReturnType<typeof push>) => open(request, { keys: ring(), nowMs: startMs });
const event = opened(push(v2Text(), { headers: { "x-tt-logid": "log-1" } }));
const unreadable = opened(signedPush("{"));
const context = { signal: new AbortController().signal, elapsedMs: () => 7 };

function listing() {
  const stored: (EventEnvelope | UnreadableEnvelope)[] = [];
  const signals: AbortSignal[] = [];
  const store = async (envelope: EventEnvelope | UnreadableEnvelope, signal: AbortSignal) => {
    stored.push(envelope);
    signals.push(signal);
  };
  return { stored, signals, ports: { send: store, quarantine: store } satisfies ReceiverPorts };
}

describe("receive", () => {
  test("stores an event whole, hands the signal on, and answers an empty body", async () => {
    const { stored, signals, ports } = listing();
    assert.deepEqual(await receive(event, ports, context), { status: 200, body: {} });
    assert.deepEqual(stored, [event]);
    assert.deepEqual(signals, [context.signal]);
  });

  test("leaves one stage for each outcome, with the request id", async () => {
    const { ports } = listing();
    await receive(event, ports, context);
    await receive(unreadable, ports, context);
    await receive(opened(unsigned(challengeText())), ports, context);
    await receive(opened(push(v2Text({ header: { event_type: "url.preview.get" } }))), ports, context);
    assert.deepEqual(trace.stages(), ["queued", "quarantined", "challenged", "misdirected"]);
    assert.deepEqual(trace.entries[0], {
      ...{ stage: "queued", level: "info", id: "event-1", type: "im.message.receive_v1", app: "cli_00000000000000a1" },
      ...{ ms: 7, requestId: "log-1" },
    });
    assert.deepEqual(trace.entries[1]?.facts, { reason: "json", size: 1 });
  });

  test("answers a challenge and a callback without touching a queue", async () => {
    const { stored, ports } = listing();
    const challenge = await receive(opened(unsigned(challengeText())), ports, context);
    assert.deepEqual(challenge, { status: 200, body: { challenge: "7c5a9b1e-4d2f" } });
    const callback = await receive(
      opened(push(v2Text({ header: { event_type: "card.action.trigger" } }))),
      ports,
      context,
    );
    assert.equal(callback.status, 200);
    assert.deepEqual(Object.keys(callback.body), ["toast"]);
    assert.deepEqual(stored, []);
  });

  const both: [what: string, envelope: Envelope][] = [
    ["an event", event],
    ["a body that cannot be read", unreadable],
  ];
  for (const [what, envelope] of both) {
    test(`Q10: does not answer ${what} before it is stored`, async () => {
      const stored = Promise.withResolvers<void>();
      let answered = false;
      const store = () => stored.promise;
      const answer = receive(envelope, { send: store, quarantine: store }, context).then((value) => {
        answered = true;
        return value;
      });
      await settled();
      assert.equal(answered, false);
      assert.deepEqual(trace.stages(), []);
      stored.resolve();
      assert.equal((await answer).status, 200);
    });

    test(`Q10: rejects as the queue does when ${what} cannot be stored, and tells of no success`, async () => {
      const fault = new Error("refused");
      const store = () => Promise.reject(fault);
      await assert.rejects(receive(envelope, { send: store, quarantine: store }, context), fault);
      assert.deepEqual(trace.stages(), []);
    });
  }
});
