import assert from "node:assert/strict";
import { answerGateway, type HttpResponse } from "../../lib/aws/gateway.ts";
import type { EventEnvelope, JobEnvelope, SealedRequest, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../lib/feishu/keys.ts";
import type { CallbackContext, CallbackList, CallbackOptions } from "../../lib/handler.ts";
import { answerCallback } from "../../lib/handling/callback.ts";
import { callbackDispatcher } from "../../lib/handling/dispatcher.ts";
import { fallback } from "../../lib/handling/fallback.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import type { Signer } from "../../lib/signed-value.ts";
import { testClock } from "./clock.ts";
import { noCallbacks, storing } from "./events.ts";
import { httpApi } from "./http-events.ts";
import { ring, startMs } from "./push.ts";

const noSigner: Signer = {
  sign: () => Promise.reject(new Error("nothing was expected to be signed")),
  isSigned: () => Promise.reject(new Error("no signature was expected to be checked")),
};

interface Seen {
  readonly type: string;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the test posted.
  readonly callback: any;
  readonly context: CallbackContext;
}

/**
 * The callback function without AWS: the real HTTP door, receiver and engine, with one handler for each type, and
 * lists where the tables and queues are.
 */
export function startCallback(
  options: {
    keys?: KeyRing;
    signer?: Signer;
    types?: readonly string[];
    handlerOptions?: CallbackOptions<"card.action.trigger">;
    answer?: (seen: Seen) => unknown;
  } = {},
) {
  const { keys = ring(), signer = noSigner, handlerOptions, answer = () => ({}) } = options;
  const { types = ["card.action.trigger", "card.action.trigger_v1", "url.preview.get"] } = options;
  const clock = testClock(startMs);
  const seen: Seen[] = [];
  const claimed: string[] = [];
  const queued: (EventEnvelope | JobEnvelope)[] = [];
  const quarantined: UnreadableEnvelope[] = [];
  const list = types.map((type) => {
    const handle = async (callback: unknown, context: CallbackContext) => {
      seen.push({ type, callback, context });
      return answer({ type, callback, context });
    };
    return [type, async () => ({ default: { ...handlerOptions, type, handle } })] as const;
  });
  const answered = new Map<string, string>();
  const ports = {
    dispatch: callbackDispatcher(Object.fromEntries(list) as unknown as CallbackList),
    answers: {
      claim: async ({ key }: { key: string }) => {
        const answer = answered.get(key);
        if (answer !== undefined) return { state: "answered", answer } as const;
        claimed.push(key);
        return { state: "claimed" } as const;
      },
      record: async ({ key, answer }: { key: string; answer: string }) => void answered.set(key, answer),
    },
    deferrals: storing(async (job) => void queued.push(job)),
    signer,
    tools: () => noCallbacks.tools(),
    clock,
    newOwner: () => "owner",
    deadlineMs: 2_300,
  };
  const post = async (event: unknown): Promise<HttpResponse> => {
    const response = await answerGateway(event, {
      clock,
      path: "/callback",
      keys: () => keys,
      receive: (envelope, context) =>
        receive(
          envelope,
          {
            send: async (sent) => void queued.push(sent),
            quarantine: async (sent) => void quarantined.push(sent),
            callback: (callback, { elapsedMs }) => answerCallback(callback, ports, { elapsedMs }),
          },
          context,
        ),
    });
    assert.equal(clock.pending, 0, "a timer outlived the answer");
    return response;
  };
  return {
    clock,
    /** What the handlers got. */
    seen,
    /** Keys that were claimed in the table. */
    claimed,
    queued,
    quarantined,
    post,
    deliver: (request: SealedRequest) => post(httpApi(request, { path: "/callback" })),
    /** Posts, and expects the toast of a failure, while nobody was called and nothing stored. */
    async fails(request: SealedRequest, type = "card.action.trigger"): Promise<void> {
      const before = seen.length + claimed.length + queued.length + quarantined.length;
      const { statusCode, body } = await post(httpApi(request, { path: "/callback" }));
      assert.deepEqual([statusCode, JSON.parse(body)], [200, fallback(type, "failed")]);
      assert.equal(JSON.parse(body).toast.type, "error");
      const after = seen.length + claimed.length + queued.length + quarantined.length;
      assert.equal(after - before, 0, "a handler was called, or something stored");
    },
    /** Posts, and expects the handler's answer; gives what the handler got. */
    async hands(request: SealedRequest): Promise<Seen> {
      const before = seen.length;
      const { statusCode, body } = await post(httpApi(request, { path: "/callback" }));
      assert.equal(statusCode, 200);
      assert.equal(seen.length - before, 1, `the handler was not called: ${body}`);
      const last = seen.at(-1);
      assert.ok(last);
      return last;
    },
  };
}
