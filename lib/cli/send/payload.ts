import { callbackTypes, oldCardType } from "../../feishu/classify.ts";
import { isObject, parseJson } from "../../feishu/json.ts";
import { isSlipOfMember } from "../../simulator/nearest.ts";
import { defaultTenant } from "../../simulator/samples/facts.ts";
import { type SampleEnvelope, type SampleOptions, sampleEnvelope } from "../../simulator/samples/samples.ts";
import { UsageError } from "../command.ts";
import { readText } from "../project.ts";

type JsonObject = Record<string, unknown>;

/** The content of a `--file`. */
export type FileContent =
  | {
      readonly is: "envelope";
      readonly text: string;
      readonly type: string | undefined;
      readonly app: string | undefined;
    }
  /** The body of an old card callback, which has no envelope. */
  | { readonly is: "old card"; readonly text: string; readonly type: string }
  | { readonly is: "event"; readonly text: string };

/** @throws {UsageError} There is no such file, or it cannot be opened. */
export function readFileText(file: string): string {
  try {
    return readText(file);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const problem = code === "ENOENT" ? "there is no such file" : `it cannot be opened (${code})`;
    throw new UsageError(`Cannot read ${file}: ${problem}`, { cause });
  }
}

/**
 * Reads a payload file. It contains an envelope (of schema 2.0 or 1.0, or a challenge), or only an event object.
 * @throws {UsageError} It is not a JSON object, or it is encrypted.
 */
export function readPayload(text: string, file: string): FileContent {
  const value = parseObject(text, file);
  const { header, event, type } = value;
  if (typeof value["encrypt"] === "string") {
    throw new UsageError(`Cannot send ${file}: it is encrypted, with a key that is not known. Save the decrypted text`);
  }
  if (isObject(value["action"]) && typeof value["open_message_id"] === "string") {
    return { is: "old card", text, type: oldCardType };
  }
  if (value["schema"] === undefined && !isObject(header) && type !== "event_callback" && type !== "url_verification") {
    return { is: "event", text };
  }
  const { event_type: eventType, app_id: app } = isObject(header) ? header : eventFields(event);
  return {
    is: "envelope",
    text,
    type: typeof eventType === "string" ? eventType : undefined,
    app: typeof app === "string" ? app : undefined,
  };
}

/**
 * The file's envelope as if the receiver's app were sent it now: with that app, a tenant, a fresh time and id, because
 * the receiver refuses another app's and skips an id that it has seen. `eventId` replaces the id.
 * @param options.keep Leaves what the file has of these.
 */
export function completeEnvelope(text: string, options: SampleOptions & { readonly keep?: boolean }): JsonObject {
  const envelope = parseExact(text) as JsonObject;
  const { nowMs, appId, eventId, newId, tenant = defaultTenant, keep = false } = options;
  const kept = (members: JsonObject) => (keep ? members : {});
  const identity = (present: unknown) =>
    eventId ?? (!keep || present === undefined || present === "" ? newId() : present);
  if (envelope["type"] === "url_verification") return { ...envelope, token: "" };
  const { header, event } = envelope;
  if (isObject(header)) {
    const create_time = callbackTypes.has(String(header["event_type"])) ? `${nowMs}000` : String(nowMs);
    const ours = keep ? { create_time, app_id: appId } : { create_time, app_id: appId, tenant_key: tenant };
    const ids = { event_id: identity(header["event_id"]), token: "" };
    return { ...envelope, header: { ...header, ...ours, ...kept(header), ...ids } };
  }
  const ts = (nowMs / 1000).toFixed(7);
  const fields = isObject(event) ? event : {};
  // A ticket is the app's. It has no tenant.
  const ofTenant = keep || fields["type"] === "app_ticket" ? {} : { tenant_key: tenant };
  return {
    ...envelope,
    ts,
    ...kept(envelope),
    uuid: identity(envelope["uuid"]),
    token: "",
    event: isObject(event) ? { ...event, app_id: appId, ...ofTenant, ...kept(event) } : event,
  };
}

/** The same for an old card callback. Its credential is its id. */
export function completeOldCard(text: string, options: SampleOptions & { readonly keep?: boolean }): JsonObject {
  const callback = parseExact(text) as JsonObject;
  const { eventId, newId, tenant = defaultTenant, keep = false } = options;
  return keep ? callback : { ...callback, tenant_key: tenant, token: `c-${eventId ?? newId()}` };
}

/** An envelope of `type` with the file's event object. */
export function wrapEvent(text: string, type: string, options: SampleOptions): SampleEnvelope {
  return sampleEnvelope(type, options, parseExact(text) as JsonObject);
}

