import type { SQSRecord } from "aws-lambda";
import { messageVersion, toBody } from "../../lib/aws/record.ts";
import { classify } from "../../lib/feishu/classify.ts";
import type { EventEnvelope } from "../../lib/feishu/envelope.ts";
import type { Context, EventList, KeyContext } from "../../lib/handler.ts";
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
/** Handlers by event type, each alone, with the key it gives its events, or as what loads its file. */
export type TestHandlers = Readonly<
  Record<
    string,
    | TestHandle
    | { readonly handle: TestHandle; readonly key?: TestKey; readonly dedupe?: "required" | "off" }
    | { readonly load: () => Promise<{ readonly handle: TestHandle; readonly key?: TestKey }> }
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

const unexpected = () => Promise.reject(new Error("nothing was expected to be called"));

/** Ports of a worker that no callback defers to. */
export const noCallbacks = {
  dispatchJob: () => ({ name: "unexpected", load: unexpected }),
  tools: () => ({
    secrets: {},
    sign: unexpected,
    signCard: unexpected,
    lark: unexpected,
    request: unexpected,
    updateCard: unexpected,
  }),
};
