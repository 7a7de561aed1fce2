import { createHash } from "node:crypto";
import { depthOf, fill, inspect, maxDepth, type TextFacts } from "./json.ts";

export type JsonObject = { readonly [name: string]: unknown };

/** What both an event and a callback say of themselves, in schema 1.0 and 2.0 alike. */
export interface Notice {
  readonly schema: "1.0" | "2.0";
  /** `header.event_id` (2.0) or `uuid` (1.0); `sha256:…` of the event when it has none. The platform's text: any length, any character. */
  readonly id: string;
  /** Dispatch key: `header.event_type` (2.0) or `event.type` (1.0). Outside text too. */
  readonly type: string;
  readonly app: string | null;
  readonly tenant: string | null;
  /** Epoch milliseconds, whichever unit the platform used; `null` when it is not a time. Advisory. */
  readonly createdAtMs: number | null;
  /** The envelope without its event: `header` (2.0), or `ts`, `uuid`, `type` (1.0). Unknown members are kept; the token is emptied. */
  readonly header: JsonObject;
  readonly event: JsonObject;
  /** The decrypted JSON as it came, so that 64-bit numbers are whole, with the Verification Token's value emptied. */
  readonly text: string;
}

export type Classified =
  | ({ readonly kind: "event" | "callback"; readonly token: unknown } & Notice)
  | { readonly kind: "challenge"; readonly token: unknown; readonly challenge: unknown }
  | { readonly kind: "unreadable"; readonly token: unknown; readonly reason: UnreadableReason };

/** `app`: for another app than ours, where nothing else says that it does not belong here. */
export type UnreadableReason = "encrypt" | "padding" | "utf8" | "json" | "depth" | "schema" | "app";

/** The console's name for the old card callback, which has no envelope and so names no type itself. */
export const oldCardType = "card.action.trigger_v1";
/** Types that ask a question and wait for the answer: https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/event-subscription-guide/callback-subscription/callback-overview */
export const callbackTypes: ReadonlySet<string> = new Set([
  "card.action.trigger",
  "url.preview.get",
  "profile.view.get",
  oldCardType,
]);

/**
 * Says what a decrypted text is. Total and pure: a text that is no envelope is `unreadable`. The order
 * matters: a 2.0 event whose inner `type` is `url_verification` is an event, not a challenge.
 * https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM
 */
export function classify(text: string): Classified {
  const { facts, message } = readEventLast(text) ?? readAny(text);
  const { depth, tokens, event: span } = facts;
  // Too deep to be read; a token that stood before it is still proof of origin where nothing is signed.
  if (depth > maxDepth) return { kind: "unreadable", token: textAt(text, tokens.at(-1)), reason: "depth" };
  if (message === undefined) return { kind: "unreadable", token: undefined, reason: "json" };

  const schema = message["schema"];
  if (schema !== undefined) {
    const header = asObject(message["header"]);
    const event = asObject(message["event"]);
    const token = header?.["token"];
    const type = header?.["event_type"];
    const isV2 = typeof schema === "string" && schema.startsWith("2.");
    if (!isV2 || header === undefined || event === undefined || !isName(type)) {
      return { kind: "unreadable", token: token ?? message["token"], reason: "schema" };
    }
    const app = orNull(header["app_id"]);
    const tenant = orNull(header["tenant_key"]);
    return {
      kind: callbackTypes.has(type) ? "callback" : "event",
      token,
      schema: "2.0",
      id: orNull(header["event_id"]) ?? fingerprint(text.slice(...span), [type, app, tenant, header["create_time"]]),
      type,
      app,
      tenant,
      createdAtMs: toMs(header["create_time"]),
      header: token === undefined ? header : { ...header, token: "" },
      event,
      text: fill(text, tokens, ""),
    };
  }

  const token = message["token"];
  if (message["type"] === "url_verification") {
    return { kind: "challenge", token, challenge: message["challenge"] };
  }

  const event = asObject(message["event"]);
  const type = event?.["type"];
  // A callback in an envelope of 1.0 is none that the platform describes: its answer could not be right, and as an
  // event it would be acknowledged and handled by nobody. It is kept where a person looks.
  const isEvent = message["type"] === "event_callback" && event !== undefined;
  if (!isEvent || !isName(type) || callbackTypes.has(type)) {
    return { kind: "unreadable", token, reason: "schema" };
  }
  const { event: _, ...header } = message;
  const app = orNull(event["app_id"]);
  const tenant = orNull(event["tenant_key"]);
  return {
    kind: "event",
    token,
    schema: "1.0",
    // `ts` is the time of sending, so it may differ between two pushes of one event: it is no part of the identity.
    id: orNull(message["uuid"]) ?? fingerprint(text.slice(...span), [type, app, tenant]),
    type,
    app,
    tenant,
    createdAtMs: toMs(message["ts"]),
    header: token === undefined ? header : { ...header, token: "" },
    event,
    text: fill(text, tokens, ""),
  };
}

