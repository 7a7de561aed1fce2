import assert from "node:assert/strict";
import { answerGateway, type HttpResponse } from "../../lib/aws/gateway.ts";
import type {
  CallbackEnvelope,
  EventEnvelope,
  JobEnvelope,
  SealedRequest,
  UnreadableEnvelope,
} from "../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../lib/feishu/keys.ts";
import { open } from "../../lib/feishu/open.ts";
import type { CallbackContext, CallbackList, CallbackOptions, Context } from "../../lib/handler.ts";
import type { AnswerStore } from "../../lib/handling/answered-once.ts";
import { answerCallback, type CallbackPorts } from "../../lib/handling/callback.ts";
import { callbackDispatcher, type DispatchCallback } from "../../lib/handling/dispatcher.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { type TestClock, testClock } from "./clock.ts";
import { noCallbacks, storing } from "./events.ts";
import { type HttpOptions, httpApi } from "./http-events.ts";
import { appId, push, ring, startMs, v2Text } from "./push.ts";

export const cardType = "card.action.trigger";
export const previewType = "url.preview.get";
export const deadlineMs = 2_300;
/** What the function gives its answers: the deadline, and what is written behind it. */
export const withinMs = 2_500;

// biome-ignore lint/suspicious/noExplicitAny: whatever the test posted.
export type TestCallback = (callback: any, context: CallbackContext) => unknown;
interface TestCallbackFile {
  readonly handle: TestCallback;
  readonly dedupe?: string;
  readonly deferred?: (payload: unknown, context: Context & { callback?: unknown }) => unknown;
  readonly deferredKey?: (payload: unknown) => string | undefined;
  readonly onGiveUp?: CallbackOptions<"card.action.trigger">["onGiveUp"];
}
/** Handlers by callback type, each alone or with the options of its file. */
export type TestCallbacks = Readonly<Record<string, TestCallback | TestCallbackFile>>;

/** A dispatcher over callback handlers that stand in no file. */
export function callbackList(handlers: TestCallbacks): DispatchCallback {
  const list = Object.entries(handlers).map(([type, given]) => {
    const file = typeof given === "function" ? { handle: given } : given;
    return [type, async () => ({ default: { type, ...file } })] as const;
  });
  return callbackDispatcher(Object.fromEntries(list) as unknown as CallbackList);
}

/** No two runs of any bench have the same. */
let owners = 0;

type Members = Readonly<Record<string, unknown>>;

/** A click on a card's button, as the platform tells it. `id: null`: without one. */
export function cardText(options: { id?: string | null; header?: Members; event?: Members } = {}): string {
  const { id = "callback-1", header, event } = options;
  return v2Text({
    header: { event_id: id ?? undefined, event_type: cardType, create_time: "1760000000175817", ...header },
    event: {
      operator: { tenant_key: "tenant-1", open_id: "ou_1", union_id: "on_1" },
      token: "c-credential-of-the-card",
      action: { value: { key: "approve" }, tag: "button" },
      host: "im_message",
      context: { open_message_id: "om_1", open_chat_id: "oc_1" },
      ...event,
    },
  });
}

/** A link that somebody looks at. */
export function previewText(options: { id?: string | null; header?: Members; event?: Members } = {}): string {
  const { id = "preview-1", header, event } = options;
  return v2Text({
    header: { event_id: id ?? undefined, event_type: previewType, ...header },
    event: {
      operator: { tenant_key: "tenant-1", open_id: "ou_1" },
      host: "im_message",
      context: { url: "https://shop.example/o/42", preview_token: "preview-token" },
      ...event,
    },
  });
}

/** A callback as it is opened, where the app is the one that it names. */
export function callbackOf(text: string, app: string = appId): CallbackEnvelope {
  const envelope = open(push(text), { keys: ring({ appId: app }), nowMs: startMs });
  assert.ok(envelope.kind === "callback", `not a callback: ${envelope.kind}`);
  return envelope;
}

