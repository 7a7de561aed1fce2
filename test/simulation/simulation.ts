import { randomUUID } from "node:crypto";
import type { SQSBatchResponse } from "aws-lambda";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../lib/feishu/keys.ts";
import { sealEnvelope } from "../../lib/simulator/platform/push.ts";
import { retryDelaysMs } from "../../lib/simulator/platform/retries.ts";
import { httpApi } from "../support/http-events.ts";
import { type Call, type Cloud, type Fault, type Message, startCloud } from "./cloud.ts";
import { type Ended, type Fleet, type FleetOptions, type Instance, startFleet } from "./fleet.ts";
import {
  arrivalMs,
  chances,
  faultOf,
  isDown,
  type Plan,
  planOf,
  refused,
  rollFor,
  sampledFaults,
  stalls,
  targetOf,
} from "./plan.ts";
import { toRecord } from "./sqs.ts";
import type { Item } from "./table.ts";

/** An event, and what has happened to it. */
export interface Subject {
  readonly id: string;
  readonly plan: Plan;
  readonly text: string;
  /** The last request that was sealed for it. A later push may repeat its bytes. */
  sealed?: { readonly request: SealedRequest; readonly atMs: number };
  isAcked: boolean;
  isSettled: boolean;
  runs: number;
  readonly running: Set<Job>;
  /** The invocations whose completion reached the table. */
  readonly completions: Set<Job>;
  readonly deadLetters: Message[];
  quarantined: number;
  readonly trace: string[];
}

/** One event in an invocation. */
interface Job {
  readonly subject: Subject;
  readonly instance: Instance;
  readonly invocation: Invocation;
  hasStored: boolean;
  /** What the handler was told to do. */
  act?: string;
  /** An injected fault may have kept the run's outcome from the table. */
  isExcused: boolean;
}

/** A push, or the delivery of a batch. */
interface Invocation {
  /** No fault is injected: it is the platform's last push. */
  readonly isSpared: boolean;
  readonly jobs: Job[];
  /** Its process stood still past the lease, so other runs may have started. */
  hasFrozen: boolean;
}

interface Queued {
  readonly subject: Subject;
  readonly message: Message;
}

export interface SimulationOptions {
  readonly n: number;
  readonly seed: number;
  readonly progress: (done: number) => void;
  readonly files: { readonly webhook: string; readonly worker: string };
  readonly env: NodeJS.ProcessEnv;
  readonly keys: KeyRing;
  readonly secrets: string;
  readonly textOf: (id: string, plan: Plan) => string;
  /** The table's key of an event. */
  readonly keyOf: (id: string) => string;
  readonly batchSize: number;
  readonly maxReceiveCount: number;
  readonly visibilitySeconds: number;
  readonly workerTimeoutSeconds: number;
}

const startsAtMs = Date.UTC(2026, 0, 1);
const eventsPerWave = 150;
/** A jump of the clock goes this far beyond the next due thing, so that several are due at once. */
const slackMs = 15_000;
const slowMs = 200;
/** The simulation ends early at so many. */
const enoughViolations = 200;
const longestMs = 14 * 86_400_000;
/** A push may repeat older bytes for so long. The webhook accepts them for 8 h, and its clock may be 2 min ahead. */
const repeatableMs = 7.5 * 3_600_000;
/** The webhook answers within 1.8 s, and the platform waits for 3 s. */
const lateAfterMs = 2_000;

/**
 * Runs events through the platform's model, AWS's model and real processes of the built functions. Its clock jumps
 * when no invocation is under way, so hours of waiting take seconds. `violations` collects what broke a promise.
 */
