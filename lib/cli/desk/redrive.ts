import { inflateRawSync } from "node:zlib";
import type { SQS } from "@aws-sdk/client-sqs";
import { rememberSeconds } from "../../aws/ledger.ts";
import { attributes } from "../../aws/queues.ts";
import { deadReasonAttribute, toBody } from "../../aws/record.ts";
import { type Clock, pause } from "../../clock.ts";
import { classify } from "../../feishu/classify.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import type { Letter, QueueName } from "./letters.ts";
import { asked } from "./place.ts";
import { takeLetters } from "./take.ts";

/** A letter that was redriven so often is refused: its cause is still there. */
const maxRedrives = 3;
/** An older event may have been forgotten by the ledger when it runs. */
const oldestMs = (rememberSeconds - 2 * 86_400) * 1000;
/** Reasons that are the fault of code. */
const faults: ReadonlySet<string> = new Set(["nonRetryable", "attemptsExhausted", "deadly"]);

export interface Judge {
  readonly queue: QueueName;
  readonly nowMs: number;
  /** When the code that runs was last changed. */
  readonly codeChangedAtMs: number;
  readonly force: boolean;
}

/** Why a letter must not be redriven. */
export function refusalOf(letter: Letter, { queue, nowMs, codeChangedAtMs, force }: Judge): string | undefined {
  if (eventBodyOf(letter) === undefined) return "this release cannot read it";
  if (force) return undefined;
  const content = letter.content();
  const createdAtMs = content.kind === "unreadable" ? null : content.createdAtMs;
  const receivedAtMs = Math.min(createdAtMs ?? letter.diedAtMs, letter.firstAttemptAtMs ?? letter.diedAtMs);
  if (nowMs - receivedAtMs > oldestMs) return "older than 33 days: the ledger may not know whether it has run";
  if (queue === "quarantine") {
    return letter.reason === "app" ? "it belongs to another app, or nothing says to which" : undefined;
  }
  if (letter.redrives >= maxRedrives) return `redriven ${letter.redrives} times already: its cause is still there`;
  if (letter.hasAttempt && faults.has(letter.reason) && letter.diedAtMs >= codeChangedAtMs) {
    return "the code that failed still runs: deploy the repair first";
  }
  return undefined;
}

/** The letter as the events queue takes it, `undefined` if it is no event. */
function eventBodyOf(letter: Letter): string | undefined {
  if (letter.content().kind !== "unreadable") return letter.body;
  const stored = fieldsOf(parseJson(letter.body));
  const text =
    stored["encoding"] === undefined ? (stringOf(stored["text"]) ?? inflated(stored["deflated"])) : undefined;
  if (stored["kind"] !== "unreadable" || text === undefined) return undefined;
  const notice = classify(text);
  if (notice.kind !== "event") return undefined;
  const { token: _, ...event } = notice;
  return toBody({
    ...event,
    kind: "event",
    transport: stored["transport"] === "long-connection" ? "long-connection" : "webhook",
    receivedBy: stringOf(stored["receivedBy"]) ?? null,
    requestId: stringOf(stored["requestId"]) ?? null,
  });
}

function inflated(deflated: unknown): string | undefined {
  if (typeof deflated !== "string") return undefined;
  try {
    return inflateRawSync(Buffer.from(deflated, "base64"), { maxOutputLength: 8 * 1_048_576 }).toString();
  } catch {
    return undefined;
  }
}

export interface RedriveOptions {
  readonly sqs: Pick<
    SQS,
    "receiveMessage" | "getQueueAttributes" | "changeMessageVisibilityBatch" | "sendMessage" | "deleteMessage"
  >;
  readonly urls: { readonly events: string; readonly letters: string };
  readonly wants: (letter: Letter) => boolean;
  readonly isEnough?: () => boolean;
  readonly judge: Judge;
  readonly perSecond: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onRedriven?: (letter: Letter) => void;
}

export interface Redriven {
  readonly redriven: readonly string[];
  /** Refused letters, by their message ids, and why. */
  readonly refused: ReadonlyMap<string, string>;
  /** How many letters another desk has, or one that was killed. */
  readonly hidden: number;
}

/**
 * Moves letters back to the events queue: sends one, then deletes it. A desk that is killed in between leaves a letter
 * that another desk sends again, with the same count of redrives. The worker's ledger takes the second for a duplicate.
 */
export async function redrive(options: RedriveOptions): Promise<Redriven> {
  const { sqs, urls, wants, isEnough = () => false, judge, perSecond, clock, signal } = options;
  const cannot = "Cannot redrive";
  const redriven: string[] = [];
  const refused = new Map<string, string>();
  let nextAtMs = clock.nowMs();
  const turn = async () => {
    const atMs = Math.max(clock.nowMs(), nextAtMs);
    nextAtMs = atMs + 1000 / perSecond;
    await pause(clock, atMs - clock.nowMs(), signal);
  };
  // What is received waits for its turn for some seconds only, and so is not shown again meanwhile.
  const atOnce = Math.max(1, Math.min(10, Math.floor(perSecond * 5)));
  const taking = { cannot, sqs, url: urls.letters, queue: judge.queue, atOnce, isEnough, signal };
  const hidden = await takeLetters(async (letter, receipt) => {
    if (!wants(letter)) return false;
    const why = refusalOf(letter, judge);
    if (why !== undefined) {
      refused.set(letter.messageId, why);
      return false;
    }
    await turn();
    if (signal.aborted) return false;
    await asked(cannot, "sqs:SendMessage", sqs.sendMessage(eventMessage(letter, urls.events, judge.queue)));
    await asked(cannot, "sqs:DeleteMessage", sqs.deleteMessage({ QueueUrl: urls.letters, ReceiptHandle: receipt }));
    redriven.push(letter.id ?? letter.messageId);
    options.onRedriven?.(letter);
    return true;
  }, taking);
  return { redriven, refused, hidden };
}

/** By its attributes, the worker counts the redrives. */
function eventMessage(letter: Letter, QueueUrl: string, queue: QueueName) {
  const death = {
    ...letter.attributes,
    [deadReasonAttribute]: letter.attributes[deadReasonAttribute] ?? letter.reason,
  };
  return {
    QueueUrl,
    MessageBody: eventBodyOf(letter),
    MessageGroupId: letter.groupId,
    MessageAttributes: queue === "dead" ? attributes(death) : undefined,
  };
}
