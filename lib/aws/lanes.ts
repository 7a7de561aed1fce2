import type { SQSRecord } from "aws-lambda";
import { ConfigError } from "../errors.ts";
import { isText } from "../feishu/classify.ts";
import { fieldsOf, parseObject } from "../feishu/json.ts";
import type { smokeType } from "../handling/dispatcher.ts";

/** A queue for some types of events, with a worker of its own: they do not delay the others. */
export interface Lane {
  readonly name: string;
  /** Types, and beginnings of types: `contact.*`. */
  readonly types: readonly string[];
  /** The path of a value in the event. Events with the same value run one after another: the queue is a FIFO queue. */
  readonly order?: string;
}

/** The lane of an event type; `undefined` for the default one, whose queue is the events queue. */
export type LaneOf = (type: string) => Lane | undefined;

/**
 * Reads `LANES`: `{"ai":{"types":["im.message.receive_v1"],"order":"message.chat_id"}}`.
 * @throws {ConfigError} It is of another shape.
 */
export function parseLanes(text: string | undefined): readonly Lane[] {
  if (!text) return [];
  const parsed = parseObject(text);
  const lanes = Object.entries(parsed ?? {}).map(([name, lane]) => ({ ...fieldsOf(lane), name }) as Lane);
  if (parsed !== undefined && lanes.every(isLane)) return lanes;
  throw new ConfigError("Cannot start: LANES is not the JSON of lanes. Copy it from the stack's output Lanes");
}

function isLane({ name, types, order = name }: Lane): boolean {
  return /^[a-z][a-z0-9]{0,15}$/.test(name) && Array.isArray(types) && types.every(isText) && isText(order);
}

/** With a lane's name behind it, the type by which `larkpost smoke` tries the lane. */
export const laneSmokeType: `${typeof smokeType}.` = "larkpost.smoke.";

export function laneFinder(lanes: readonly Lane[]): LaneOf {
  const typesOf = ({ name, types }: Lane) => [`${laneSmokeType}${name}`, ...types];
  const laneOf = new Map(lanes.flatMap((lane) => typesOf(lane).map((type) => [type, lane] as const)));
  const patterns = [...laneOf.keys()].filter((type) => type.endsWith("*"));
  return (type) =>
    laneOf.get(type) ?? laneOf.get(patterns.find((pattern) => type.startsWith(pattern.slice(0, -1))) ?? "");
}

/** The URL of a lane's queue. It is made of the events queue's, so that no setting can contradict another. */
export function laneQueueUrl(eventsQueueUrl: string, { name, order }: Pick<Lane, "name" | "order">): string {
  return `${eventsQueueUrl}-${name}${order ? ".fifo" : ""}`;
}

/** The queue that a record came from. */
interface OwnQueue {
  readonly url: string;
  /** `undefined` for the events queue, and for a queue that is not a lane's. */
  readonly lane?: string;
  readonly isFifo: boolean;
}

export function ownQueue({ eventSourceARN = "" }: Pick<SQSRecord, "eventSourceARN">, eventsQueueUrl: string): OwnQueue {
  const name = eventSourceARN.slice(eventSourceARN.lastIndexOf(":") + 1);
  const beginning = `${eventsQueueUrl.slice(eventsQueueUrl.lastIndexOf("/") + 1)}-`;
  if (!name.startsWith(beginning)) return { url: eventsQueueUrl, isFifo: false };
  const suffix = name.slice(beginning.length);
  return {
    url: `${eventsQueueUrl}-${suffix}`,
    lane: suffix.replace(/\.fifo$/, ""),
    isFifo: suffix.endsWith(".fifo"),
  };
}
