import type { Message } from "@aws-sdk/client-sqs";
import type { SQSRecord } from "aws-lambda";
import { type SettleOptions, settle } from "../../lib/aws/batch.ts";
import type { AwsClient } from "../../lib/aws/client.ts";
import { dynamoLedger, rememberSeconds } from "../../lib/aws/ledger.ts";
import { deferralsTo } from "../../lib/aws/queues.ts";
import type { Clock } from "../../lib/clock.ts";
import type { ChainLimits } from "../../lib/handling/deferral.ts";
import { jobDispatcher } from "../../lib/handling/dispatcher.ts";
import { type ClaimRequest, type Ledger, maxUnfinishedStarts } from "../../lib/handling/idempotency.ts";
import { consume, type WorkerPorts } from "../../lib/handling/worker.ts";
import { subscribe } from "../../lib/trace/trace.ts";
import { createTable } from "../simulation/table.ts";
import { clientTo, direct } from "./aws.ts";
import { callbackList, type TestCallbacks } from "./callbacks.ts";
import { settled, testClock } from "./clock.ts";
import { appId, chainLimits, handlerList, noCallbacks, type TestHandlers } from "./events.ts";
import { startFaults } from "./faults.ts";
import { seeded } from "./random.ts";
import { startQueues } from "./services.ts";
import { recordTrace } from "./trace.ts";

/** What a handler under test may do to the process it runs in. */
export interface TestProcess {
  /** Ends the process as `process.exit` or the lack of memory would: nothing of the invocation happens after it. */
  readonly die: () => Promise<never>;
}
export type HandlersOf = TestHandlers | ((process: TestProcess) => TestHandlers);

export interface InvokeOptions {
  readonly handlers: HandlersOf;
  /** Files whose `deferred` runs jobs; without them, none is expected. */
  readonly callbacks?: TestCallbacks;
  readonly timeoutMs?: number;
  readonly maxAttempts?: number;
  readonly app?: string;
  /** Of its lane. */
  readonly lane?: Pick<SettleOptions, "holdSeconds" | "maxAgeSeconds">;
  /** The machine's own clock, where it differs from the bench's. */
  readonly clock?: Clock;
  /** What handlers can call, and what runs jobs; nothing is expected to be called unless it is given. */
  readonly ports?: Partial<Pick<WorkerPorts, "tools" | "dispatchJob">>;
  /** How far a chain may go, where that is not far. */
  readonly chain?: Partial<ChainLimits>;
  /** Stands between the worker and Lambda, as a faulty wrapper would. */
  readonly wrap?: (answer: unknown) => unknown;
}

/** How an invocation ended, and what Lambda made of it. */
export interface Outcome {
  readonly records: readonly SQSRecord[];
  /** As it leaves the function: JSON. `undefined` for a process that died or threw. */
  readonly answer: unknown;
  readonly error?: unknown;
  readonly died: boolean;
  readonly deleted: readonly SQSRecord[];
  readonly kept: readonly { readonly record: SQSRecord; readonly waitSeconds: number }[];
}

/** Of the queue in the model. The embedded one never shows a record again by itself: the bench does, by its own clock. */
const visibilityTimeoutSeconds = 360;
const longestSeconds = 43_200;
const never = new Promise<never>(() => {});

/**
 * The worker between an embedded SQS and {@link createTable}, on a clock that stands still: receives batches,
 * hands them to `settle` with `consume` wired as in `functions/worker.ts`, and deletes what Lambda would.
 * The calls of the code under test go through `sqsFaults` and `dynamoFaults`, over HTTP while those have a rule. With
 * `memory` the ledger is {@link memoryLedger}, for rows of many cases that are not about the table.
 */