/**
 * What the body of an old card callback says. Its `token` is the card-update credential, unlike from click to
 * click: its hash serves as identity, since an id is logged and kept. The Verification Token is not in it.
 */
export function classifyOldCard(text: string, header: JsonObject): Exclude<Classified, { kind: "challenge" }> {
  const { depth } = inspect(text);
  if (depth > maxDepth) return { kind: "unreadable", token: undefined, reason: "depth" };
  const event = parseObject(text);
  if (event === undefined) return { kind: "unreadable", token: undefined, reason: "json" };
  if (asObject(event["action"]) === undefined) return { kind: "unreadable", token: undefined, reason: "schema" };
  return {
    kind: "callback",
    token: undefined,
    schema: "1.0",
    id: fingerprint(orNull(event["token"]) ?? text, [oldCardType]),
    type: oldCardType,
    app: null,
    tenant: orNull(event["tenant_key"]),
    createdAtMs: null,
    header,
    event,
    text,
  };
}

interface Read {
  readonly facts: TextFacts;
  /** `undefined`: no JSON object, or too deep to be one. */
  readonly message: JsonObject | undefined;
}

/** Any text: scanned to its end, then parsed, unless it is too deep. */
function readAny(text: string): Read {
  const facts = inspect(text);
  return { facts, message: facts.depth > maxDepth ? undefined : parseObject(text) };
}

/**
 * The platform's own order, `event` last: only what stands before it is scanned. The rest, up to the last
 * brace, is parsed alone; were it more than one value, that would fail. `undefined` for any other text.
 */
function readEventLast(text: string): Read | undefined {
  const head = inspect(text, { headOnly: true });
  const [start, end] = head.event;
  if (start === 0 || end < start || !/^[ \t\n\r]*$/.test(text.slice(end + 1))) return undefined;
  const outer = parseObject(`${text.slice(0, start)}null}`);
  if (outer === undefined) return undefined;
  try {
    const event: unknown = JSON.parse(text.slice(start, end));
    const depth = Math.max(head.depth, 1 + depthOf(event, maxDepth));
    return { facts: { ...head, depth }, message: Object.assign(outer, { event }) };
  } catch {
    return undefined;
  }
}

function textAt(text: string, span: readonly [number, number] | undefined): unknown {
  try {
    return span === undefined ? undefined : JSON.parse(text.slice(...span));
  } catch {
    return undefined;
  }
}

export function parseObject(text: string): JsonObject | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function orNull(value: unknown): string | null {
  return isName(value) ? value : null;
}

/**
 * Seconds (10 digits, perhaps with a fraction), milliseconds (13) or microseconds (16), told apart by
 * their length: the platform uses all three.
 */
function toMs(value: unknown): number | null {
  const match =
    typeof value === "string" || typeof value === "number" ? /^(\d{1,16})(\.\d{1,9})?$/.exec(String(value)) : null;
  const [, whole = "", fraction = ""] = match ?? [];
  if (whole === "") return null;
  const number = Number(whole + fraction);
  if (whole.length <= 10) return Math.round(number * 1000);
  if (whole.length === 13) return Math.floor(number);
  return whole.length === 16 ? Math.floor(number / 1000) : null;
}

/**
 * An identity for an event that came without one. Its own text enters, not what was parsed from it: two
 * numbers that a double cannot tell apart are two, and a megabyte of them is read only once.
 */
function fingerprint(event: string, parts: readonly unknown[]): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(parts)).update(event).digest("hex")}`;
}
