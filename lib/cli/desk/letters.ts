import type { Message } from "@aws-sdk/client-sqs";
import { type Lane, laneFinder, ownQueue } from "../../aws/lanes.ts";
import { deadReasonAttribute, fromRecord, messageVersion, quarantinedBytes } from "../../aws/record.ts";
import { UnknownVersionError } from "../../errors.ts";
import { decrypt } from "../../feishu/cipher.ts";
import type { EventEnvelope, JobEnvelope } from "../../feishu/envelope.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import type { EncryptKey } from "../../feishu/keys.ts";
import { storedQueues } from "../../local/state.ts";
import type { ErrorDescription } from "../../trace/error.ts";

export type QueueName = "dead" | "quarantine";

/** The queues of letters on this machine. */
export const localQueues = { dead: ["dead-letters", "dead-letters.fifo"], quarantine: ["quarantine"] };

/** How many dead letters this machine has. */
export function storedDeadLetters(stateFolder: string): number {
  return storedQueues(stateFolder, Date.now())
    .filter(({ name }) => localQueues.dead.includes(name))
    .reduce((sum, { waiting, running, delayed }) => sum + waiting + running + delayed, 0);
}

/** What {@link Letter.reason} is where SQS moved the message itself, without attributes. */
export const movedBySqs = "movedBySqs";

/** The lanes of a place. The names of their queues begin with that of the events queue. */
export interface Lanes {
  readonly list: readonly Lane[];
  /** Its URL, or its name. */
  readonly eventsQueue: string;
}

export const defaultLane = "default";

/** A message of the dead-letter queue or of the quarantine. All texts come from outside. */
export interface Letter {
  /** SQS's. */
  readonly messageId: string;
  readonly body: string;
  /** The texts among the message's attributes. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly groupId: string | undefined;
  /** The event's, `undefined` where it is unknown. */
  readonly id: string | undefined;
  readonly type: string | undefined;
  /** The lane in which it died. */
  readonly lane: string;
  readonly reason: string;
  readonly error: Partial<ErrorDescription>;
  /** The error's; without an error, one for the reason and the type. */
  readonly fingerprint: string;
  readonly attempts: number | undefined;
  /** How often it had been redriven before it died. */
  readonly redrives: number;
  readonly firstAttemptAtMs: number | undefined;
  /** When it died; where that is not known, when it was sent. */
  readonly diedAtMs: number;
  /** Whether there was a last attempt that says so. */
  readonly hasAttempt: boolean;
  /** What the body holds, or why this release cannot read it. Read when it is asked for: a list needs few of them. */
  readonly content: () => EventEnvelope | JobEnvelope | { readonly kind: "unreadable"; readonly why: string };
}

export function toLetter(message: Message, queue: QueueName, lanes: Lanes): Letter {
  const { MessageId = "", Body = "", Attributes = {} } = message;
  const entries = Object.entries(message.MessageAttributes ?? {});
  const attributes = Object.fromEntries(entries.map(([name, { StringValue = "" }]) => [name, StringValue]));
  const error = fieldsOf(parseJson(attributes["error"] ?? "{}")) as Partial<ErrorDescription>;
  let read: ReturnType<Letter["content"]> | undefined;
  const content = () => {
    read ??= contentOf(Body);
    return read;
  };
  const named = () => {
    const found = content();
    return found.kind === "unreadable" ? undefined : found;
  };
  const isBare = attributes[deadReasonAttribute] === undefined;
  const type = attributes["eventType"] ?? named()?.type;
  const reason =
    queue === "dead"
      ? (attributes[deadReasonAttribute] ?? movedBySqs)
      : (attributes["reason"] ?? (isBare ? movedBySqs : "unknown"));
  const lastAttemptAtMs = timeOf(attributes["lastAttemptAt"]);
  return {
    messageId: MessageId,
    body: Body,
    attributes,
    groupId: Attributes.MessageGroupId,
    id: attributes["eventId"] ?? named()?.id,
    type,
    lane: isBare ? laneOfBare(Attributes, type, lanes) : (attributes["lane"] ?? defaultLane),
    reason,
    error,
    fingerprint: stringOf(error.fingerprint) ?? fingerprintOf(reason, type),
    attempts: numberOf(attributes["attempts"]),
    redrives: numberOf(attributes["redrives"]) ?? 0,
    firstAttemptAtMs: timeOf(attributes["firstAttemptAt"]),
    diedAtMs: lastAttemptAtMs ?? numberOf(Attributes.SentTimestamp) ?? 0,
    hasAttempt: lastAttemptAtMs !== undefined,
    content,
  };
}