/** The rules of the answers' table without a table. A test holds it against `dynamoAnswers` on random scripts. */
export function memoryAnswers(): AnswerStore & { readonly rows: ReadonlyMap<string, { answer?: string }> } {
  const rows = new Map<string, { owner: string; answer?: string; expiresAtSeconds: number }>();
  const expiry = (nowMs: number) => Math.floor(nowMs / 1000) + 24 * 3600;
  return {
    rows,
    async claim({ key, owner, nowMs }) {
      const row = rows.get(key);
      if (row === undefined || row.expiresAtSeconds < Math.floor(nowMs / 1000)) {
        rows.set(key, { owner, expiresAtSeconds: expiry(nowMs) });
        return { state: "claimed" };
      }
      if (row.answer !== undefined) return { state: "answered", answer: row.answer };
      return { state: row.owner === owner ? "claimed" : "running" };
    },
    async record({ key, owner, nowMs, answer }) {
      const row = rows.get(key);
      if (row?.owner !== owner) throw new Error("the row is another's");
      rows.set(key, { owner, answer, expiresAtSeconds: expiry(nowMs) });
    },
  };
}

/** The callback function without AWS: the real engine behind the real receiver and HTTP door, lists where tables and queues are. */
export function startCallbacks(
  options: {
    callbacks?: TestCallbacks;
    clock?: TestClock;
    keys?: () => KeyRing | Promise<KeyRing>;
    ports?: Partial<CallbackPorts>;
    /** The function's own deadline, where it is not {@link withinMs}. */
    withinMs?: number;
    send?: (envelope: EventEnvelope) => Promise<void>;
    quarantine?: (envelope: UnreadableEnvelope) => Promise<void>;
  } = {},
) {
  const { callbacks = {}, clock = testClock(startMs), keys = ring } = options;
  const jobs: JobEnvelope[] = [];
  const queued: EventEnvelope[] = [];
  const quarantined: UnreadableEnvelope[] = [];
  const { send = async (envelope) => void queued.push(envelope) } = options;
  const { quarantine = async (envelope) => void quarantined.push(envelope) } = options;
  const ports: CallbackPorts = {
    dispatch: callbackList(callbacks),
    answers: memoryAnswers(),
    deferrals: storing(async (job) => void jobs.push(job)),
    signer: {
      sign: () => Promise.reject(new Error("nothing was expected to be signed")),
      isSigned: () => Promise.reject(new Error("no signature was expected to be checked")),
    },
    tools: noCallbacks.tools,
    clock,
    newOwner: () => `owner-${++owners}`,
    deadlineMs,
    ...options.ports,
  };
  const post = async (event: unknown): Promise<HttpResponse> => {
    const response = await answerGateway(event, {
      ...{ clock, keys, withinMs: options.withinMs ?? withinMs, path: "/callback" },
      receive: (envelope, context) =>
        receive(
          envelope,
          { send, quarantine, callback: (callback, timing) => answerCallback(callback, ports, timing) },
          context,
        ),
    });
    assert.ok(Number.isInteger(response.statusCode), "the answer has no status");
    return response;
  };
  const deliver = (request: SealedRequest, http?: HttpOptions) =>
    post(httpApi(request, { path: "/callback", ...http }));
  return {
    ...{ clock, jobs, queued, quarantined, ports, post, deliver },
    /** Pushes a callback, and gives its answer, which is one that the platform takes: 200, and a JSON object. */
    async ask(text: string): Promise<Record<string, unknown>> {
      return objectOf(await deliver(push(text, { nowMs: clock.nowMs() })));
    },
  };
}

/** What was answered, which must be a 200 with a JSON object. */
export function objectOf({ statusCode, body }: HttpResponse): Record<string, unknown> {
  assert.equal(statusCode, 200, body);
  const answer: unknown = JSON.parse(body);
  assert.ok(typeof answer === "object" && answer !== null && !Array.isArray(answer), body);
  return answer as Record<string, unknown>;
}

export const toast = (content: string) => ({ toast: { type: "success", content } });