export async function startWorker(options: { seed?: number; maxReceiveCount?: number; memory?: boolean } = {}) {
  const { seed = 1, maxReceiveCount = 100, memory = false } = options;
  const services = await startQueues({ visibilityTimeoutSeconds: longestSeconds, maxReceiveCount });
  const { callSqs, urls } = services;
  const table = createTable();
  const ledgerTable = "ledger";
  /** Receipt handle → the visibility timeout that was set for it. */
  const asked = new Map<string, number>();
  const [sqsFaults, dynamoFaults] = await Promise.all([
    startFaults(services.exchangeSqs, ({ action, body }) => {
      if (action !== "ChangeMessageVisibility") return body;
      asked.set(String(body["ReceiptHandle"]), Number(body["VisibilityTimeout"]));
      return { ...body, VisibilityTimeout: longestSeconds };
    }),
    startFaults(async (...call) => {
      // As the embedded one does: time that passes with a call has passed when its answer comes.
      await settled();
      return table.exchange(...call);
    }),
  ]);
  const endpoints = { AWS_ENDPOINT_URL_SQS: sqsFaults.endpoint, AWS_ENDPOINT_URL_DYNAMODB: dynamoFaults.endpoint };
  const client = direct(clientTo(endpoints), { sqs: sqsFaults, dynamodb: dynamoFaults });
  const ledger = memory ? memoryLedger() : dynamoLedger(client, ledgerTable);
  const clock = testClock();
  const random = seeded(seed);
  const trace = recordTrace();
  let owners = 0;
  let ids = 0;
  let waiters = 0;

  /** One process of the worker function; once killed, nothing it began goes any further. */
  function startProcess(given: InvokeOptions) {
    const { timeoutMs = 60_000, maxAttempts = 10, app = appId, clock: ownClock = clock } = given;
    const startMs = clock.nowMs();
    const remainingMs = () => startMs + timeoutMs - clock.nowMs();
    const death = Promise.withResolvers<void>();
    let alive = true;
    const mortal = <T>(call: () => Promise<T>): Promise<T> => {
      if (!alive) return never;
      const rest = <V>(settled: () => V) => (alive ? settled() : never);
      return call().then(
        (value) => rest(() => value),
        (error) => rest(() => Promise.reject(error)),
      );
    };
    const mortalClient: AwsClient = { ...client, call: (...args) => mortal(() => client.call(...args)) };
    const mortalClock: Clock = {
      nowMs: ownClock.nowMs,
      after: (ms, fire) => ownClock.after(ms, () => alive && fire()),
    };
    const die = (): Promise<never> => {
      alive = false;
      death.resolve();
      return never;
    };
    const dispatch = handlerList(typeof given.handlers === "function" ? given.handlers({ die }) : given.handlers);
    return {
      death: death.promise,
      settle: (records: readonly SQSRecord[]) =>
        settle(records, {
          client: mortalClient,
          urls,
          appId: app,
          random: random.next,
          clock: mortalClock,
          maxReceives: maxReceiveCount,
          ...given.lane,
          consume: (envelope, delivery) =>
            consume(envelope, delivery, {
              ...noCallbacks,
              dispatchJob: jobDispatcher(dispatch, callbackList(given.callbacks ?? {})),
              deferrals: deferralsTo(mortalClient, { ...urls, ...chainLimits, ...given.chain }),
              ...given.ports,
              ...{ dispatch, random: random.next, maxAttempts, remainingMs },
              ledger: memory ? ledger : dynamoLedger(mortalClient, ledgerTable),
              clock: mortalClock,
              newOwner: () => `owner-${++owners}`,
            }),
        }),
    };
  }

  /** Invokes the function once, and deletes from the queue what Lambda would. */
  async function invoke(records: readonly SQSRecord[], given: InvokeOptions): Promise<Outcome> {
    const { wrap = (answer) => answer } = given;
    const process = startProcess(given);
    const running = process.settle(records).then(
      (answer) => ({ died: false, answer: toJson(wrap(answer)) }),
      (error: unknown) => ({ died: false, error, answer: undefined }),
    );
    const ended = await Promise.race([running, process.death.then(() => ({ died: true, answer: undefined }))]);
    // What a dead process had already sent still arrives.
    if (ended.died) await Promise.all([sqsFaults.quiet(), dynamoFaults.quiet()]);
    const failed = ended.died || "error" in ended;
    const deleted = failed ? [] : deletedBy(records, ended.answer);
    const gone = new Set(deleted);
    await remove(deleted);
    const kept = records
      .filter((record) => !gone.has(record))
      .map((record) => ({ record, waitSeconds: asked.get(record.receiptHandle) ?? visibilityTimeoutSeconds }));
    return { ...ended, records, deleted, kept };
  }

  async function receive(max = 10): Promise<SQSRecord[]> {
    return (await services.take(urls.eventsQueueUrl, { max, hiddenSeconds: longestSeconds })).map(toRecord);
  }

  /** Shows a record again at once. On a busy machine a short delay may have passed for real: then it is shown already. */
  async function show(record: SQSRecord): Promise<void> {
    const QueueUrl = urls.eventsQueueUrl;
    const input = { QueueUrl, ReceiptHandle: record.receiptHandle, VisibilityTimeout: 0 };
    await callSqs("ChangeMessageVisibility", input).catch((error: Error) => {
      if (error.name !== "MessageNotInflight") throw error;
    });
  }

  async function remove(records: readonly SQSRecord[]): Promise<void> {
    for (let from = 0; from < records.length; from += 10) {
      const Entries = records
        .slice(from, from + 10)
        .map(({ receiptHandle }, index) => ({ Id: String(index), ReceiptHandle: receiptHandle }));
      await callSqs("DeleteMessageBatch", { QueueUrl: urls.eventsQueueUrl, Entries });
    }
  }

  /** Invokes until the queue is empty, letting the clock run on to whatever comes back next. */
  async function drain(given: InvokeOptions & { batchSize?: number }): Promise<Outcome[]> {
    const { batchSize = 10 } = given;
    const outcomes: Outcome[] = [];
    let hidden: { record: SQSRecord; visibleAtMs: number }[] = [];
    for (;;) {
      const records = await receive(batchSize);
      if (records.length > 0) {
        const outcome = await invoke(records, given);
        outcomes.push(outcome);
        for (const { record, waitSeconds } of outcome.kept) {
          hidden.push({ record, visibleAtMs: clock.nowMs() + waitSeconds * 1000 });
        }
        continue;
      }
      if (hidden.length === 0) return outcomes;
      const nextMs = Math.min(...hidden.map(({ visibleAtMs }) => visibleAtMs));
      await clock.advance(Math.max(0, nextMs - clock.nowMs()));
      const due = hidden.filter(({ visibleAtMs }) => visibleAtMs <= clock.nowMs());
      hidden = hidden.filter(({ visibleAtMs }) => visibleAtMs > clock.nowMs());
      for (const { record } of due) await show(record);
    }
  }

  /** Puts bodies into the events queue. */
  async function send(...bodies: readonly string[]): Promise<void> {
    const QueueUrl = urls.eventsQueueUrl;
    const large = bodies.filter((body) => body.length > 50_000);
    const small = bodies.filter((body) => body.length <= 50_000);
    for (const MessageBody of large) await callSqs("SendMessage", { QueueUrl, MessageBody });
    for (let from = 0; from < small.length; from += 10) {
      const Entries = small.slice(from, from + 10).map((MessageBody, index) => ({ Id: String(index), MessageBody }));
      const { Failed: [failed] = [] } = await callSqs<{ Failed?: object[] }>("SendMessageBatch", { QueueUrl, Entries });
      if (failed !== undefined) throw new Error(`the queue refused a message: ${JSON.stringify(failed)}`);
    }
  }

  /** What lies in the dead-letter queue, or in another; it stays there, hidden. */
  async function lying(url: string = urls.deadLetterQueueUrl): Promise<Message[]> {
    const messages: Message[] = [];
    for (;;) {
      const more = await services.take(url);
      if (more.length === 0) return messages;
      messages.push(...more);
    }
  }

  /** Moves the dead-letter queue back, each message with its attributes, under a new message id. */
  async function redrive(): Promise<number> {
    const messages = await lying();
    for (const { Body, MessageAttributes, ReceiptHandle } of messages) {
      await callSqs("SendMessage", { QueueUrl: urls.eventsQueueUrl, MessageBody: Body, MessageAttributes });
      await callSqs("DeleteMessage", { QueueUrl: urls.deadLetterQueueUrl, ReceiptHandle });
    }
    return messages.length;
  }

  return {
    ...{ services, urls, client, ledger, ledgerTable, table, clock, random, trace, sqsFaults, dynamoFaults },
    ...{ startProcess, invoke, receive, show, remove, drain, send, lying, redrive },
    /** Environment of a function that is to use the queues and the table. */
    env: {
      ...services.env,
      AWS_ENDPOINT_URL_DYNAMODB: dynamoFaults.endpoint,
      LEDGER_TABLE: ledgerTable,
    },
    /** Receives after which SQS would move a record to the dead-letter queue. */
    maxReceives: maxReceiveCount,
    /** An event id that no other test has. */
    newId: (name = "event") => `${name}-${++ids}`,
    /** Stages that an event went through. */
    stagesOf: (id: string) => trace.entries.filter((entry) => entry.id === id).map(({ stage }) => stage),
    /** Resolves once `count` events have reached a stage since the last reset. */
    reached(stage: string, count = 1): Promise<void> {
      const isThere = () => trace.entries.filter((entry) => entry.stage === stage).length >= count;
      return new Promise((resolve) => {
        const look = () => {
          if (!isThere()) return;
          stop();
          resolve();
        };
        const stop = subscribe(`reached ${stage} ${++waiters}`, () => queueMicrotask(look));
        look();
      });
    },
    /** Events that reached a stage, in order, as often as they did. */
    idsAt: (stage: string) => trace.entries.filter((entry) => entry.stage === stage).map(({ id }) => id ?? ""),
    counts: async () => ({
      queued: await services.count(urls.eventsQueueUrl),
      dead: await services.count(urls.deadLetterQueueUrl),
      quarantined: await services.count(urls.quarantineQueueUrl),
    }),
    /** Empties the queues and ends every fault; the ledger keeps what it knows. */
    async reset(): Promise<void> {
      sqsFaults.reset();
      dynamoFaults.reset();
      trace.entries.length = 0;
      for (const QueueUrl of Object.values(urls)) await callSqs("PurgeQueue", { QueueUrl });
    },
    async stop(): Promise<void> {
      trace.stop();
      client.destroy();
      await Promise.all([sqsFaults.stop(), dynamoFaults.stop()]);
      await services.stop();
    },
  };
}

