import { randomBytes } from "node:crypto";
import type { DynamoDB } from "@aws-sdk/client-dynamodb";
import type { SQS } from "@aws-sdk/client-sqs";
import { defaultTryMs, type Item } from "../../aws/client.ts";
import { itemsOf } from "../../aws/dynamodb.ts";
import { type Lane, laneFinder, laneQueueUrl, laneSmokeType } from "../../aws/lanes.ts";
import { addressOf } from "../../aws/queues.ts";
import { toBody } from "../../aws/record.ts";
import { fromSdk } from "../../aws/sdk.ts";
import { type Clock, pause, systemClock } from "../../clock.ts";
import { classify } from "../../feishu/classify.ts";
import { fieldsOf, parseObject } from "../../feishu/json.ts";
import { smokeAnswer, smokeType } from "../../handling/dispatcher.ts";
import { idempotencyKey } from "../../handling/idempotency.ts";
import { appSigner, cardSigner, signValue } from "../../signed-value.ts";
import { toMessage } from "../../simulator/platform/platform.ts";
import { toWebhook } from "../../simulator/platform/webhook.ts";
import { randomId, sampleEnvelope } from "../../simulator/samples/samples.ts";
import { adviceOn, reasonOf } from "../deploy/clients.ts";
import { type Hop, hopOf, probe, type Sender, storeSmoke } from "../deploy/probe.ts";

/** What is tried: addresses, and what is behind them. */
export interface Subject extends Sender {
  readonly name: string;
  readonly addresses: readonly string[];
  /** The addresses among them that are for callbacks. */
  readonly callbackAddresses: readonly string[];
  readonly appSecret: string | undefined;
  readonly dynamo: DynamoDB;
  readonly sqs: SQS;
  readonly table: string;
  readonly eventsUrl: string;
  readonly lanes: readonly Lane[];
  /** As the probe has it. */
  readonly waitsMs?: readonly number[];
  readonly clock?: Clock;
}

type OnHop = (hop: Hop) => void;

/** How long the worker may take to complete the event: with a cold start, and behind others. */
const completedWithinMs = 60_000;
const lookEveryMs = 200;

/** Tries each address, and follows each event that one has stored; then one of each lane, by the first that answers. */
export async function tryHops(subject: Subject, onHop: OnHop): Promise<void> {
  const { addresses, callbackAddresses, lanes } = subject;
  if (addresses.length === 0) await follow(await put(smokeType, subject, onHop), smokeType, subject, onHop);
  let first: string | undefined;
  for (const url of addresses) {
    const onHopHere = (hop: Hop) => onHop({ ...hop, address: url });
    const { isReached, eventId } = await probe(url, { ...subject, onHop: onHopHere });
    await follow(eventId, smokeType, subject, onHopHere);
    if (isReached && callbackAddresses.includes(url)) await click(url, subject, onHopHere);
    if (isReached) first ??= url;
  }
  if (addresses.length > 0 && first === undefined) return;
  for (const { name: lane } of lanes) {
    const type = `${laneSmokeType}${lane}`;
    const onHopThere = (hop: Hop) => onHop({ ...hop, lane, ...(first === undefined ? {} : { address: first }) });
    const eventId = await (first === undefined
      ? put(type, subject, onHopThere)
      : storeSmoke(first, { ...subject, type, onHop: onHopThere }));
    await follow(eventId, type, subject, onHopThere);
  }
}

/** Stores an event as the long connection does, for a stage without address. */
async function put(type: string, subject: Subject, onHop: OnHop): Promise<string | undefined> {
  const { appId, sqs, eventsUrl: eventsQueueUrl, lanes, clock = systemClock } = subject;
  const eventId = randomId();
  const startMs = clock.nowMs();
  const text = JSON.stringify(sampleEnvelope(type, { nowMs: startMs, appId, newId: randomId, eventId }));
  const notice = classify(text);
  if (notice.kind !== "event") throw new TypeError("The smoke test's event is not an event");
  const { token: _, ...event } = notice;
  const carried = { kind: "event", transport: "long-connection", receivedBy: appId, requestId: null } as const;
  const envelope = { ...event, ...carried };
  const address = addressOf(envelope, laneFinder(lanes)(type), { eventsQueueUrl });
  try {
    await sqs.sendMessage({ ...address, MessageBody: toBody(envelope) });
  } catch (error) {
    onHop(refusedHop("push", "the queue does not store an event", "sqs:SendMessage", error));
    return undefined;
  }
  onHop({
    hop: "push",
    isOk: true,
    ms: clock.nowMs() - startMs,
    text: "there is no address: the queue stores an event",
  });
  return eventId;
}