export class Simulation {
  readonly options: SimulationOptions;
  readonly subjects: readonly Subject[];
  readonly violations: { readonly what: string; readonly subject: Subject | undefined }[] = [];
  readonly counts = new Map<string, number>();
  /** Sorted by time, the next at the end. */
  readonly #agenda: { readonly atMs: number; readonly act: () => void }[] = [];
  readonly #pushes: { readonly subject: Subject; readonly number: number }[] = [];
  readonly #visible: Queued[] = [];
  /** A job of each process's last invocation, and its last one for each event: by the process's name, alone and with the event's id. */
  readonly #jobs = new Map<string, Job>();
  readonly #owners = new Map<string, Job | undefined>();
  readonly #idByKey = new Map<string, string>();
  readonly #jobOf = new WeakMap<Call, Job>();
  readonly #queuedOf = new WeakMap<Message, Queued>();
  readonly #busy = new Set<Invocation>();
  readonly #frozen = new Map<Invocation, Instance>();
  readonly #rolls = new Map<string, number>();
  #cloud!: Cloud;
  #webhooks!: Fleet;
  #workers!: Fleet;
  #aheadMs = startsAtMs - Date.now();
  #settled = 0;
  #news = Promise.withResolvers<void>();

  constructor(options: SimulationOptions) {
    this.options = options;
    const { n, seed, textOf, keyOf } = options;
    this.subjects = Array.from({ length: n }, (_, index) => {
      const id = `event-${index}`;
      const plan = planOf(seed, index);
      this.#idByKey.set(keyOf(id), id);
      const sets = { running: new Set<Job>(), completions: new Set<Job>(), deadLetters: [], trace: [] };
      return { id, plan, text: textOf(id, plan), isAcked: false, isSettled: false, runs: 0, quarantined: 0, ...sets };
    });
  }