export type Worker = Awaited<ReturnType<typeof startWorker>>;

/**
 * The records that Lambda deletes for an answer, by its documented table. All of them: nothing, `{}`, a null
 * or empty list. None: no JSON, a list that is none, a failure whose id is missing, empty or unknown.
 * https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 */
export function deletedBy(records: readonly SQSRecord[], answer: unknown): readonly SQSRecord[] {
  if (answer === undefined || answer === null) return records;
  if (typeof answer !== "object") return [];
  const list = (answer as { batchItemFailures?: unknown }).batchItemFailures;
  if (list === undefined || list === null) return records;
  if (!Array.isArray(list)) return [];
  const failed = new Set(list.map((failure: { itemIdentifier?: unknown } | null) => failure?.itemIdentifier));
  const known = new Set<unknown>(records.map(({ messageId }) => messageId));
  for (const id of failed) if (!known.has(id) || id === "") return [];
  return records.filter(({ messageId }) => !failed.has(messageId));
}

/** The ledger's rules without a table. A test holds it against `dynamoLedger` on random scripts. */
export function memoryLedger(): Ledger {
  interface Row extends ClaimRequest {
    readonly phase: "running" | "open" | "done" | "dead";
    readonly runs: number;
    readonly unfinished: number;
    readonly counted: number;
    readonly expiresAtSeconds: number;
    readonly death?: string | undefined;
    readonly reactions?: readonly string[];
  }
  const rows = new Map<string, Row>();
  const expiry = (nowMs: number) => Math.floor(nowMs / 1000) + rememberSeconds;
  return {
    async claim(request) {
      const { key, owner, nowMs, redrives, maxRuns } = request;
      const row = rows.get(key);
      const isOwn = row?.phase === "running" && row.owner === owner;
      const isForgotten = row === undefined || row.expiresAtSeconds < Math.floor(nowMs / 1000) || isOwn;
      const left = isForgotten || row.reactions === undefined ? {} : { reactions: row.reactions };
      const take = (counts: Pick<Row, "runs" | "unfinished" | "counted" | "death">) =>
        void rows.set(key, { ...request, ...counts, ...left, phase: "running", expiresAtSeconds: expiry(nowMs) });
      const isRedriven = row !== undefined && redrives > row.redrives;
      const isOver = row !== undefined && (row.phase === "dead" || row.leaseEndsAtMs <= nowMs);
      const isExpired = row !== undefined && row.expiresAtSeconds * 1000 < nowMs;
      if (row === undefined || isExpired || isOwn || (isRedriven && isOver && row.phase !== "done")) {
        take({ runs: 1, unfinished: 1, counted: 1, death: undefined });
        return { state: "claimed", run: 1, ...left };
      }
      if (row.phase === "done" || row.phase === "dead") return { state: row.phase, digest: row.digest, ...left };
      if (!isOver) return { state: "busy", leaseEndsAtMs: row.leaseEndsAtMs, ...left };
      const { runs, unfinished, death } = row;
      const isCrashLoop = row.phase === "running" && unfinished >= maxUnfinishedStarts;
      if (isCrashLoop || runs >= maxRuns || death !== undefined) {
        take({ runs, unfinished, counted: 0, death });
        return { state: "spent", run: runs, isCrashLoop, death, ...left };
      }
      take({ runs: runs + 1, unfinished: unfinished + 1, counted: 1, death });
      return { state: "claimed", run: runs + 1, ...left };
    },
    async conclude(key, owner, { nowMs, claimableAtMs = nowMs, ...change }) {
      const row = rows.get(key);
      if (row?.owner !== owner) return false;
      const expiresAtSeconds = expiry(nowMs);
      rows.set(key, { ...row, unfinished: 0, expiresAtSeconds, leaseEndsAtMs: claimableAtMs, ...change });
      return true;
    },
    async storeReaction(key, owner, reaction) {
      const row = rows.get(key);
      if (row?.owner !== owner || row.phase !== "running") return false;
      rows.set(key, { ...row, reactions: [...new Set([...(row.reactions ?? []), reaction])].sort() });
      return true;
    },
    async withdraw(key, owner, nowMs) {
      const row = rows.get(key);
      if (row?.owner !== owner || row.phase !== "running") return false;
      const counts = { runs: row.runs - row.counted, unfinished: row.unfinished - row.counted };
      rows.set(key, { ...row, ...counts, phase: "open", leaseEndsAtMs: nowMs });
      return true;
    },
  };
}

/** A message as Lambda hands it to a function. */
export function toRecord(message: Message): SQSRecord {
  const { MessageId = "", ReceiptHandle = "", Body = "", Attributes, MessageAttributes = {}, MD5OfBody = "" } = message;
  const messageAttributes = Object.entries(MessageAttributes).map(
    ([name, { StringValue = "" }]) => [name, { stringValue: StringValue, dataType: "String" as const }] as const,
  );
  return {
    messageId: MessageId,
    receiptHandle: ReceiptHandle,
    body: Body,
    attributes: Attributes as unknown as SQSRecord["attributes"],
    messageAttributes: Object.fromEntries(messageAttributes),
    md5OfBody: MD5OfBody,
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events",
    awsRegion: "us-east-1",
  };
}

function toJson(value: unknown): unknown {
  const text = JSON.stringify(value);
  return text === undefined ? undefined : JSON.parse(text);
}
