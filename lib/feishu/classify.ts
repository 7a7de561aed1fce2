import { createHash } from "node:crypto";
import {
  depthOf,
  fieldsOf,
  fill,
  inspect,
  isObject,
  type JsonObject,
  maxDepth,
  parseJson,
  parseObject,
  type TextFacts,
} from "./json.ts";

/** What events and callbacks have in common, in schema 1.0 and 2.0 alike. */
export interface Notice {
  readonly schema: "1.0" | "2.0";
  /** `header.event_id` (2.0) or `uuid` (1.0); `sha256:…` of the event if it has none. Outside text: any length, any character. */
  readonly id: string;
  /** `header.event_type` (2.0) or `event.type` (1.0): it selects the handler. Outside text too. */
  readonly type: string;
  readonly app: string | null;
  readonly tenant: string | null;
  /** Epoch milliseconds, whichever unit the platform used; `null` if it is not a time. Not to be relied on. */
  readonly createdAtMs: number | null;
  /** `header` (2.0), or the envelope without its event (1.0). Unknown members are kept; the token is emptied. */
  readonly header: JsonObject;
  readonly event: JsonObject;
  /** The decrypted JSON as received, since parsing would round 64-bit numbers; only the Verification Token is emptied. */
  readonly text: string;
}

export type Classified =
  | ({ readonly kind: "event" | "callback"; readonly token: unknown } & Notice)
  | { readonly kind: "challenge"; readonly token: unknown; readonly challenge: unknown }
  | { readonly kind: "unreadable"; readonly token: unknown; readonly reason: UnreadableReason };

/** `app`: over the long connection, a message for another app. The last four name the member that is missing. */
export type UnreadableReason =
  | "encrypt"
  | "padding"
  | "utf8"
  | "json"
  | "depth"
  | "schema"
  | "app"
  | "header"
  | "event"
  | "header.event_type"
  | "event.type";

/** The console's name for the old card callback, whose body names no type. */
export const oldCardType = "card.action.trigger_v1";
/** Types that wait for an answer: https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/event-subscription-guide/callback-subscription/callback-overview */
export const callbackTypes: ReadonlySet<string> = new Set([
  "card.action.trigger",
  "url.preview.get",
  "profile.view.get",
  oldCardType,
]);

/**
 * Classifies a decrypted text. Total and pure: a text that is not an envelope is `unreadable`.
 * https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM
 */
export function classify(text: string): Classified {
  const { facts, message } = readEventLast(text) ?? readAny(text);
  if (facts.depth > maxDepth) {
    // Too deep to parse, but where nothing is signed, a token found by the scan still proves the origin.
    const span = facts.tokens.at(-1);
    return unreadable("depth", span && parseJson(text.slice(...span)));
  }
  if (message === undefined) return unreadable("json");
  // Schema 2.0 first: the event of a 2.0 envelope may have the type `url_verification`, and is no challenge.
  if (message["schema"] !== undefined) return classifySchema2(message, text, facts);
  if (message["type"] !== "url_verification") return classifySchema1(message, text, facts);
  return { kind: "challenge", token: message["token"], challenge: message["challenge"] };
}

export function unreadable(reason: UnreadableReason, token?: unknown): Classified & { kind: "unreadable" } {
  return { kind: "unreadable", token, reason };
}

function classifySchema2(message: JsonObject, json: string, { tokens, event: span }: TextFacts): Classified {
  const { schema, header, event } = message;
  const { token, event_type: type, create_time: createTime } = fieldsOf(header);
  const isV2 = typeof schema === "string" && schema.startsWith("2.");
  if (!isV2 || !isObject(header) || !isObject(event) || !isText(type)) {
    const missing = isObject(header) ? missingIn(event, "header.event_type") : "header";
    return unreadable(isV2 ? missing : "schema", token ?? message["token"]);
  }
  const kind = callbackTypes.has(type) ? "callback" : "event";
  const app = textOrNull(header["app_id"]);
  const tenant = textOrNull(header["tenant_key"]);
  const id = textOrNull(header["event_id"]) ?? fingerprint(json.slice(...span), [type, app, tenant, createTime]);
  const createdAtMs = toMs(createTime);
  const text = fill(json, tokens, "");
  return { kind, token, schema: "2.0", id, type, app, tenant, createdAtMs, header: withoutToken(header), event, text };
}