/** The lane of a message that says none: of the queue from which SQS moved it, else the one that its type has now. */
function laneOfBare(
  { DeadLetterQueueSourceArn: eventSourceARN }: NonNullable<Message["Attributes"]>,
  type = "",
  { list, eventsQueue }: Lanes,
): string {
  const lane =
    eventSourceARN === undefined ? laneFinder(list)(type)?.name : ownQueue({ eventSourceARN }, eventsQueue).lane;
  return lane ?? defaultLane;
}

function contentOf(body: string): ReturnType<Letter["content"]> {
  try {
    const content = fromRecord({ body });
    return content.kind === "undecodable" ? { kind: "unreadable", why: content.reason } : content;
  } catch (error) {
    if (error instanceof UnknownVersionError) return { kind: "unreadable", why: `version is not ${messageVersion}` };
    throw error;
  }
}

/** What was received of a message that is in quarantine, decrypted if one of the keys fits. */
export function receivedBytes({ body }: Letter, keys: readonly EncryptKey[]): Buffer {
  const bytes = quarantinedBytes(body);
  const sealed = stringOf(fieldsOf(parseJson(bytes.toString()))["encrypt"]);
  if (sealed === undefined) return bytes;
  const opened = keys.map(({ aes }) => decrypt(sealed, aes)).find(({ intact }) => intact);
  return opened === undefined ? bytes : Buffer.from(opened.text);
}

function fingerprintOf(...parts: readonly (string | undefined)[]): string {
  const sum = process.getBuiltinModule("node:zlib").crc32(parts.join("\n"));
  return sum.toString(16).padStart(8, "0");
}

function numberOf(text: string | undefined): number | undefined {
  const number = Number(text);
  return text !== undefined && Number.isFinite(number) ? number : undefined;
}

function timeOf(text: string | undefined): number | undefined {
  const ms = Date.parse(text ?? "");
  return Number.isNaN(ms) ? undefined : ms;
}

/** Letters of one fault. */
export interface Group {
  readonly fingerprint: string;
  readonly letters: readonly Letter[];
}

/** The largest group first; in each, the latest letter first. */
export function groupsOf(letters: readonly Letter[]): Group[] {
  const latestFirst = letters.toSorted((a, b) => b.diedAtMs - a.diedAtMs);
  return [...Map.groupBy(latestFirst, ({ fingerprint }) => fingerprint)]
    .map(([fingerprint, group]) => ({ fingerprint, letters: group }))
    .sort((a, b) => b.letters.length - a.letters.length);
}

export interface Filters {
  readonly lane?: string | undefined;
  readonly type?: string | undefined;
  readonly reason?: string | undefined;
  readonly app?: string | undefined;
  readonly fingerprint?: string | undefined;
  /** Died at or after this time; `untilMs`: before it. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
}

export function matches(letter: Letter, filters: Filters): boolean {
  const { type, lane, reason, app, fingerprint, sinceMs, untilMs } = filters;
  if (lane !== undefined && letter.lane !== lane) return false;
  if (type !== undefined && letter.type !== type) return false;
  if (reason !== undefined && letter.reason !== reason) return false;
  if (fingerprint !== undefined && letter.fingerprint !== fingerprint) return false;
  if (sinceMs !== undefined && letter.diedAtMs < sinceMs) return false;
  if (untilMs !== undefined && letter.diedAtMs >= untilMs) return false;
  return app === undefined || appOf(letter) === app;
}

export function appOf(letter: Letter): string | undefined {
  const content = letter.content();
  if (content.kind !== "unreadable") return content.app ?? content.receivedBy ?? undefined;
  return stringOf(fieldsOf(parseJson(letter.body))["receivedBy"]);
}

/** Whether an id is the letter's: its event's, or its message's. */
export function hasId(letter: Letter, id: string): boolean {
  return letter.messageId === id || letter.id === id;
}
