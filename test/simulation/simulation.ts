import { randomUUID } from "node:crypto";
import type { SQSRecord } from "aws-lambda";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../lib/feishu/keys.ts";
import { ladderMs } from "../../lib/simulator/ladder.ts";
import { sealEnvelope } from "../../lib/simulator/push.ts";
import { httpApi } from "../support/http-events.ts";
import type { Call, Fault, Message } from "./cloud.ts";
import { startCloud } from "./cloud.ts";
import { type Ended, type Fleet, type Instance, startFleet } from "./fleet.ts";
import { arrivalMs, chances, faultOf, isDown, type Plan, planOf, rollFor, stalls, targetOf } from "./plan.ts";

/** An event, and all that happened to it. */
export interface Subject {
  readonly id: string;
  readonly plan: Plan;
  readonly text: string;
  /** As it was pushed before: some pushes repeat that byte for byte. */
  sealed: { readonly request: SealedRequest; readonly atMs: number } | undefined;
  isAcked: boolean;
  isSettled: boolean;
  runs: number;
  readonly running: Set<Job>;
  /** Invocations whose completion the table has. */
  readonly completions: Set<Job>;
  readonly deadLetters: Message[];
  quarantined: number;
  readonly trace: string[];
}

/** One invocation. */
export interface Job {
  readonly subject: Subject;
  readonly instance: Instance;
  /** Nothing goes wrong in it: the platform's last push. */
  readonly isSpared: boolean;
  hasStored: boolean;
  /** It stood still past its lease: another run may have begun meanwhile. */
  hasFrozen: boolean;
  /** What its run was told to do. */
  act: string | undefined;
  /** A fault that was injected may have kept its outcome from the table. */
  isExcused: boolean;
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
  readonly maxReceiveCount: number;
  readonly visibilitySeconds: number;
  readonly workerTimeoutSeconds: number;
}

const startsAtMs = Date.UTC(2026, 0, 1);
const wave = 150;
/** What a jump of the clock goes beyond what is due: more is due then, at once. */
const slackMs = 15_000;
const longestMs = 14 * 86_400_000;
/** Within this, bytes that were pushed before are taken once more: longer than the platform repeats a push, and than a clock is off. */
const repeatableMs = 7.5 * 3_600_000;
/** An answer is due after 1.8 s; Feishu waits for 3 s. */
const lateAfterMs = 2_000;

/**
 * The platform, AWS and the built functions' processes, on a clock that is moved on when nothing is under way. Fills
 * `violations` as it goes; what is to be judged at the end is left in `subjects`.
 */
export class Simulation {
  readonly options: SimulationOptions;
  readonly subjects: readonly Subject[];
  readonly violations: { readonly what: string; readonly subject: Subject | undefined }[] = [];
  readonly counts = new Map<string, number>();
  /** What is due, the last first. */
  readonly #agenda: { readonly atMs: number; readonly act: () => void }[] = [];
  readonly #pushes: { readonly subject: Subject; readonly number: number }[] = [];
  readonly #visible: Queued[] = [];
  readonly #jobs = new Map<string, Job>();
  readonly #jobOf = new WeakMap<Call, Job>();
  readonly #queuedOf = new WeakMap<Message, Queued>();
  readonly #rolls = new Map<string, number>();
  #cloud: Awaited<ReturnType<typeof startCloud>> | undefined;
  #webhooks: Fleet | undefined;
  #workers: Fleet | undefined;
  #aheadMs = startsAtMs - Date.now();
  readonly #busy = new Set<Job>();
  readonly #frozen = new Set<Job>();
  #settled = 0;
  #news = Promise.withResolvers<void>();

  constructor(options: SimulationOptions) {
    this.options = options;
    const { n, seed, textOf } = options;
    this.subjects = Array.from({ length: n }, (_, index) => {
      const id = `event-${index}`;
      const plan = planOf(seed, index);
      return {
        id,
        plan,
        text: textOf(id, plan),
        sealed: undefined,
        isAcked: false,
        isSettled: false,
        runs: 0,
        running: new Set(),
        completions: new Set(),
        deadLetters: [],
        quarantined: 0,
        trace: [],
      };
    });
  }

