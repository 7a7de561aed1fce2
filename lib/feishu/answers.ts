import { isText, oldCardType } from "./classify.ts";
import { depthOf, fieldsOf, isObject, type JsonObject, parseObject } from "./json.ts";

/** The platform refuses larger ones: https://open.feishu.cn/document/ukTMukTMukTM/uMDMxEjLzATMx4yMwETM */
export const answerLimitBytes = 100 * 1024;
/** Far deeper than a card can be shown, and far below what `JSON.stringify` can write. */
export const answerLimitDepth = 200;

/** An answer and its text, which is written once: the same text is checked, sent and stored. */
export interface JsonAnswer {
  readonly answer: JsonObject;
  readonly json: string;
}

/** What is wrong with an answer, and in which member. */
export interface Fault {
  readonly field: string;
  readonly found: string;
}

/**
 * Checks what a callback's handler returned by the platform's rules, so that the user who clicked sees a message
 * instead of the client's error 200672 or 200673. Total.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication
 *
 * @returns The answer to send (`{}` if nothing was returned), or the first fault.
 */
export function checkAnswer(type: string, returned: unknown): JsonAnswer | { fault: Fault } {
  if (returned === undefined || returned === null) return { answer: {}, json: "{}" };
  let json: string;
  try {
    json = JSON.stringify(returned) ?? "";
  } catch {
    return { fault: { field: "answer", found: "cannot be written as JSON" } };
  }
  // The parsed JSON is checked, not the value: that is what the platform sees.
  const answer = parseObject(json);
  if (answer === undefined) return { fault: { field: "answer", found: "is not an object" } };
  if (Buffer.byteLength(json) > answerLimitBytes) {
    return { fault: { field: "answer", found: `is larger than ${answerLimitBytes} bytes` } };
  }
  // A level of nesting has at least 2 characters: short texts need no counting.
  if (json.length > answerLimitDepth * 2 && depthOf(answer, answerLimitDepth + 1) > answerLimitDepth) {
    return { fault: { field: "answer", found: `nests deeper than ${answerLimitDepth}` } };
  }
  const fault = faultOf(type, answer);
  return fault === undefined ? { answer, json } : { fault };
}

/** The fault of a member's value. Every member may be missing, unless its rule says otherwise. */
type Rule = (value: unknown, field: string) => Fault | undefined;

function rule(isValid: (value: unknown) => boolean, found: string): Rule {
  return (value, field) => (value === undefined || isValid(value) ? undefined : { field, found });
}

const notObject = "is not an object";
const anyObject = rule(isObject, notObject);
const array = rule(Array.isArray, "is not an array");
const text = rule((value) => typeof value === "string", "is not a text");

/** An object whose named members follow their rules; the first fault counts. */
function object(rules: Readonly<Record<string, Rule>>): Rule {
  return (value, field) => {
    if (!isObject(value)) return anyObject(value, field);
    for (const [name, check] of Object.entries(rules)) {
      const fault = check(value[name], `${field}.${name}`);
      if (fault !== undefined) return fault;
    }
    return undefined;
  };
}

/** An object of texts. */
const texts: Rule = (value, field) => {
  const names = Object.keys(fieldsOf(value));
  return object(Object.fromEntries(names.map((name) => [name, text])))(value, field);
};

const toastTypes: readonly unknown[] = ["info", "success", "error", "warning"];
const toastType = rule((value) => toastTypes.includes(value), `is none of ${toastTypes.join(", ")}`);
const toast = object({ type: toastType, content: text, i18n: texts });

const templateId: Rule = (value, field) => (isText(value) ? undefined : { field, found: "is missing" });
const template = object({ template_id: templateId, template_variable: anyObject, template_version_name: text });

const inline = object({ title: text, i18n_title: texts, image_key: text, url: texts });

const card: Rule = (value, field) => {
  if (!isObject(value)) return anyObject(value, field);
  const { type, data } = value;
  if (type !== "raw" && type !== "template") return { field: `${field}.type`, found: "is neither raw nor template" };
  if (!isObject(data)) return { field: `${field}.data`, found: notObject };
  return type === "template" ? template(data, `${field}.data`) : rawCard(data, `${field}.data.`);
};

/** Version 2.0 names itself and keeps its elements in `body`; a card must not have members of both versions. */
function rawCard({ schema, body, elements }: JsonObject, prefix: string): Fault | undefined {
  if (schema !== undefined && schema !== "2.0" && schema !== "1.0") {
    return { field: `${prefix}schema`, found: "is neither 1.0 nor 2.0" };
  }
  if (schema !== "2.0") {
    if (body !== undefined) return { field: `${prefix}body`, found: 'needs "schema": "2.0"' };
    return array(elements, `${prefix}elements`);
  }
  if (elements !== undefined) return { field: `${prefix}elements`, found: "stands in body.elements in version 2.0" };
  return object({ elements: array })(body, `${prefix}body`);
}

/** Members of a card, or of the answer's `card`. Outside of `card` the platform ignores or refuses them. */
const cardMember = /^(schema|config|header|body|elements|i18n_elements|card_link|type|data)$/;

function bareCard(answer: JsonObject): Fault | undefined {
  const field = Object.keys(answer).find((name) => cardMember.test(name));
  return field === undefined ? undefined : { field, found: 'belongs into "card": { "type": "raw", "data": … }' };
}

function preview({ title, inline: shown }: JsonObject): Fault | undefined {
  return title === undefined ? inline(shown, "inline") : { field: "title", found: 'belongs into "inline"' };
}

function oldCard(answer: JsonObject): Fault | undefined {
  const { type, data, schema, card } = answer;
  if (card !== undefined) {
    return { field: "card", found: "is for the new callback: here the answer itself is the card" };
  }
  if (type !== undefined && type !== "template") {
    return { field: "type", found: "is not template: any other card is the answer itself" };
  }
  if (type === "template") return isObject(data) ? template(data, "data") : { field: "data", found: notObject };
  if (schema === "2.0") return { field: "schema", found: "is 2.0, but the old callback shows cards of version 1.0" };
  return rawCard(answer, "");
}

function faultOf(type: string, answer: JsonObject): Fault | undefined {
  switch (type) {
    case "card.action.trigger":
      return bareCard(answer) ?? toast(answer["toast"], "toast") ?? card(answer["card"], "card");
    case "url.preview.get":
      return bareCard(answer) ?? preview(answer) ?? card(answer["card"], "card");
    case oldCardType:
      return oldCard(answer) ?? toast(answer["toast"], "toast");
    default:
      return undefined;
  }
}