function classifySchema1(message: JsonObject, json: string, { tokens, event: span }: TextFacts): Classified {
  const { event, ...header } = message;
  const { token, ts, type: envelopeType, uuid } = header;
  const { type, app_id, tenant_key } = fieldsOf(event);
  if (envelopeType !== "event_callback") return unreadable("schema", token);
  if (!isObject(event) || !isText(type)) return unreadable(missingIn(event, "event.type"), token);
  // The platform describes no callback in schema 1.0. Handled as an event it would be acknowledged and lost, so a
  // person must look at it.
  if (callbackTypes.has(type)) return unreadable("schema", token);
  const app = textOrNull(app_id);
  const tenant = textOrNull(tenant_key);
  // Without `ts`, the time of sending: it may differ between two pushes of one event.
  const id = textOrNull(uuid) ?? fingerprint(json.slice(...span), [type, app, tenant]);
  const createdAtMs = toMs(ts);
  const text = fill(json, tokens, "");
  return {
    kind: "event",
    token,
    schema: "1.0",
    id,
    type,
    app,
    tenant,
    createdAtMs,
    header: withoutToken(header),
    event,
    text,
  };
}

function missingIn(event: unknown, type: UnreadableReason): UnreadableReason {
  return isObject(event) ? type : "event";
}

function withoutToken(header: JsonObject): JsonObject {
  return header["token"] === undefined ? header : { ...header, token: "" };
}

/** Any text: scanned to its end, then parsed unless it is too deep. */
function readAny(text: string) {
  const facts = inspect(text);
  return { facts, message: facts.depth > maxDepth ? undefined : parseObject(text) };
}

/**
 * A text with `event` last, which is the platform's own order: only what comes before `event` is scanned. The rest, up
 * to the last brace, is parsed on its own, and that fails if it holds more than one value. `undefined` for other texts.
 */
function readEventLast(text: string) {
  const facts = inspect(text, { headOnly: true });
  const [start, end] = facts.event;
  if (start === 0 || end < start || !/^[ \t\n\r]*$/.test(text.slice(end + 1))) return undefined;
  const outer = parseObject(`${text.slice(0, start)}null}`);
  if (outer === undefined) return undefined;
  const event = parseJson(text.slice(start, end));
  if (event === undefined) return undefined;
  const depth = Math.max(facts.depth, 1 + depthOf(event, maxDepth));
  return { facts: { ...facts, depth }, message: Object.assign(outer, { event }) };
}

export function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

export function textOrNull(value: unknown): string | null {
  return isText(value) ? value : null;
}

/** The platform sends seconds (10 digits, perhaps with a fraction), milliseconds (13) and microseconds (16). */
function toMs(value: unknown): number | null {
  const isTime = typeof value === "string" || typeof value === "number";
  const [, whole = "", fraction = ""] = (isTime && /^(\d{1,16})(\.\d{1,9})?$/.exec(String(value))) || [];
  if (whole === "") return null;
  const number = Number(whole + fraction);
  if (whole.length <= 10) return Math.round(number * 1000);
  if (whole.length === 13) return Math.floor(number);
  return whole.length === 16 ? Math.floor(number / 1000) : null;
}

/**
 * The id of an event that has none: a hash of its text, not of what was parsed. Parsing may make two 64-bit numbers
 * equal, and writing a megabyte again costs a pass.
 */
export function fingerprint(event: string, parts: readonly unknown[]): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(parts)).update(event).digest("hex")}`;
}