  async run(): Promise<void> {
    const { secrets, files, env, workerTimeoutSeconds } = this.options;
    const cloud = await startCloud({
      nowMs: () => this.#nowMs(),
      secrets,
      decide: (call) => this.#decide(call),
      later: (effect) => this.#after(1_000 + 30_000 * this.#roll("late"), effect),
      kill: (name) => this.#kill(name),
      onEffect: (call, reply, message) => this.#onEffect(call, reply.status === 200, message),
      onUnknown: (error) => this.violate(String(error)),
    });
    this.#cloud = cloud;
    const common = {
      env: {
        ...env,
        AWS_REGION: "us-east-1",
        AWS_SECRET_ACCESS_KEY: "simulated",
        AWS_ENDPOINT_URL_SQS: cloud.endpoint,
        AWS_ENDPOINT_URL_DYNAMODB: cloud.endpoint,
        AWS_ENDPOINT_URL_SSM: cloud.endpoint,
        EVENTS_QUEUE_URL: `${cloud.endpoint}/0/events`,
        QUARANTINE_QUEUE_URL: `${cloud.endpoint}/0/quarantine`,
        DEAD_LETTER_QUEUE_URL: `${cloud.endpoint}/0/dead-letters`,
      },
      aheadMs: () => this.#aheadMs,
      lateAfterMs,
      onFree: () => this.#news.resolve(),
      onRun: (instance: Instance, attempt: number) => this.#onRun(instance, attempt),
      onBroken: (error: Error) => this.#news.reject(error),
    };
    this.#webhooks = startFleet({
      ...common,
      name: "webhook",
      size: 2,
      file: files.webhook,
      timeoutMs: 10_000,
      skewMs: 120_000,
    });
    this.#workers = startFleet({
      ...common,
      name: "worker",
      size: 4,
      file: files.worker,
      timeoutMs: 1000 * workerTimeoutSeconds,
      skewMs: 2_000,
    });
    try {
      this.#arrange();
      await this.#toTheEnd();
    } finally {
      await Promise.all([this.#webhooks.stop(), this.#workers.stop()]);
      await cloud.stop();
    }
  }

  /** The row that the ledger has of an event. */
  phaseOf(pk: string): string | undefined {
    const phase = this.#cloud?.table.get(pk)?.["phase"];
    return phase !== undefined && "S" in phase ? phase.S : undefined;
  }

  /** Of the simulation's time that have passed. */
  hours(): string {
    return ((this.#nowMs() - startsAtMs) / 3_600_000).toFixed(1);
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

  /** In [0, 1), by the seed, what it is for and how often that was asked: not by what happens to other events. */
  #roll(what: string): number {
    const nth = (this.#rolls.get(what) ?? 0) + 1;
    this.#rolls.set(what, nth);
    return rollFor(this.options.seed, what, nth);
  }

  #arrange(): void {
    const waves = Math.ceil(this.subjects.length / wave);
    for (const [index, subject] of this.subjects.entries()) {
      const waitMs = (Math.floor(index / wave) * arrivalMs) / waves;
      this.#after(waitMs, () => this.#pushes.push({ subject, number: 1 }));
    }
  }

  /** Does what is due and, when nothing is under way, moves the clock on to what is due next. */
  async #toTheEnd(): Promise<void> {
    for (;;) {
      for (
        let next = this.#agenda.at(-1);
        next !== undefined && next.atMs <= this.#nowMs();
        next = this.#agenda.at(-1)
      ) {
        this.#agenda.pop();
        next.act();
      }
      this.#assign();
      if (this.#busy.size === 0 && this.#pushes.length === 0 && this.#visible.length === 0) {
        const next = this.#agenda.at(-1);
        if (next === undefined) return;
        if (next.atMs > startsAtMs + longestMs) return this.violate("the queue does not come to rest");
        this.#aheadMs += Math.max(0, next.atMs + slackMs - this.#nowMs());
        for (const job of this.#frozen) this.#workers?.tellClock(job.instance);
        continue;
      }
      await this.#news.promise;
      this.#news = Promise.withResolvers();
    }
  }

  #assign(): void {
    while (this.#pushes.length > 0) {
      const instance = this.#webhooks?.takeFree();
      const next = instance && this.#pushes.shift();
      if (instance === undefined || next === undefined) break;
      void this.#push(instance, next.subject, next.number);
    }
    while (this.#visible.length > 0) {
      const instance = this.#workers?.takeFree();
      const next = instance && this.#visible.shift();
      if (instance === undefined || next === undefined) break;
      if (this.#receive(next)) void this.#deliver(instance, next);
      else this.#workers?.giveBack(instance);
    }
  }

  async #invoke(fleet: Fleet | undefined, instance: Instance, subject: Subject, event: unknown, isSpared = false) {
    const job: Job = {
      ...{ subject, instance, isSpared, act: undefined },
      ...{ hasStored: false, hasFrozen: false, isExcused: false },
    };
    this.#jobs.set(instance.name, job);
    this.#busy.add(job);
    const ended: Ended = (await fleet?.invoke(instance, event)) ?? { kind: "threw", error: "there is no fleet" };
    this.#busy.delete(job);
    this.#frozen.delete(job);
    subject.running.delete(job);
    if (ended.kind === "threw") this.violate(`${instance.name} threw: ${ended.error}`, subject);
    if (ended.kind === "died") this.#count(ended.isTimeout ? "timeouts" : "kills");
    this.#note(subject, `${instance.name}: ${ended.kind} ${JSON.stringify("result" in ended ? ended.result : "")}`);
    this.#news.resolve();
    return { job, ended };
  }

  async #push(instance: Instance, subject: Subject, number: number): Promise<void> {
    const { keys } = this.options;
    const isSpared = number === ladderMs.length + 1;
    this.#count("pushes");
    const nowMs = this.#nowMs();
    // Whether the platform signs a repeated push anew is not documented: here one half is, and one is not.
    const isOld = nowMs - (subject.sealed?.atMs ?? 0) < repeatableMs && this.#roll(`${subject.id} old`) < 0.5;
    const request =
      (isOld && subject.sealed?.request) || sealEnvelope(subject.text, { keys, nowMs, requestId: subject.id });
    if (!isOld) subject.sealed = { request, atMs: nowMs };
    const { job, ended } = await this.#invoke(this.#webhooks, instance, subject, httpApi(request), isSpared);
    let isDelivered = false;
    if (ended.kind === "answered") {
      const { statusCode } = ended.result as { statusCode: number };
      if (ended.isLate) this.violate(`an answer took ${Math.round(ended.ms)} ms`, subject);
      if (statusCode !== 200 && statusCode !== 503) this.violate(`a push was answered ${statusCode}`, subject);
      if (statusCode === 200) {
        this.#count("answered 200");
        subject.isAcked = true;
        if (!job.hasStored) this.violate("a push was answered 200 before it was stored", subject);
        isDelivered = isSpared || this.#roll(`${subject.id} answer`) >= chances.lostAnswer;
      }
    }
    const waitMs = ladderMs[number - 1];
    if (!isDelivered && waitMs === undefined) this.violate("the platform gave an event up", subject);
    else if (!isDelivered) this.#after(waitMs ?? 0, () => this.#arrive(subject, number + 1));
    else if (this.#roll(`${subject.id} repeat`) < chances.repeatedPush) {
      const later = this.#roll(`${subject.id} repeated`);
      this.#after(later < 0.5 ? 0 : 21_600_000 * (2 * later - 1), () => this.#arrive(subject, 1));
    }
  }

  #arrive(subject: Subject, number: number): void {
    const isRefused = number <= ladderMs.length && this.#roll(`${subject.id} edge`) < chances.refusedPush;
    if (!isRefused) return void this.#pushes.push({ subject, number });
    this.#count("refused at the edge");
    this.#after(ladderMs[number - 1] ?? 0, () => this.#arrive(subject, number + 1));
  }

  #enqueue(subject: Subject, message: Message): void {
    this.#show({ subject, message });
    if (this.#roll(`${subject.id} twice`) >= chances.twiceQueued) return;
    const later = this.#roll(`${subject.id} copy`);
    const visibleAtMs = message.visibleAtMs + (later < 0.5 ? 0 : 600_000 * later);
    this.#show({ subject, message: { ...message, visibleAtMs } });
  }

  /** Makes a message visible when it is to be, unless that is changed before. */
  #show(queued: Queued): void {
    const { message } = queued;
    const { visibleAtMs } = message;
    this.#after(visibleAtMs - this.#nowMs(), () => {
      if (!message.isDeleted && message.visibleAtMs === visibleAtMs) this.#visible.push(queued);
    });
  }

  /** Counts a receive; `false` when no worker is to run for it. */
  #receive(queued: Queued): boolean {
    const { subject, message } = queued;
    const { maxReceiveCount, visibilitySeconds } = this.options;
    if (message.receives >= maxReceiveCount) {
      this.#note(subject, `the queue gave up after ${message.receives} receives: to the dead-letter queue`);
      message.isDeleted = true;
      this.#buried(subject, message);
      return false;
    }
    message.receives++;
    message.firstReceivedAtMs ||= this.#nowMs();
    message.visibleAtMs = this.#nowMs() + 1000 * visibilitySeconds;
    this.#show(queued);
    const isThrottled =
      isDown("invocations", this.#nowMs() - startsAtMs) || this.#roll(`${subject.id} throttled`) < chances.throttled;
    if (isThrottled) {
      this.#count("throttled invocations");
      this.#note(subject, `throttled, receive ${message.receives}`);
    }
    return !isThrottled;
  }

  async #deliver(instance: Instance, queued: Queued): Promise<void> {
    const { subject, message } = queued;
    const receipt = randomUUID();
    this.#cloud?.receipts.set(receipt, message);
    this.#queuedOf.set(message, queued);
    const record = toRecord(message, receipt);
    const { job, ended } = await this.#invoke(this.#workers, instance, subject, { Records: [record] });
    this.#cloud?.receipts.delete(receipt);
    this.#judgeRun(job, ended);
    const isDone = ended.kind === "answered" && this.#isSettled(ended.result, job);
    if (isDone && this.#roll(`${subject.id} delete`) >= chances.lostDelete) message.isDeleted = true;
  }

  /** Whether Lambda deletes the one record: with anything but a proper list it might do the opposite of what was meant. */
  #isSettled(answer: unknown, { subject }: Job): boolean {
    const failures = (answer as { batchItemFailures?: unknown } | undefined)?.batchItemFailures;
    if (!Array.isArray(failures)) this.violate(`the worker answered ${JSON.stringify(answer)}`, subject);
    return Array.isArray(failures) && failures.length === 0;
  }

  /** A run that succeeded counts, or a fault says why not. */
  #judgeRun(job: Job, ended: Ended): void {
    const { subject, act } = job;
    if (act === undefined) return;
    const isCompleted = subject.completions.has(job);
    if (act !== "return") this.#count("runs told to fail");
    else this.#count(isCompleted ? "runs completed" : "runs cut short by a fault");
    if (act !== "return" || isCompleted) return;
    // A busy machine may have used up the handler's two seconds.
    const isSlow = ended.kind === "answered" && ended.ms > 1_500;
    if (ended.kind !== "died" && !job.isExcused && !isSlow)
      this.violate("a run succeeded and was not recorded", subject);
  }

  #buried(subject: Subject, message: Message): void {
    subject.deadLetters.push(message);
    this.#settle(subject);
  }

  #settle(subject: Subject): void {
    if (subject.isSettled) return;
    subject.isSettled = true;
    this.options.progress(++this.#settled);
  }

  #kill(name: string): void {
    const job = this.#jobs.get(name);
    this.#note(job?.subject, `kill -9 of ${name}`);
    (name.startsWith("webhook") ? this.#webhooks : this.#workers)?.kill(name);
  }

  #decide(call: Call): Fault {
    const job = this.#jobs.get(call.process);
    if (job !== undefined) this.#jobOf.set(call, job);
    this.#count("calls");
    const fault = this.#faultOf(call, job, this.#roll(`${job?.subject.id ?? call.process} ${call.action}`));
    if (fault === "none") return fault;
    this.#count(fault);
    this.#note(job?.subject, `${call.process}: ${call.action} ${call.queue ?? ""} meets ${fault}`);
    const isLost = ["unavailable", "throttled", "denied", "cut"].includes(fault) && call.action === "UpdateItem";
    if (job !== undefined && (isLost || stalls.has(fault))) job.isExcused = true;
    return fault;
  }

  #faultOf(call: Call, job: Job | undefined, roll: number): Fault {
    if (job?.isSpared) return "none";
    if (isDown(targetOf(call), this.#nowMs() - startsAtMs)) return "denied";
    const fault = faultOf(roll);
    // A stall takes real time: it comes while others are at work.
    return stalls.has(fault) && this.#busy.size < 3 ? "none" : fault;
  }

  #onEffect(call: Call, isOk: boolean, message: Message | undefined): void {
    const job = this.#jobOf.get(call);
    if (call.action === "ChangeMessageVisibility") {
      const queued = message && this.#queuedOf.get(message);
      if (isOk && queued !== undefined) this.#show(queued);
      return;
    }
    if (job === undefined || !isOk) return;
    const { subject } = job;
    if (message !== undefined) {
      job.hasStored = true;
      this.#note(subject, `${call.process}: stored in ${call.queue}`);
      if (call.queue === "events") this.#enqueue(subject, message);
      else if (call.queue === "dead-letters") this.#buried(subject, message);
      else {
        subject.quarantined++;
        this.#settle(subject);
      }
    }
    if (call.action !== "UpdateItem") return;
    const { S: pk = "" } = (call.input["Key"] as { pk: { S?: string } }).pk;
    this.#note(subject, `${call.process}: ${this.phaseOf(pk)}`);
    subject.running.delete(job);
    if (this.phaseOf(pk) !== "done") return;
    subject.completions.add(job);
    this.#settle(subject);
    if (subject.completions.size > 1) this.violate("completed twice", subject);
  }

  /** Says what a run is to do; perhaps its process is killed instead, or stands still for a while. */
  #onRun(instance: Instance, attempt: number): void {
    const job = this.#jobs.get(instance.name);
    if (job === undefined) throw new TypeError(`${instance.name} runs a handler without an event`);
    const { subject } = job;
    const { acts } = subject.plan;
    const act = acts[Math.min(subject.runs++, acts.length - 1)] ?? "return";
    this.#count("runs");
    this.#note(subject, `${instance.name}: run ${subject.runs}, attempt ${attempt}: ${act}`);
    if ([...subject.running].some(({ hasFrozen }) => !hasFrozen)) this.violate("two runs at once", subject);
    subject.running.add(job);
    job.act = act === "freeze" ? "return" : act;
    if (this.#roll(`${subject.id} run`) < chances.killedRun) this.#kill(instance.name);
    else if (act === "freeze") this.#freeze(job);
    else this.#workers?.answerRun(instance, act);
  }

  #freeze(job: Job): void {
    job.hasFrozen = true;
    job.isExcused = true;
    this.#busy.delete(job);
    this.#frozen.add(job);
    this.#news.resolve();
    this.#after(30_000 + 90_000 * this.#roll(`${job.subject.id} freeze`), () => {
      if (!this.#frozen.delete(job)) return;
      this.#count("thaws");
      this.#busy.add(job);
      this.#workers?.answerRun(job.instance, "return");
    });
  }
}

function toRecord(message: Message, receiptHandle: string): SQSRecord {
  const { id, body, attributes, groupId, receives, sentAtMs, firstReceivedAtMs } = message;
  return {
    messageId: id,
    receiptHandle,
    body,
    attributes: {
      ApproximateReceiveCount: String(receives),
      SentTimestamp: String(sentAtMs),
      SenderId: "simulated",
      ApproximateFirstReceiveTimestamp: String(firstReceivedAtMs),
      ...(groupId === undefined ? undefined : { MessageGroupId: groupId }),
    },
    messageAttributes: Object.fromEntries(
      Object.entries(attributes).map(([name, { StringValue }]) => [
        name,
        { stringValue: StringValue, dataType: "String" as const },
      ]),
    ),
    md5OfBody: "",
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:events",
    awsRegion: "us-east-1",
  };
}
