import { lanesOf, lanesText } from "../../infra/lanes.js";
import { projectOf } from "../../infra/project.js";
import { settle } from "../../lib/aws/batch.ts";
import { type AwsClient, type Calls, serviceOf } from "../../lib/aws/client.ts";
import { laneFinder, parseLanes } from "../../lib/aws/lanes.ts";
import { dynamoLedger } from "../../lib/aws/ledger.ts";
import { receiverQueues } from "../../lib/aws/queues.ts";
import type { Clock } from "../../lib/clock.ts";
import { NonRetryableError, RetryLaterError } from "../../lib/errors.ts";
import { idempotencyKey } from "../../lib/handling/idempotency.ts";
import { consume } from "../../lib/handling/worker.ts";
import { deletable } from "../../lib/local/poller.ts";
import { retryDelaysMs } from "../../lib/simulator/platform/retries.ts";
import { settled } from "../support/clock.ts";
import { appId, envelopeOf, eventText, handlerList, noCallbacks } from "../support/events.ts";
import { rollFor } from "./plan.ts";
import { createSchedule, createSqs, type Message, toRecord } from "./sqs.ts";
import { createTable, type Input } from "./table.ts";

const chatType = "im.message.receive_v1";
const slowType = "contact.user.created_v3";
const fastType = "im.chat.disbanded_v1";
const project = projectOf({
  lanes: {
    ai: { types: [chatType], order: "message.chat_id", concurrency: 200, attempts: 3 },
    bulk: { types: ["contact.*"], concurrency: 5 },
  },
});
const lanes = lanesOf(project);
type Lane = (typeof lanes)[number];
const laneOf = laneFinder(parseLanes(lanesText(project)));

const startMs = Date.UTC(2026, 0, 1);
/** For so long SQS drops what it has. */
const deduplicationMs = 300_000;
/** Between two events of a chat, on average. */
const pauseMs = 120_000;
/** A poller learns so late of a message. */
const pollMs = 20;
const slowMs = 20_000;
/** The platform's last push may come so long after the first. */
const repushMs = 25_500_000;
const never = new Promise<never>(() => {});

/** How often what may go wrong does so. */
const chances = {
  /** The queue refuses a send, or takes it and its answer is lost. The platform then pushes again. */
  refusedSend: 0.03,
  lostSend: 0.03,
  /** The platform pushes an event again that was acknowledged, within seven hours. */
  repush: 0.1,
  /** Each of any other call: it is refused, or done without an answer. */
  refusedCall: 0.005,
  lostCall: 0.005,
  /** The worker's process dies while the handler runs. */
  crash: 0.01,
  /** A received message reaches no worker. */
  lostReceive: 0.002,
  /** A message that was handled is not deleted. */
  lostDelete: 0.01,
  /** The first one or two runs of a healthy event fail. Half of those ask for an hour until the next. */
  failure: 0.05,
} as const;

const poisons = ["throw", "never", "crash", "hang"] as const;

export interface Subject {
  readonly id: string;
  readonly type: string;
  readonly chat: number;
  readonly isPoison: boolean;
  /** When the queue took it for the first time, and as which of its chat's events. */
  sentMs?: number;
  place?: number;
  messageId?: string;
  startedMs?: number;
  runs: number;
  /** The owners of the claims that were completed. */
  readonly completions: Set<string>;
}

/**
 * The worker, the ledger's table and the choice of the queue as they are, between the models of the platform, of SQS and
 * of Lambda, on one clock that jumps from event to event.
 *
 * @param options.isPoisoned Every twentieth chat has events that fail, hang or end the process. Without it, they are as
 * healthy as all others. What befalls an event depends on the seed and its id alone.
 */
