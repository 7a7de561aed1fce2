import type { SQSRecord } from "aws-lambda";
import { messageVersion, toBody } from "../../lib/aws/record.ts";
import { classify } from "../../lib/feishu/classify.ts";
import { type CallbackEnvelope, type EventEnvelope, type JobEnvelope, jobId } from "../../lib/feishu/envelope.ts";
import type { AnyEventHandler, Context, DeferredEventContext, EventList, KeyContext } from "../../lib/handler.ts";
import type { Deferrals } from "../../lib/handling/deferral.ts";
import { type Dispatch, dispatcher } from "../../lib/handling/dispatcher.ts";

export const appId = "cli_a1b2c3d4e5f6a7b8";

export interface EventParts {
  /** `null`: the event comes without one. */
  readonly id?: string | null;
  readonly type?: string;
  /** `null`: the event names no app, as many authentic ones. */
  readonly app?: string | null;
  readonly tenant?: string;
  readonly event?: object;
}

/** The decrypted JSON of an event, in schema 2.0. */
export function eventText({
  id = "event-1",
  type = "test.event",
  app = appId,
  tenant,
  event = {},
}: EventParts): string {
  const header = {
    ...(id === null ? undefined : { event_id: id }),
    ...{ event_type: type, app_id: app ?? undefined, create_time: "1760000000000", token: "" },
    ...(tenant === undefined ? undefined : { tenant_key: tenant }),
  };
  return JSON.stringify({ schema: "2.0", header, event });
}

export function envelopeOf(text: string): EventEnvelope {
  const classified = classify(text);
  if (classified.kind !== "event") throw new TypeError(`not an event: ${classified.kind}`);
  const { token: _, ...notice } = classified;
  const receivedBy = notice.app ?? appId;
  return { ...notice, kind: "event", requestId: "log-1", transport: "webhook", receivedBy };
}

/** The SQS body of an event, as the receiver writes it. */
export function eventBody(parts: EventParts): string {
  return toBody(envelopeOf(eventText(parts)));
}

/** What a handler deferred first in its run. */
export function jobOf(origin: EventEnvelope | CallbackEnvelope, payload: unknown): JobEnvelope {
  const { kind: of, id: root, ...notice } = origin;
  const id = jobId(root);
  const chain = { root, place: "", key: id, depth: 1, chainStartedAtMs: 1_760_000_000_000 };
  return { ...notice, kind: "job", of, id, payload, ...chain };
}

/** An SQS body around any text: what somebody else may have put into the queue. */
export function plantedBody(text: string, members: object = {}): string {
  return JSON.stringify({ v: messageVersion, kind: "event", transport: "webhook", requestId: null, ...members, text });
}

/** A record that never was in a queue: its receipt handle is good for nothing. */
export function record(body: string, { attempt = 1, id = "message-1" } = {}): SQSRecord {
  return {
    messageId: id,
    receiptHandle: `receipt of ${id}`,
    body,
    attributes: {
      ApproximateReceiveCount: String(attempt),
      SentTimestamp: "1760000000000",
      SenderId: "sender",
      ApproximateFirstReceiveTimestamp: "1760000000000",
    },
    messageAttributes: {},
    md5OfBody: "",
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events",
    awsRegion: "us-east-1",
  };
}

export type TestHandle = (event: Readonly<Record<string, unknown>>, context: Context) => unknown;
export type TestKey = (event: Readonly<Record<string, unknown>>, context: KeyContext) => unknown;
export interface TestFile {
  readonly handle: TestHandle;
  readonly key?: TestKey;
  readonly dedupe?: "required" | "off";
  // biome-ignore lint/suspicious/noExplicitAny: whatever the test deferred.
  readonly deferred?: (payload: any, context: DeferredEventContext) => unknown;
  readonly onGiveUp?: AnyEventHandler["onGiveUp"];
}
/** Handlers by event type, each alone, with the key it gives its events, or as what loads its file. */
export type TestHandlers = Readonly<
  Record<
    string,
    TestHandle | TestFile | { readonly load: () => Promise<{ readonly handle: TestHandle; readonly key?: TestKey }> }
  >
>;

/** A dispatcher over handlers that stand in no file. */
export function handlerList(handlers: TestHandlers): Dispatch {
  const list = Object.entries(handlers).map(([type, given]) => {
    const load = async () => (typeof given === "function" ? { handle: given } : "load" in given ? given.load() : given);
    return [type, async () => ({ default: { type, ...(await load()) } })] as const;
  });
  return dispatcher(Object.fromEntries(list) as unknown as EventList);
}

export const chainLimits = { maxDeferrals: 1_000, deferForSeconds: 7 * 86_400 };
export const storing = (store: Deferrals["store"]): Deferrals => ({ store, ...chainLimits });

const unexpected = () => Promise.reject(new Error("nothing was expected to be called"));

/** Ports of a run that defers nothing, and to which nothing was deferred. */
export const noCallbacks = {
  deferrals: storing(unexpected),
  dispatchJob: () => ({ name: "unexpected", load: unexpected }),
  tools: () => ({
    secrets: {},
    sign: unexpected,
    signCard: unexpected,
    lark: unexpected,
    request: unexpected,
    reply: unexpected,
    send: unexpected,
    download: unexpected,
    text: unexpected,
    mentionsMe: unexpected,
    updateCard: unexpected,
    reactions: { add: unexpected, remove: unexpected },
  }),
};