/** The argument of `--set`: `path=value`. */
export interface Setting {
  readonly path: readonly string[];
  readonly value: string;
}

const forbidden: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/**
 * Reads `event.message.content=hi`. An array index is written `users.0.name` or `users[0].name`.
 * @throws {UsageError} There is no `=`, a part is empty, or a part names a member of JavaScript's own objects.
 */
export function parseSetting(text: string): Setting {
  const at = text.indexOf("=");
  const path = text
    .slice(0, at)
    .replaceAll(/\[(\d+)\]/g, ".$1")
    .split(".");
  if (at === -1 || path.includes("")) {
    throw new UsageError(`Cannot set "${text}": it is not path=value, like event.message.chat_type=p2p`);
  }
  const wrong = path.find((part) => forbidden.has(part));
  if (wrong !== undefined)
    throw new UsageError(`Cannot set "${path.join(".")}": "${wrong}" is not a member of a payload`);
  return { path, value: text.slice(at + 1) };
}

/**
 * Sets one member, and makes the missing objects of its path. The value is parsed if it is JSON, except when it
 * replaces a string: the content of a message is a JSON document in a string.
 * @throws {UsageError} The path goes through a value without members, or past an array's end, or leaves out `event`.
 */
export function applySetting(envelope: object, { path, value }: Setting): void {
  const shown = path.join(".");
  const [first = ""] = path;
  const { event } = envelope as { event?: object };
  if (!Object.hasOwn(envelope, first) && Object.hasOwn(Object(event), first)) {
    throw new UsageError(`Cannot set "${shown}": the payload has no "${first}". Did you mean event.${shown}?`);
  }
  let place: object = envelope;
  for (const [depth, name] of path.entries()) {
    checkIndex(place, name, shown);
    const present: unknown = Object.hasOwn(place, name) ? Reflect.get(place, name) : undefined;
    if (depth === path.length - 1) {
      Reflect.set(place, name, typeof present === "string" ? value : jsonOrText(value));
      return;
    }
    const next = present ?? {};
    if (typeof next !== "object") {
      const reached = path.slice(0, depth + 1).join(".");
      throw new UsageError(`Cannot set "${shown}": "${reached}" is a ${typeof next}, which has no members`);
    }
    Reflect.set(place, name, next);
    place = next;
  }
}

/** What is likely to be wrong with a setting, although it can be set. */
export function settingWarning(envelope: object, { path, value }: Setting): string | undefined {
  let place: unknown = envelope;
  for (const [depth, name] of path.entries()) {
    if (!isObject(place)) break;
    if (Object.hasOwn(place, name)) {
      place = place[name];
      continue;
    }
    const likely = Object.keys(place).find((member) => isSlipOfMember(name, member));
    if (likely === undefined) return undefined;
    const before = path.slice(0, depth);
    return `the payload has no ${[...before, name].join(".")}, so it is added. Did you mean ${[...before, likely].join(".")}?`;
  }
  const isText = typeof place === "string" && typeof parseJson(place) === "object" && parseJson(value) === undefined;
  return isText ? `${path.join(".")} is a text with JSON in it, and what you set is no JSON` : undefined;
}

function checkIndex(place: object, name: string, shown: string): void {
  if (!Array.isArray(place)) return;
  if (!/^(0|[1-9]\d{0,8})$/.test(name) || Number(name) > place.length) {
    throw new UsageError(
      `Cannot set "${shown}": "${name}" is not an index of an array of ${place.length}. 0 to ${place.length} can be set`,
    );
  }
}

function jsonOrText(value: string): unknown {
  try {
    return parseExact(value);
  } catch {
    return value;
  }
}

/** @throws {UsageError} */
export function parseObject(text: string, file: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`Cannot read ${file}: it is not JSON (${(cause as Error).message})`, { cause });
  }
  if (!isObject(value)) throw new UsageError(`Cannot read ${file}: it is JSON, but not an object`);
  return value;
}

/** In schema 1.0, type and app are in the event. */
function eventFields(event: unknown): JsonObject {
  return isObject(event) ? { event_type: event["type"], app_id: event["app_id"] } : {};
}

/** Parses JSON so that a number too large for a double keeps its digits when it is printed. Ids may have 64 bits. */
export function parseExact(text: string): unknown {
  const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): object };
  return JSON.parse(text, (_name, value: unknown, context?: { source?: string }) =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source
      ? rawJSON(context.source)
      : value,
  );
}