export function createLanesSimulation(options: {
  readonly n: number;
  readonly seed: number;
  readonly isPoisoned: boolean;
  readonly progress: (done: number) => void;
}) {
  const { n, seed, isPoisoned, progress } = options;
  const chats = Math.max(20, Math.round(n / 100));
  // A sample has one such chat, of five events.
  const poisonShare = n < 1_000 ? 0.8 : 0.2;
  const schedule = createSchedule<() => void>();
  const table = createTable();
  const violations: string[] = [];
  const rolls = new Map<string, number>();
  const subjects = new Map<string, Subject>();
  const byKey = new Map<string, Subject>();
  /** By message, when it was received last. */
  const lastReceives = new Map<string, number>();
  const lastPlaces = new Map<number, { sent: number; completed: number }>();
  /** The chats of which a handler runs. */
  const running = new Map<number, Subject>();
  let nowMs = startMs;
  let ids = 0;
  let done = 0;

  const at = (atMs: number, act: () => void) => schedule.add(Math.max(nowMs, atMs), act);
  const sleep = (ms: number) => new Promise<void>((resolve) => at(nowMs + ms, resolve));
  const newId = () => `id-${++ids}`;
  const pokes = new Map<string, () => void>();
  const sqs = createSqs({
    newId,
    nowMs: () => nowMs,
    onChange: (queue, atMs) => {
      const poke = pokes.get(queue);
      if (poke !== undefined) at(atMs + pollMs, poke);
    },
  });
  const clock: Clock = {
    nowMs: () => nowMs,
    after(ms, fire) {
      let isSet = true;
      at(nowMs + ms, () => isSet && fire());
      return () => {
        isSet = false;
      };
    },
  };

  /** In [0, 1), and the same in a run with poison and one without. */
  function roll(...what: readonly string[]): number {
    const name = what.join(" ");
    const nth = (rolls.get(name) ?? 0) + 1;
    rolls.set(name, nth);
    return rollFor(seed, name, nth);
  }

  function perform(name: keyof Calls, input: Input): object {
    if (serviceOf[name] === "sqs") return sqs.call(name, input);
    const { status, body } = table.call(name, input);
    if (status === 200) return body;
    const { __type = "", Item } = body as { __type?: string; Item?: object };
    throw Object.assign(new Error("the table refuses it"), { name: __type.replace(/^.*#/, ""), Item });
  }

  /** A client whose calls meet faults. `of` names whom they are rolled for. */
  function clientOf(
    of: string,
    given: { refused: number; lost: number; onDone: (name: string, input: Input, answer: object) => void },
  ) {
    return {
      connect: async () => {},
      destroy() {},
      async call(name: keyof Calls, input: object) {
        const chance = roll(of, name);
        if (chance < given.refused) throw Object.assign(new Error("refused"), { name: "ServiceUnavailable" });
        const answer = perform(name, input as Input);
        given.onDone(name, input as Input, answer);
        if (chance < given.refused + given.lost) throw Object.assign(new Error("lost"), { name: "TimeoutError" });
        return answer;
      },
    } as AwsClient;
  }

  function push(subject: Subject, number: number): void {
    const { id, type, chat } = subject;
    const onDone = (_name: string, _input: Input, { MessageId = "" }: { MessageId?: string }) => {
      if (subject.sentMs !== undefined) {
        const isSoon = nowMs - subject.sentMs < deduplicationMs && laneOf(type)?.order !== undefined;
        if (isSoon && MessageId !== subject.messageId) violations.push(`${id} was queued twice within five minutes`);
        return;
      }
      subject.messageId = MessageId;
      const places = lastPlaces.get(chat) ?? { sent: 0, completed: 0 };
      lastPlaces.set(chat, places);
      subject.sentMs = nowMs;
      subject.place = ++places.sent;
    };
    const client = clientOf(id, { refused: chances.refusedSend, lost: chances.lostSend, onDone });
    const urls = { eventsQueueUrl: "https://sqs/0/events", quarantineQueueUrl: "https://sqs/0/quarantine" };
    const event = { message: { chat_id: `oc_${chat}`, content: "{}" } };
    const sent = receiverQueues(client, { ...urls, laneOf }).send(
      envelopeOf(eventText({ id, type, event })),
      new AbortController().signal,
    );
    sent.then(
      () => {
        if (number === 1 && roll(id, "repush") < chances.repush) {
          at(nowMs + repushMs * roll(id, "repushed") ** 2, () => push(subject, 2));
        }
      },
      () => {
        const delayMs = retryDelaysMs[number - 1];
        if (delayMs !== undefined) at(nowMs + delayMs, () => push(subject, number + 1));
      },
    );
  }

  function onCompleted(subject: Subject, owner: string): void {
    const { id, chat, type, place = 0, completions } = subject;
    if (completions.has(owner)) return;
    completions.add(owner);
    if (completions.size > 1) violations.push(`${id} completed twice`);
    const places = lastPlaces.get(chat);
    if (places !== undefined && type === chatType) {
      if (place < places.completed)
        violations.push(`${id}, number ${place} of its chat, after number ${places.completed}`);
      places.completed = place;
    }
    if (++done % 100 === 0) progress(Math.min(n, done));
  }

  /** A message of a FIFO queue comes back after the time of its run and its delay. After a crash, that is sooner. */
  function onReceived({ order, timeoutSeconds, holdSeconds }: Lane, { id }: Message): void {
    const heldMs = nowMs - (lastReceives.get(id) ?? nowMs);
    const isLong = heldMs > 1000 * (timeoutSeconds + (holdSeconds ?? 0)) + 2 * pollMs;
    if (order !== null && isLong) violations.push(`message ${id} held its chat for ${heldMs} ms`);
    lastReceives.set(id, nowMs);
  }

  /** One invocation of a lane's worker. Resolves when it has ended, by itself or with its process. */
  async function invoke(lane: Lane, messages: readonly Message[]): Promise<void> {
    const records = messages.map((message) => toRecord(message, { receipt: message.receipt, queue: lane.queueName }));
    const batch = messages.map(({ body }) => subjects.get(/"event_id\\":\\"([^\\]+)/.exec(body)?.[1] ?? "") as Subject);
    const [first] = batch;
    if (first === undefined) return;
    const death = Promise.withResolvers<undefined>();
    let isAlive = true;
    const die = (): Promise<never> => {
      isAlive = false;
      death.resolve(undefined);
      return never;
    };
    const endsAtMs = nowMs + 1000 * lane.timeoutSeconds;
    const onDone = (name: string, { Key, ExpressionAttributeValues }: Input) => {
      const { ":phase": phase, ":me": me } = (ExpressionAttributeValues ?? {}) as Record<string, { S?: string }>;
      const subject = byKey.get((Key as { pk?: { S?: string } } | undefined)?.pk?.S ?? "");
      if (name === "UpdateItem" && phase?.S === "done" && subject !== undefined) onCompleted(subject, me?.S ?? "");
    };
    const faults = isFast(lane) ? { refused: 0, lost: 0 } : { refused: chances.refusedCall, lost: chances.lostCall };
    const living = clientOf(first.id, { ...faults, onDone });
    const client: AwsClient = {
      ...living,
      call: async (...args) => {
        if (!isAlive) return never;
        return living.call(...args);
      },
    };
    const held = new Set<Subject>();
    const handle = async (_event: unknown, { id }: { readonly id: string }) => {
      const subject = subjects.get(id) as Subject;
      const other = running.get(subject.chat);
      const [before = subject] = held;
      if (lane.order !== null && before.chat !== subject.chat)
        violations.push(`${id} ran behind another chat's ${before.id}`);
      if (subject.type === chatType && other !== undefined) violations.push(`${id} ran beside ${other.id} of its chat`);
      if (subject.type === chatType) running.set(subject.chat, subject);
      held.add(subject);
      subject.startedMs ??= nowMs;
      if (++subject.runs > lane.attempts) violations.push(`${id} ran ${subject.runs} times`);
      await act(subject, die);
    };
    const { eventsQueueUrl, ...urls } = urlsOf();
    const dispatch = handlerList({ [chatType]: handle, [slowType]: handle, [fastType]: handle });
    const random = () => roll(first.id, "random");
    const settling = settle(records, {
      ...{ client, urls: { eventsQueueUrl, ...urls }, appId, random, clock },
      ...{ maxReceives: lane.maxReceiveCount, holdSeconds: lane.holdSeconds ?? undefined },
      consume: (envelope, delivery) =>
        consume(envelope, delivery, {
          ...{ ...noCallbacks, dispatch, random, clock, newOwner: newId, maxAttempts: lane.attempts },
          ledger: dynamoLedger(client, "ledger"),
          remainingMs: () => endsAtMs - nowMs,
        }),
    });
    const answer = await Promise.race([settling, death.promise]);
    isAlive = false;
    for (const subject of held) if (running.get(subject.chat) === subject) running.delete(subject.chat);
    if (answer === undefined) return;
    for (const { receiptHandle } of deletable(records, answer)) {
      if (roll(first.id, "delete") >= chances.lostDelete) sqs.delete(lane.queueName, receiptHandle);
    }
  }

  /** What a run of the event's handler does. */
  async function act(subject: Subject, die: () => Promise<never>): Promise<void> {
    const { id, type, chat, isPoison, runs } = subject;
    if (type === fastType) return;
    const ms = type === slowType ? slowMs : 1_000 + 9_000 * roll(id, "ms");
    const poison = isPoison ? poisons[Math.floor(poisons.length * rollFor(seed, id, "poison"))] : undefined;
    const dies = poison === "crash" || roll(id, "crash") < chances.crash;
    await sleep(dies ? ms * roll(id, "crashed") : ms);
    if (dies) await die();
    if (poison === "hang") await never;
    if (poison === "never") throw new NonRetryableError(`poison in chat ${chat}`);
    const failures =
      rollFor(seed, id, "fails") < chances.failure ? 1 + Math.floor(2 * rollFor(seed, id, "failures")) : 0;
    if (poison !== "throw" && runs > failures) return;
    if (roll(id, "later") < 0.5) throw new RetryLaterError(`${id} asks for an hour`, { delaySeconds: 3_600 });
    throw new Error(`run ${runs} of ${id} fails`);
  }

  for (const { queueName, visibilityTimeoutSeconds, maxReceiveCount } of lanes) {
    const to = queueName.endsWith(".fifo") ? "dead-letters.fifo" : "dead-letters";
    sqs.createQueue(queueName, { visibilityTimeoutSeconds, redrive: { to, maxReceiveCount } });
  }
  for (const name of ["dead-letters", "dead-letters.fifo", "quarantine"]) {
    sqs.createQueue(name, { visibilityTimeoutSeconds: 30 });
  }
  for (const lane of lanes) {
    let invocations = 0;
    const poke = () => {
      while (invocations < lane.concurrency) {
        const messages = sqs.receive(lane.queueName, Math.min(10, lane.batchSize));
        if (messages.length === 0) return;
        for (const message of messages) onReceived(lane, message);
        if (!isFast(lane) && roll(messages[0]?.body ?? "", "receive") < chances.lostReceive) continue;
        invocations++;
        void invoke(lane, messages).finally(() => {
          invocations--;
          poke();
        });
      }
    };
    pokes.set(lane.queueName, poke);
  }

  function add(id: string, type: string, chat: number, sentAtMs: number): Subject {
    const isPoison = isPoisoned && type === chatType && chat % 20 === 7 && rollFor(seed, id, "isPoison") < poisonShare;
    const subject: Subject = { id, type, chat, isPoison, runs: 0, completions: new Set() };
    subjects.set(id, subject);
    byKey.set(`claim#${idempotencyKey({ app: appId, handler: type, id })}`, subject);
    at(sentAtMs, () => push(subject, 1));
    return subject;
  }

  const windowMs = (n / chats) * pauseMs;
  for (let index = 0; index < n; index++) {
    const id = `event-${index}`;
    // In whole seconds, so that some come together, as after a pause of the network.
    add(id, chatType, index % chats, startMs + 1000 * Math.floor((windowMs / 1000) * rollFor(seed, id, "sent")));
  }
  // In the middle of it, a thousand slow events at once, and now and then a fast one while they wait.
  const slow = Math.min(1_000, Math.ceil(n / 3));
  for (let index = 0; index < slow; index++) add(`slow-${index}`, slowType, -1, startMs + windowMs / 2);
  const busyMs = (slow / 50) * slowMs;
  for (let index = 0; index < 20; index++)
    add(`fast-${index}`, fastType, -2, startMs + windowMs / 2 + (busyMs * index) / 20);

  return {
    violations,
    subjects: [...subjects.values()],
    chats,
    sinceStartMs: () => nowMs - startMs,
    async run(): Promise<void> {
      for (let next = schedule.nextAtMs(); next !== undefined; next = schedule.nextAtMs()) {
        nowMs = Math.max(nowMs, next);
        for (const fire of schedule.takeUntil(nowMs)) fire();
        await settled();
      }
    },
    /** The ids of the dead letters. */
    dead(): Set<string> {
      const letters: Message[] = [];
      for (const queue of ["dead-letters", "dead-letters.fifo"]) {
        for (let more = sqs.receive(queue, 10); more.length > 0; more = sqs.receive(queue, 10)) letters.push(...more);
      }
      return new Set(letters.map(({ attributes }) => attributes["eventId"]?.StringValue ?? "an event without a name"));
    },
    attemptsOf: ({ type }: Subject) =>
      lanes.find(({ name }) => name === (laneOf(type)?.name ?? "default"))?.attempts ?? 0,
    waiting: () => lanes.map(({ queueName }) => sqs.count(queueName)).reduce((sum, count) => sum + count),
  };
}

/** No fault befalls its events: what they wait for is the other lanes. */
function isFast({ name }: Lane): boolean {
  return name === "default";
}

function urlsOf() {
  const of = (name: string) => `https://sqs/0/${name}`;
  return {
    eventsQueueUrl: of("events"),
    quarantineQueueUrl: of("quarantine"),
    deadLetterQueueUrl: of("dead-letters"),
  };
}