/** Looks at the event's row in the ledger until the worker has completed it. */
async function follow(eventId: string | undefined, type: string, subject: Subject, onHop: OnHop): Promise<void> {
  if (eventId === undefined) return;
  const { appId, dynamo, table, clock = systemClock } = subject;
  const items = itemsOf(fromSdk({ dynamodb: dynamo }, { ...defaultTryMs, dynamodb: 5_000 }), table, "claim");
  const key = idempotencyKey({ app: appId, handler: smokeType, id: eventId });
  const startMs = clock.nowMs();
  let takenMs: number | undefined;
  for (;;) {
    let row: Item | undefined;
    try {
      row = await items.read(key);
    } catch (error) {
      onHop(refusedHop("ledger", "the ledger does not say whether it has the event", "dynamodb:GetItem", error));
      return;
    }
    const ms = clock.nowMs() - startMs;
    const phase = row?.["phase"]?.S;
    if (phase !== undefined && takenMs === undefined) {
      takenMs = ms;
      onHop({ hop: "queue", isOk: true, ms, text: "the worker takes it from the queue" });
    }
    if (phase === "done") {
      onHop({ hop: "ledger", isOk: true, ms: ms - (takenMs ?? 0), text: "the ledger has it as done" });
      return;
    }
    if (ms >= completedWithinMs) {
      onHop(takenMs === undefined ? await lostHop(type, subject, ms) : openHop(eventId, { phase, ms }));
      return;
    }
    await pause(clock, lookEveryMs);
  }
}

/** No row: the queue says where the event is. */
async function lostHop(type: string, { sqs, eventsUrl, lanes }: Subject, ms: number): Promise<Hop> {
  const lane = laneFinder(lanes)(type);
  const QueueUrl = lane === undefined ? eventsUrl : laneQueueUrl(eventsUrl, lane);
  const text = `the worker does not take it from the queue within ${completedWithinMs / 1000} s`;
  const hop = { hop: "queue", isOk: false, ms } as const;
  const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
  let counts: Readonly<Record<string, string>>;
  try {
    const { Attributes } = await sqs.getQueueAttributes({ QueueUrl, AttributeNames: [...names] });
    counts = Attributes ?? {};
  } catch (error) {
    const reason = reasonOf(error);
    const advice = adviceOn(reason, "sqs:GetQueueAttributes");
    return { ...hop, text: `${text}. What waits is not known: ${reason}`, advice };
  }
  const [waiting = 0, running = 0] = names.map((name) => Number(counts[name]));
  return {
    ...hop,
    text: `${text}: ${waiting} wait there, ${running} are being handled`,
    advice: lostAdvice(waiting, running),
  };
}

function lostAdvice(waiting: number, running: number): string {
  if (running > 0) return "The worker is at work: its log says with what. Behind a backlog, try again later";
  if (waiting > 0) return "Nothing takes events: look whether the worker is paused, throttled, or fails to start";
  return "The event has left the queue: another worker takes from it, and has another ledger";
}

function openHop(eventId: string, { phase, ms }: { phase: string | undefined; ms: number }): Hop {
  const text = `the ledger does not have it as done within ${completedWithinMs / 1000} s, but as "${phase}"`;
  return { hop: "ledger", isOk: false, ms, text, advice: `The worker's lines of ${eventId} in the log say why` };
}

function refusedHop(hop: Hop["hop"], text: string, right: string, error: unknown): Hop {
  const reason = reasonOf(error);
  return { hop, isOk: false, ms: 0, text: `${text}: ${reason}`, advice: adviceOn(reason, right) };
}

/** Clicks a button whose value is signed, if there is a secret to sign it with. */
async function click(url: string, subject: Subject, onHop: OnHop): Promise<void> {
  const { keys, appId, appSecret, clock = systemClock } = subject;
  const isSigned = appSecret !== undefined;
  const tenant = "larkpost-smoke";
  const context = {
    tenant,
    signCard: cardSigner(
      appSigner(async () => appSecret ?? ""),
      clock,
    ),
  };
  const value = isSigned ? await signValue({}, context, { purpose: smokeType }) : {};
  const envelope = sampleEnvelope("card.action.trigger", { nowMs: clock.nowMs(), appId, newId: randomId, tenant });
  envelope.event["action"] = { tag: smokeType, value };
  const result = await toWebhook({ url, keys, clock, randomBytes })(toMessage(JSON.stringify(envelope)), { number: 1 });
  const wanted = smokeAnswer({ isSigned }).toast.content;
  const isOk = result.delivered && fieldsOf(parseObject(result.body)?.["toast"])["content"] === wanted;
  const did = isSigned
    ? "answers a click with a signed value"
    : "answers a click (no app secret is stored: its value is not signed)";
  const advice = isSigned
    ? "The callback's log says why: `value-forged` is another APP_SECRET, `store` the ledger"
    : "The callback's log says why";
  onHop(hopOf("click", isOk, result, [did, "does not answer a click as it should", advice]));
}