  /** Resolves with whether everything came to rest: only then does what is left say how each event ended. */
  async run(): Promise<boolean> {
    this.#cloud = await startCloud({
      nowMs: () => this.#nowMs(),
      secrets: this.options.secrets,
      decide: (call) => this.#decide(call),
      later: (effect) => this.#after(1_000 + 30_000 * this.#roll("late"), effect),
      kill: (name) => this.#kill(name),
      onEffect: (call, reply, message) => this.#onEffect(call, reply.status === 200, message),
      onUnknown: (error) => this.violate(String(error)),
    });
    const { files, workerTimeoutSeconds } = this.options;
    const webhook = { name: "webhook", size: 2, file: files.webhook, timeoutMs: 10_000, skewMs: 120_000 };
    const timeoutMs = 1000 * workerTimeoutSeconds;
    const size = this.options.n < 1_000 ? 2 : 4;
    const worker = { name: "worker", size, file: files.worker, timeoutMs, skewMs: 2_000 };
    this.#webhooks = startFleet({ ...this.#fleetOptions(), ...webhook });
    this.#workers = startFleet({ ...this.#fleetOptions(), ...worker });
    const waves = Math.ceil(this.subjects.length / eventsPerWave);
    for (const [index, subject] of this.subjects.entries()) {
      const waitMs = (Math.floor(index / eventsPerWave) * arrivalMs) / waves;
      this.#after(waitMs, () => this.#pushes.push({ subject, number: 1 }));
    }
    try {
      return await this.#toTheEnd();
    } finally {
      await Promise.all([this.#webhooks.stop(), this.#workers.stop(), this.#cloud.stop()]);
    }
  }

  #fleetOptions(): Omit<FleetOptions, "name" | "size" | "file" | "timeoutMs" | "skewMs"> {
    const { endpoint } = this.#cloud;
    return {
      seed: this.options.seed,
      lateAfterMs,
      aheadMs: () => this.#aheadMs,
      onFree: () => this.#news.resolve(),
      onRun: (instance, id, attempt) => this.#onRun(instance, id, attempt),
      onBroken: (error) => this.#news.reject(error),
      env: {
        ...this.options.env,
        AWS_REGION: "us-east-1",
        AWS_SECRET_ACCESS_KEY: "simulated",
        AWS_ENDPOINT_URL_SQS: endpoint,
        AWS_ENDPOINT_URL_DYNAMODB: endpoint,
        AWS_ENDPOINT_URL_SSM: endpoint,
        EVENTS_QUEUE_URL: `${endpoint}/0/events`,
        QUARANTINE_QUEUE_URL: `${endpoint}/0/quarantine`,
        DEAD_LETTER_QUEUE_URL: `${endpoint}/0/dead-letters`,
      },
    };
  }

  /** The phase of an event in the ledger. */
  phaseOf({ id }: Subject): string | undefined {
    return this.#cloud.itemOf(this.options.keyOf(id))?.["phase"]?.S;
  }

  sinceStartMs(): number {
    return this.#nowMs() - startsAtMs;
  }

  violate(what: string, subject?: Subject): void {
    this.violations.push({ what, subject });
    subject?.trace.push(`!! ${what}`);
  }

  #nowMs(): number {
    return Date.now() + this.#aheadMs;
  }

  #after(ms: number, act: () => void): void {
    const atMs = this.#nowMs() + ms;
    let low = 0;
    for (let high = this.#agenda.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#agenda[middle]?.atMs ?? 0) > atMs) low = middle + 1;
      else high = middle;
    }
    this.#agenda.splice(low, 0, { atMs, act });
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  #note(subject: Subject | undefined, what: string): void {
    subject?.trace.push(`${new Date(this.#nowMs()).toISOString()}  ${what}`);
  }

  /** In [0, 1). It depends on the seed, the name and how often this name was rolled, never on another event's timing. */
  #roll(what: string): number {
    const nth = (this.#rolls.get(what) ?? 0) + 1;
    this.#rolls.set(what, nth);
    return rollFor(this.options.seed, what, nth);
  }

  async #toTheEnd(): Promise<boolean> {
    while (this.violations.length < enoughViolations) {
      while ((this.#agenda.at(-1)?.atMs ?? Number.POSITIVE_INFINITY) <= this.#nowMs()) this.#agenda.pop()?.act();
      this.#assign();
      if (this.#busy.size > 0 || this.#pushes.length > 0 || this.#visible.length > 0) {
        await this.#news.promise;
        this.#news = Promise.withResolvers();
        continue;
      }
      const next = this.#agenda.at(-1);
      if (next === undefined) return true;
      if (next.atMs > startsAtMs + longestMs) break;
      this.#aheadMs += Math.max(0, next.atMs + slackMs - this.#nowMs());
      for (const instance of this.#frozen.values()) this.#workers.tellClock(instance);
    }
    this.violate("the queue did not come to rest");
    return false;
  }

  #assign(): void {
    while (this.#pushes.length > 0) {
      const instance = this.#webhooks.takeFree();
      const next = instance && this.#pushes.shift();
      if (instance === undefined || next === undefined) break;
      void this.#push(instance, next.subject, next.number);
    }
    while (this.#visible.length > 0) {
      const instance = this.#workers.takeFree();
      if (instance === undefined) break;
      const size = 1 + Math.floor(this.options.batchSize * this.#roll("batch"));
      const batch = this.#visible.splice(0, size).filter((queued) => this.#receive(queued));
      if (batch.length > 0 && !this.#isThrottled(batch)) void this.#deliver(instance, batch);
      else this.#workers.giveBack(instance);
    }
  }

  async #invoke(
    fleet: Fleet,
    instance: Instance,
    event: object,
    { subjects, isSpared = false }: { subjects: readonly Subject[]; isSpared?: boolean },
  ) {
    const invocation: Invocation = { isSpared, jobs: [], hasFrozen: false };
    for (const subject of subjects) {
      const job: Job = { subject, instance, invocation, hasStored: false, isExcused: false };
      invocation.jobs.push(job);
      for (const name of [instance.name, `${instance.name} ${subject.id}`]) this.#jobs.set(name, job);
    }
    this.#busy.add(invocation);
    const ended = await fleet.invoke(instance, event);
    this.#busy.delete(invocation);
    this.#frozen.delete(invocation);
    if (ended.kind === "died") this.#count(ended.isTimeout ? "timeouts" : "kills");
    for (const subject of subjects) {
      for (const job of invocation.jobs) subject.running.delete(job);
      if (ended.kind === "threw") this.violate(`${instance.name} threw: ${ended.error}`, subject);
      this.#note(subject, `${instance.name}: ${ended.kind} ${JSON.stringify("result" in ended ? ended.result : "")}`);
    }
    this.#news.resolve();
    return { jobs: invocation.jobs, ended };
  }

  /** One push of the platform, and the next one where it does not get a 200. */
  async #push(instance: Instance, subject: Subject, number: number): Promise<void> {
    this.#count("pushes");
    const { id, sealed } = subject;
    const nowMs = this.#nowMs();
    // It is not documented whether the platform seals a repeated push anew. Half of them are, half are not.
    const isOld = sealed !== undefined && nowMs - sealed.atMs < repeatableMs && this.#roll(`${id} old`) < 0.5;
    const seal = () => sealEnvelope(subject.text, { keys: this.options.keys, nowMs, requestId: id });
    const request = isOld ? sealed.request : seal();
    if (!isOld) subject.sealed = { request, atMs: nowMs };
    const isSpared = number > retryDelaysMs.length;
    const given = { subjects: [subject], isSpared };
    const { jobs, ended } = await this.#invoke(this.#webhooks, instance, httpApi(request), given);
    const isDelivered =
      jobs.every((job) => this.#judgeAnswer(job, ended)) &&
      (isSpared || this.#roll(`${id} answer`) >= chances.lostAnswer);
    if (!isDelivered) {
      if (isSpared) return this.violate("the platform gave an event up", subject);
      return this.#after(retryDelaysMs[number - 1] ?? 0, () => this.#arrive(subject, number + 1));
    }
    if (this.#roll(`${id} repeat`) >= chances.repeatedPush) return;
    const later = this.#roll(`${id} repeated`);
    this.#after(later < 0.5 ? 0 : 21_600_000 * (2 * later - 1), () => this.#arrive(subject, 1));
  }

  #judgeAnswer({ subject, hasStored }: Job, ended: Ended): boolean {
    if (ended.kind === "died" && ended.isTimeout) this.violate("an answer never came", subject);
    if (ended.kind !== "answered") return false;
    const { statusCode } = ended.result as { statusCode: number };
    if (ended.isLate) this.violate(`an answer took ${Math.round(ended.ms)} ms`, subject);
    if (statusCode !== 200 && statusCode !== 503) this.violate(`a push was answered ${statusCode}`, subject);
    if (statusCode !== 200) return false;
    this.#count("answered 200");
    subject.isAcked = true;
    if (!hasStored) this.violate("a push was answered 200 before it was stored", subject);
    return true;
  }

  #arrive(subject: Subject, number: number): void {
    const waitMs = retryDelaysMs[number - 1];
    if (waitMs === undefined || this.#roll(`${subject.id} edge`) >= chances.refusedPush) {
      this.#pushes.push({ subject, number });
      return;
    }
    this.#count("refused at the edge");
    this.#after(waitMs, () => this.#arrive(subject, number + 1));
  }

  #enqueue(subject: Subject, message: Message): void {
    this.#show({ subject, message });
    if (this.#roll(`${subject.id} twice`) >= chances.twiceQueued) return;
    const later = this.#roll(`${subject.id} copy`);
    const visibleAtMs = message.visibleAtMs + (later < 0.5 ? 0 : 600_000 * later);
    this.#show({ subject, message: { ...message, visibleAtMs } });
  }

  /** Makes a message visible at its time, unless that time is changed before. */
  #show(queued: Queued): void {
    const { message } = queued;
    const { visibleAtMs } = message;
    this.#after(visibleAtMs - this.#nowMs(), () => {
      if (!message.isDeleted && message.visibleAtMs === visibleAtMs) this.#visible.push(queued);
    });
  }

  /** Counts a receive. `false`: the queue moved the message away. */
  #receive(queued: Queued): boolean {
    const { subject, message } = queued;
    const { maxReceiveCount, visibilitySeconds } = this.options;
    if (message.receives >= maxReceiveCount) {
      this.#note(subject, `the queue moved it to the dead-letter queue after ${message.receives} receives`);
      message.isDeleted = true;
      this.#bury(subject, message);
      return false;
    }
    message.receives++;
    message.firstReceivedAtMs ||= this.#nowMs();
    message.visibleAtMs = this.#nowMs() + 1000 * visibilitySeconds;
    this.#show(queued);
    return true;
  }

  #isThrottled(batch: readonly Queued[]): boolean {
    const isThrottled = this.#roll("throttled") < chances.throttled || isDown("invocations", this.sinceStartMs());
    if (!isThrottled) return false;
    this.#count("throttled invocations");
    for (const { subject, message } of batch) this.#note(subject, `throttled, receive ${message.receives}`);
    return true;
  }

  /** One delivery to a worker. Its messages are deleted as Lambda would. */
  async #deliver(instance: Instance, batch: readonly Queued[]): Promise<void> {
    const { receipts } = this.#cloud;
    const records = batch.map((queued) => {
      const receipt = randomUUID();
      receipts.set(receipt, queued.message);
      this.#queuedOf.set(queued.message, queued);
      return toRecord(queued.message, { receipt, queue: "events" });
    });
    const subjects = batch.map(({ subject }) => subject);
    const { jobs, ended } = await this.#invoke(this.#workers, instance, { Records: records }, { subjects });
    this.#count(`batches of ${batch.length}`);
    for (const { receiptHandle } of records) receipts.delete(receiptHandle);
    for (const job of jobs) this.#judgeRun(job, ended);
    if (ended.kind !== "answered") return;
    // Lambda deletes the messages for many malformed answers, so only a list of their ids will do.
    const { batchItemFailures } = (ended.result ?? {}) as Partial<SQSBatchResponse>;
    const failed = new Set(batchItemFailures?.map(({ itemIdentifier }) => itemIdentifier));
    const isAnswer =
      batchItemFailures !== undefined && failed.isSubsetOf(new Set(batch.map(({ message }) => message.id)));
    for (const { subject, message } of batch) {
      if (!isAnswer) this.violate(`the worker answered ${JSON.stringify(ended.result)}`, subject);
      else if (!failed.has(message.id) && this.#roll(`${subject.id} delete`) >= chances.lostDelete) {
        message.isDeleted = true;
      }
    }
  }

  /** A run that succeeded is in the table, or a fault explains why not. */
  #judgeRun(job: Job, ended: Ended): void {
    const { subject, act } = job;
    if (act === undefined) return;
    const isCompleted = subject.completions.has(job);
    const hasFailed = act !== "return" && (act === "exit" || ended.kind !== "died");
    if (hasFailed) this.#count("runs told to fail");
    else this.#count(isCompleted ? "runs completed" : "runs cut short by a fault");
    // On a busy machine the handler's own two seconds may be over.
    const isSlow = ended.kind === "died" || (ended.kind === "answered" && ended.ms > 1_500);
    if (hasFailed || isCompleted || isSlow || job.isExcused) return;
    this.violate("a run succeeded and was not recorded", subject);
  }

  #bury(subject: Subject, message: Message): void {
    subject.deadLetters.push(message);
    this.#settle(subject);
  }

  #settle(subject: Subject): void {
    if (subject.isSettled) return;
    subject.isSettled = true;
    this.options.progress(++this.#settled);
  }

  #kill(name: string): void {
    this.#note(this.#jobs.get(name)?.subject, `kill -9 of ${name}`);
    for (const fleet of [this.#webhooks, this.#workers]) fleet.kill(name);
  }

  /**
   * The job that a call belongs to. On a busy machine a call may arrive after its client gave up, when the process has
   * the next event already. So the call's content says which event it is, and the claim's owner says which run.
   */
  #jobFor({ process, input }: Call): Job | undefined {
    const { pk } = (input["Key"] ?? input["Item"] ?? {}) as Item;
    const received = this.#cloud.receipts.get(String(input["ReceiptHandle"]));
    const id =
      (received && this.#queuedOf.get(received)?.subject.id) ??
      this.#idByKey.get(pk?.S ?? "") ??
      /event-\d+/.exec(String(input["MessageBody"]))?.[0];
    const job = this.#jobs.get(id === undefined ? process : `${process} ${id}`);
    const owner = (input["ExpressionAttributeValues"] as Item | undefined)?.[":me"]?.S;
    if (owner === undefined) return job;
    if (!this.#owners.has(owner)) this.#owners.set(owner, job);
    return this.#owners.get(owner);
  }

  #decide(call: Call): Fault {
    const job = this.#jobFor(call);
    if (job !== undefined) this.#jobOf.set(call, job);
    this.#count("calls");
    const name = `${job?.subject.id ?? call.process} ${call.action}`;
    const isFirst = !this.#rolls.has(name);
    const roll = this.#roll(name);
    if (job?.invocation.isSpared) return "none";
    const sampled = isFirst && this.options.n < 1_000 ? sampledFaults.get(name) : undefined;
    let fault = isDown(targetOf(call), this.sinceStartMs()) ? "denied" : (sampled ?? faultOf(roll));
    // A stall takes real time, so it is injected only while other invocations are under way.
    if (stalls.has(fault) && sampled === undefined && this.#busy.size < 3) fault = "none";
    if (fault === "none") return fault;
    this.#count(fault);
    this.#note(job?.subject, `${call.process}: ${call.action} ${call.queue ?? ""} meets ${fault}`);
    const isUnwritten = call.action === "UpdateItem" && refused.has(fault);
    if (job !== undefined && (isUnwritten || stalls.has(fault))) job.isExcused = true;
    return fault;
  }

  #onEffect(call: Call, isOk: boolean, message: Message | undefined): void {
    const job = this.#jobOf.get(call);
    if (job === undefined || !isOk) return;
    const { subject } = job;
    if (call.action === "ChangeMessageVisibility") {
      const queued = message && this.#queuedOf.get(message);
      if (queued !== undefined) this.#show(queued);
    } else if (message !== undefined) {
      job.hasStored = true;
      this.#note(subject, `${call.process}: stored in ${call.queue}`);
      if (call.queue === "events") this.#enqueue(subject, message);
      else if (call.queue === "dead-letters") this.#bury(subject, message);
      else {
        subject.quarantined++;
        this.#settle(subject);
      }
    } else if (call.action === "UpdateItem") this.#onOutcome(call, job);
  }

  #onOutcome(call: Call, job: Job): void {
    const { subject } = job;
    const phase = this.phaseOf(subject);
    this.#note(subject, `${call.process}: ${phase}`);
    subject.running.delete(job);
    if (phase !== "done") return;
    subject.completions.add(job);
    this.#settle(subject);
    if (subject.completions.size > 1) this.violate("completed twice", subject);
    if (job.act !== "return") this.violate("completed without a run that succeeded", subject);
  }

  /** A handler runs, and is told what to do; or its process is killed, or frozen. */
  #onRun(instance: Instance, id: string, attempt: number): void {
    const job = this.#jobs.get(`${instance.name} ${id}`);
    if (job === undefined) throw new TypeError(`${instance.name} runs a handler without an event`);
    const { subject } = job;
    const { acts } = subject.plan;
    const act = acts[Math.min(subject.runs++, acts.length - 1)] ?? "return";
    this.#count("runs");
    this.#note(subject, `${instance.name}: run ${subject.runs}, attempt ${attempt}: ${act}`);
    if ([...subject.running].some(({ invocation }) => !invocation.hasFrozen)) this.violate("two runs at once", subject);
    subject.running.add(job);
    job.act = act === "freeze" || act === "slow" ? "return" : act;
    if (this.#roll(`${subject.id} run`) < chances.killedRun) this.#kill(instance.name);
    else if (act === "freeze") this.#freeze(job);
    else if (act === "slow") setTimeout(() => this.#workers.answerRun(instance, id, "return"), slowMs);
    else this.#workers.answerRun(instance, id, act);
  }

  /** The clock jumps although this run is under way, with the others of its batch. */
  #freeze({ subject: { id }, instance, invocation }: Job): void {
    invocation.hasFrozen = true;
    for (const job of invocation.jobs) job.isExcused = true;
    this.#busy.delete(invocation);
    this.#frozen.set(invocation, instance);
    this.#news.resolve();
    this.#after(30_000 + 90_000 * this.#roll(`${id} freeze`), () => {
      if (this.#frozen.delete(invocation)) {
        this.#count("thaws");
        this.#busy.add(invocation);
      }
      this.#workers.answerRun(instance, id, "return");
    });
  }
}
