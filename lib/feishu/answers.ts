import { type JsonObject, parseObject } from "./classify.ts";
import { depthOf } from "./json.ts";

/** Larger ones the platform refuses: https://open.feishu.cn/document/ukTMukTMukTM/uMDMxEjLzATMx4yMwETM */
export const answerLimitBytes = 100 * 1024;
/** Far deeper than a card can be shown, and far from what could no longer be printed. */
export const answerLimitDepth = 200;

/** An answer as it goes out, and its text: written once, it is what was judged, what is sent and what is remembered. */
export interface JsonAnswer {
  readonly answer: JsonObject;
  readonly json: string;
}

/** What is wrong with an answer, and in which of its members. */
export interface Fault {
  readonly field: string;
  readonly found: string;
}

const toastTypes: ReadonlySet<unknown> = new Set(["info", "success", "error", "warning"]);
/** Members of a card itself, or of `card`: a card that is not inside `card` is ignored or refused. */
const cardMembers: ReadonlySet<string> = new Set([
  ...["schema", "config", "header", "body", "elements", "i18n_elements", "card_link", "type", "data"],
]);

/**
 * Checks what a callback's handler returned by the platform's rules, so that the user who clicked sees a message
 * instead of the client's error 200672 or 200673. Total.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication
 *
 * @returns The answer as it goes out (nothing returned is `{}`), or the first fault.
 */
export function checkAnswer(type: string, returned: unknown): JsonAnswer | { fault: Fault } {
  if (returned === undefined || returned === null) return { answer: {}, json: "{}" };
  let json: string;
  try {
    json = JSON.stringify(returned) ?? "";
  } catch {
    return { fault: { field: "answer", found: "cannot be written as JSON" } };
  }
  // Only what JSON keeps of it is judged: that is what the platform sees.
  const answer = parseObject(json);
  if (answer === undefined) return { fault: { field: "answer", found: "is not an object" } };
  // A character is three bytes at most, and a level of nesting two characters at least: short ones need no counting.
  if (json.length * 3 > answerLimitBytes && Buffer.byteLength(json) > answerLimitBytes) {
    return { fault: { field: "answer", found: `is larger than ${answerLimitBytes} bytes` } };
  }
  if (json.length > answerLimitDepth * 2 && depthOf(answer, answerLimitDepth + 1) > answerLimitDepth) {
    return { fault: { field: "answer", found: `nests deeper than ${answerLimitDepth}` } };
  }
  const fault = rules.get(type)?.(answer);
  return fault === undefined ? { answer, json } : { fault };
}

const rules: ReadonlyMap<string, (answer: JsonObject) => Fault | undefined> = new Map([
  ["card.action.trigger", (answer: JsonObject) => bareCard(answer) ?? toast(answer) ?? card(answer)],
  ["url.preview.get", (answer: JsonObject) => bareCard(answer) ?? preview(answer) ?? card(answer)],
  ["card.action.trigger_v1", (answer: JsonObject) => oldCard(answer) ?? toast(answer)],
]);

function bareCard(answer: JsonObject): Fault | undefined {
  const member = Object.keys(answer).find((name) => cardMembers.has(name));
  return member === undefined
    ? undefined
    : { field: member, found: 'belongs into "card": { "type": "raw", "data": … }' };
}

function toast({ toast }: JsonObject): Fault | undefined {
  if (toast === undefined) return undefined;
  if (!isObject(toast)) return notAn("object", "toast");
  const { type, content, i18n } = toast;
  if (type !== undefined && !toastTypes.has(type)) {
    return { field: "toast.type", found: `is none of ${[...toastTypes].join(", ")}` };
  }
  return text(content, "toast.content") ?? texts(i18n, "toast.i18n");
}

function card({ card }: JsonObject): Fault | undefined {
  if (card === undefined) return undefined;
  if (!isObject(card)) return notAn("object", "card");
  const { type, data } = card;
  if (type !== "raw" && type !== "template") return { field: "card.type", found: "is neither raw nor template" };
  if (!isObject(data)) return notAn("object", "card.data");
  return type === "template" ? template(data, "card.data") : rawCard(data, "card.data.");
}

function template(
  { template_id, template_version_name, template_variable }: JsonObject,
  at: string,
): Fault | undefined {
  if (typeof template_id !== "string" || template_id === "") {
    return { field: `${at}.template_id`, found: "is missing" };
  }
  if (template_variable !== undefined && !isObject(template_variable)) {
    return notAn("object", `${at}.template_variable`);
  }
  return text(template_version_name, `${at}.template_version_name`);
}

/** Version 2.0 says so and keeps its elements in `body`; what is said of one version must not stand in the other. */
function rawCard(data: JsonObject, at: "" | "card.data."): Fault | undefined {
  const { schema, body, elements } = data;
  if (schema !== undefined && schema !== "2.0" && schema !== "1.0") {
    return { field: `${at}schema`, found: "is neither 1.0 nor 2.0" };
  }
  if (schema === "2.0") {
    if (elements !== undefined) return { field: `${at}elements`, found: "stands in body.elements in version 2.0" };
    if (body === undefined) return undefined;
    if (!isObject(body)) return notAn("object", `${at}body`);
    const { elements: list } = body;
    return list === undefined || Array.isArray(list) ? undefined : notAn("array", `${at}body.elements`);
  }
  if (body !== undefined) return { field: `${at}body`, found: 'needs "schema": "2.0"' };
  return elements === undefined || Array.isArray(elements) ? undefined : notAn("array", `${at}elements`);
}

function preview({ inline, title: misplaced }: JsonObject): Fault | undefined {
  if (misplaced !== undefined) return { field: "title", found: 'belongs into "inline"' };
  if (inline === undefined) return undefined;
  if (!isObject(inline)) return notAn("object", "inline");
  const { title, i18n_title, image_key, url } = inline;
  return (
    text(title, "inline.title") ??
    texts(i18n_title, "inline.i18n_title") ??
    text(image_key, "inline.image_key") ??
    texts(url, "inline.url")
  );
}

function oldCard(answer: JsonObject): Fault | undefined {
  const { type, data, schema, card } = answer;
  if (card !== undefined)
    return { field: "card", found: "is for the new callback: here the answer itself is the card" };
  if (type !== undefined && type !== "template") {
    return { field: "type", found: "is not template: any other card is the answer itself" };
  }
  if (type === "template") return isObject(data) ? template(data, "data") : notAn("object", "data");
  if (schema === "2.0") return { field: "schema", found: "is 2.0, but the old callback shows cards of version 1.0" };
  return rawCard(answer, "");
}

function text(value: unknown, field: string): Fault | undefined {
  return value === undefined || typeof value === "string" ? undefined : { field, found: "is not a text" };
}

/** An object of texts. */
function texts(value: unknown, field: string): Fault | undefined {
  if (value === undefined) return undefined;
  if (!isObject(value)) return notAn("object", field);
  const wrong = Object.keys(value).find((name) => typeof value[name] !== "string");
  return wrong === undefined ? undefined : { field: `${field}.${wrong}`, found: "is not a text" };
}

function notAn(kind: string, field: string): Fault {
  return { field, found: `is not an ${kind}` };
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
