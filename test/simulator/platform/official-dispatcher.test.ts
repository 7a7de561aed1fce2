// in turn: they share the official SDK.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { describe, type TestContext, test } from "node:test";
import { adaptDefault, EventDispatcher } from "@larksuiteoapi/node-sdk";
import { systemClock } from "../../../lib/clock.ts";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import { startPlatform, toMessage } from "../../../lib/simulator/platform/platform.ts";
import { spoilSignature } from "../../../lib/simulator/platform/push.ts";
import { checkAddress, toWebhook, type WebhookOptions } from "../../../lib/simulator/platform/webhook.ts";
import { sampleText } from "../../../lib/simulator/samples/samples.ts";
import { appId, encryptKey, ring, verificationToken } from "../../support/push.ts";
import { seeded } from "../../support/random.ts";

// The vendor's own receiver as the judge of what is pushed: its dispatcher answers 200 to anything, and runs
// a handler only for what it could verify and decrypt.

const types = ["im.message.receive_v1", "approval_instance", "contact.user.created_v3", "card.action.trigger"];
const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
const random = seeded(17);

async function startJudge(t: TestContext, { isPlain }: { isPlain: boolean }) {
  const handled: { type: string; data: Record<string, unknown> }[] = [];
  const handle = (type: string) => (data: Record<string, unknown>) => {
    handled.push({ type, data });
    return type.startsWith("card.") ? { toast: { type: "success", content: "Approved" } } : "done";
  };
  const dispatcher = new EventDispatcher({
    ...(isPlain ? {} : { encryptKey }),
    verificationToken,
    logger: silent,
  }).register(Object.fromEntries(types.map((type) => [type, handle(type)])));
  const adapter = adaptDefault("/webhook", dispatcher, { autoChallenge: true });
  const server = createServer((request, response) => void adapter(request, response));
  const port = await listenOnLoopback(server);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const options = {
    url: `http://127.0.0.1:${port}/webhook`,
    keys: ring(isPlain ? { encryptKeys: [] } : {}),
    clock: systemClock,
    randomBytes: random.bytes,
  } satisfies WebhookOptions;
  const platform = (more: Partial<WebhookOptions> = {}) =>
    startPlatform({
      deliver: toWebhook({ ...options, ...more }),
      clock: systemClock,
      random: random.next,
      delaysMs: [],
    });
  return { handled, options, platform };
}

const message = (type: string) =>
  toMessage(sampleText(type, { nowMs: Date.now(), appId, newId: () => random.hex(32), eventId: `${type}/1` }));

for (const { body, isPlain } of [
  { body: "encrypted", isPlain: false },
  { body: "plain", isPlain: true },
]) {
  describe(`the official SDK's dispatcher, ${body}`, () => {
    for (const type of types) {
      test(`runs its handler for ${type}, and the push is delivered`, async (t) => {
        const { handled, platform } = await startJudge(t, { isPlain });
        const { outcome, attempts, view } = await platform().push(message(type));
        assert.deepEqual([outcome, attempts.length], ["delivered", 1]);
        const [{ type: ran, data } = { type: "none", data: {} }, ...more] = handled;
        assert.deepEqual([ran, more], [type, []]);
        // It flattens the envelope: the id of 2.0 stands beside the event's members.
        if (type !== "approval_instance") assert.equal(data["event_id"], `${type}/1`);
        assert.equal(data["app_id"], appId);
        assert.deepEqual(view?.toast, type.startsWith("card.") ? { type: "success", text: "Approved" } : undefined);
      });
    }

    test("answers the challenge", async (t) => {
      const { options } = await startJudge(t, { isPlain });
      const { isAccepted, result } = await checkAddress('a "challenge"', options);
      assert.deepEqual([isAccepted, result.status], [true, 200]);
    });
  });
}

test("the official SDK's dispatcher runs no handler for a spoilt signature", async (t) => {
  const { handled, platform } = await startJudge(t, { isPlain: false });
  const spoil: WebhookOptions["spoil"] = (sealed) => spoilSignature(sealed) ?? sealed;
  await platform({ spoil }).push(message("im.message.receive_v1"));
  assert.deepEqual(handled, []);
});
