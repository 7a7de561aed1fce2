import type { SendMessageCommandInput, SQS } from "@aws-sdk/client-sqs";
import { type Lane, laneFinder } from "../../aws/lanes.ts";
import { rememberSeconds } from "../../aws/ledger.ts";
import { addressOf, attributes } from "../../aws/queues.ts";
import { deadReasonAttribute, toBody } from "../../aws/record.ts";
import { type Clock, pause } from "../../clock.ts";
import { utf8 } from "../../feishu/cipher.ts";
import { classify } from "../../feishu/classify.ts";
import type { EventEnvelope, JobEnvelope } from "../../feishu/envelope.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import type { EncryptKey } from "../../feishu/keys.ts";
import { type Letter, type QueueName, receivedBytes, toLetter } from "./letters.ts";
import { askAws } from "./sqs.ts";
import { takeLetters } from "./take.ts";

/** A letter that was redriven so often is refused: its cause is still there. */
const maxRedrives = 3;
/** An older event may have been forgotten by the ledger when it runs. */
const oldestMs = (rememberSeconds - 2 * 86_400) * 1000;
/** Refused, or an event that dies at once would be redriven for as long as the command runs. */
const deadAgain = "redriven just now, and dead again: its cause is still there";
/** Reasons that are the fault of code. */
const faults: ReadonlySet<string> = new Set(["nonRetryable", "attemptsExhausted", "deadly"]);

interface Judge {
  readonly queue: QueueName;
  readonly nowMs: number;
  /** When the code that runs was last changed. */
  readonly codeChangedAtMs: number;
  readonly force: boolean;
  /** For what was received encrypted. */
  readonly encryptKeys?: readonly EncryptKey[];
}

/** Why a letter must not be redriven. */
export function refusalOf(letter: Letter, judge: Judge): string | undefined {
  const { queue, nowMs, codeChangedAtMs, force, encryptKeys } = judge;
  if (eventOf(letter, encryptKeys) === undefined) return "this release cannot read it";
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
    return "the code that failed still runs: save or deploy the repair first";
  }
  return undefined;
}

/** The letter as a queue of events takes it, `undefined` if it is no event. */
export function eventOf(
  letter: Letter,
  encryptKeys: readonly EncryptKey[] = [],
): { envelope: EventEnvelope | JobEnvelope; body: string } | undefined {
  const content = letter.content();
  if (content.kind !== "unreadable") return { envelope: content, body: letter.body };
  const stored = fieldsOf(parseJson(letter.body));
  const text = utf8(receivedBytes(letter, encryptKeys));
  if (stored["kind"] !== "unreadable" || text === undefined) return undefined;
  const notice = classify(text);
  if (notice.kind !== "event") return undefined;
  const { token: _, ...event } = notice;
  const envelope: EventEnvelope = {
    ...event,
    kind: "event",
    transport: stored["transport"] === "long-connection" ? "long-connection" : "webhook",
    receivedBy: stringOf(stored["receivedBy"]) ?? null,
    requestId: stringOf(stored["requestId"]) ?? null,
  };
  return { envelope, body: toBody(envelope) };
}

export interface RedriveOptions {
  readonly sqs: Pick<
    SQS,
    "receiveMessage" | "getQueueAttributes" | "changeMessageVisibilityBatch" | "sendMessage" | "deleteMessage"
  >;
  readonly urls: { readonly events: string; readonly letters: string };
  /** Whether the letters are in a FIFO queue. */
  readonly isFifo?: boolean;
  readonly lanes?: readonly Lane[];
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
 * Moves letters back to the queues of their lanes: sends one, then deletes it. A desk that is killed in between leaves a
 * letter that another desk sends again, with the same count of redrives. The worker's ledger takes the second for a
 * duplicate. Letters of a FIFO queue's lane are sent in the order in which they died, after all were seen.
 */
export async function redrive(options: RedriveOptions): Promise<Redriven> {
  const { sqs, urls, isFifo = false, lanes = [], wants, isEnough = () => false } = options;
  const { judge, perSecond, clock, signal } = options;
  const cannot = "Cannot redrive";
  const redriven = new Set<string>();
  const refused = new Map<string, string>();
  const waiting: Letter[] = [];
  let nextAtMs = clock.nowMs();
  const turn = async () => {
    const atMs = Math.max(clock.nowMs(), nextAtMs);
    nextAtMs = atMs + 1000 / perSecond;
    await pause(clock, atMs - clock.nowMs(), signal);
  };
  const move = async (letter: Letter, receipt: string): Promise<boolean> => {
    await turn();
    if (signal.aborted) return false;
    const message = eventMessage(letter, { eventsQueueUrl: urls.events, lanes, judge });
    await askAws(cannot, "sqs:SendMessage", sqs.sendMessage(message));
    await askAws(cannot, "sqs:DeleteMessage", sqs.deleteMessage({ QueueUrl: urls.letters, ReceiptHandle: receipt }));
    redriven.add(idOf(letter));
    options.onRedriven?.(letter);
    return true;
  };
  // What is received waits for its turn for some seconds only, and so is not shown again meanwhile.
  const atOnce = Math.max(1, Math.min(10, Math.floor(perSecond * 5)));
  const takeLeft = async (left: Map<string, string>) => {
    for (const letter of waiting.sort((a, b) => a.diedAtMs - b.diedAtMs)) {
      const receipt = left.get(letter.messageId);
      if (receipt !== undefined && (await move(letter, receipt))) left.delete(letter.messageId);
    }
  };
  const taking = { cannot, sqs, url: urls.letters, isFifo, atOnce, isEnough, signal, takeLeft };
  const hidden = await takeLetters(async (message, receipt) => {
    const letter = toLetter(message, judge.queue, { list: lanes, eventsQueue: urls.events });
    if (!wants(letter)) return false;
    const why = redriven.has(idOf(letter)) ? deadAgain : refusalOf(letter, judge);
    if (why !== undefined) {
      refused.set(letter.messageId, why);
      return false;
    }
    // A FIFO queue has them in their order.
    if (isFifo || !lanes.some(({ name, order }) => order !== undefined && name === letter.lane)) {
      return move(letter, receipt);
    }
    waiting.push(letter);
    return false;
  }, taking);
  return { redriven: [...redriven], refused, hidden };
}

function idOf({ id, messageId }: Letter): string {
  return id ?? messageId;
}

/**
 * Its attributes let the worker count the redrives and run the event at any age. Letters of a lane that is no more go to the
 * default one.
 */
function eventMessage(
  letter: Letter,
  { eventsQueueUrl, lanes, judge }: { eventsQueueUrl: string; lanes: readonly Lane[]; judge: Judge },
): SendMessageCommandInput {
  const event = eventOf(letter, judge.encryptKeys);
  if (event === undefined) throw new TypeError("Cannot redrive: the letter is no event");
  const { envelope, body: MessageBody } = event;
  const isDead = judge.queue === "dead";
  const lane = isDead ? lanes.find(({ name }) => name === letter.lane) : laneFinder(lanes)(envelope.type);
  // SQS must not take it for a copy of what it took in the last five minutes.
  const redrive = isDead ? letter.redrives + 1 : letter.messageId;
  const address = addressOf(envelope, envelope.kind === "job" ? undefined : lane, { eventsQueueUrl, redrive });
  const death = { [deadReasonAttribute]: letter.reason, ...(isDead ? letter.attributes : {}) };
  return {
    ...address,
    MessageBody,
    MessageGroupId: letter.groupId ?? address.MessageGroupId,
    MessageAttributes: attributes(death),
  };
}
