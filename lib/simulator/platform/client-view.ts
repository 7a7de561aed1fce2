import { fieldsOf, isObject, type JsonObject, parseObject } from "../../feishu/json.ts";
import { cardFault as refusalOf } from "../open-api/content.ts";
import type { PushResult } from "./push.ts";

// How the platform and the Feishu client treat the answer to a callback. It shares no check with the code by which
// Larkpost checks an answer, so that the tests of the two can find a difference.

/** What the client shows to the person who clicked the card, or who sees the link. */
export interface ClientView {
  /** Whether the answer is accepted. If not, a card shows an error, and a link has no preview. */
  readonly isTaken: boolean;
  /**
   * The code in the client's error message about a card.
   * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/handle-card-callbacks
   */
  readonly code: number | null;
  /** Why the answer is not accepted. */
  readonly problem?: string;
  /** What is uncertain about an answer that is accepted. */
  readonly warning?: string;
  readonly toast?: { readonly type: string | null; readonly text: string } | undefined;
  readonly card?: "raw" | "template" | undefined;
  /** The title of a link's preview. */
  readonly title?: string | undefined;
}

/** Why the platform does not accept an answer. `code` is what the client shows on a card. */
interface Fault {
  readonly code: number;
  readonly problem: string;
}

const malformed = (problem: string): Fault => ({ code: 200672, problem });
const badCard = (problem: string): Fault => ({ code: 200673, problem });

const toastTypes: ReadonlySet<unknown> = new Set(["info", "success", "error", "warning"]);
/** Members of a card. In an answer to the new callback they show that the card is not inside `card`. */
const bareCard = ["elements", "i18n_elements", "body", "header", "config", "schema", "card_link", "type", "data"];
const oldCard = "card.action.trigger_v1";

/** What the client shows for the answer to a callback. Never throws, whatever the body is. */
export function clientView(type: string, result: PushResult): ClientView {
  const fault = transportFault(result);
  if (fault !== undefined) return refused(type, fault);
  // The page of the old callback allows an empty body; that of the new one does not, although two of its samples send it.
  if (result.body === "" && type === oldCard) return { isTaken: true, code: null };
  if (result.body === "" && isCallback(type)) return { isTaken: true, code: null, warning: emptyAnswer };
  const answer = parseObject(result.body);
  if (answer === undefined) return refused(type, malformed("the body is not a JSON object"));
  switch (type) {
    case "card.action.trigger":
      return cardView(type, answer);
    case "url.preview.get":
      return previewView(type, answer);
    case oldCard:
      return oldCardView(answer);
    default:
      // Feishu does not document the answer to `profile.view.get`.
      return { isTaken: true, code: null };
  }
}

const emptyAnswer =
  'the body is empty: two samples of the documentation answer so, but its rule is a JSON object. Answer "{}"';

function isCallback(type: string): boolean {
  return type === "card.action.trigger" || type === "url.preview.get";
}

function refused(type: string, { code, problem }: Fault): ClientView {
  return { isTaken: false, code: type === "card.action.trigger" || type === oldCard ? code : null, problem };
}

function transportFault({ delivered, status, code, problem = "failed" }: PushResult): Fault | undefined {
  if (delivered) return undefined;
  if (code === undefined && status !== null) return { code: 200671, problem };
  switch (code) {
    case "ETIMEDOUT":
      return { code: 200341, problem };
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return { code: 200343, problem };
    case "ECONNREFUSED":
    case "ECONNECTTIMEOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return { code: 200342, problem };
    default:
      return { code: 200080, problem };
  }
}

function cardView(type: string, answer: JsonObject): ClientView {
  const fault = bareFault(answer) ?? toastFault(answer["toast"]) ?? cardFault(answer["card"]);
  if (fault !== undefined) return refused(type, fault);
  return { isTaken: true, code: null, toast: shownToast(answer["toast"]), card: shownCard(answer["card"]) };
}

/** An answer to the old callback is the card itself or a template, with or without a toast. */
function oldCardView(answer: JsonObject): ClientView {
  const { toast, type, data, ...members } = answer;
  const fault = oldCardFault(answer);
  if (fault !== undefined) return refused(oldCard, fault);
  const isRaw = bareCard.some((name) => members[name] !== undefined);
  const card = isRaw ? "raw" : undefined;
  return { isTaken: true, code: null, toast: shownToast(toast), card: type === "template" ? "template" : card };
}

function oldCardFault({ toast, card, ...answer }: JsonObject): Fault | undefined {
  const { type, data, schema } = answer;
  if (card !== undefined) return malformed('"card" is for the new callback: the answer itself is the card');
  const fault = toastFault(toast);
  if (fault !== undefined) return fault;
  if (type === "template") return templateFault(data, "data");
  if (type !== undefined) return badCard('"type" is not template');
  if (schema === "2.0") return badCard('"schema" is 2.0, and the old callback shows cards of version 1.0');
  return rawFault(answer);
}

function bareFault(answer: JsonObject): Fault | undefined {
  const bare = bareCard.find((name) => answer[name] !== undefined);
  return bare === undefined
    ? undefined
    : malformed(`"${bare}" is a member of a card: a card goes into "card" as {"type":"raw","data":{…}}`);
}

function previewView(type: string, answer: JsonObject): ClientView {
  const misplaced = answer["title"] === undefined ? undefined : malformed('"title" goes into "inline"');
  const fault = bareFault(answer) ?? misplaced ?? inlineFault(answer["inline"]) ?? cardFault(answer["card"]);
  if (fault !== undefined) return refused(type, fault);
  const { i18n_title: titles, title } = fieldsOf(answer["inline"]);
  return { isTaken: true, code: null, title: localized(titles, title), card: shownCard(answer["card"]) };
}

function toastFault(toast: unknown): Fault | undefined {
  if (toast === undefined) return undefined;
  if (!isObject(toast)) return malformed('"toast" is not an object');
  const { type, content, i18n } = toast;
  if (type !== undefined && !toastTypes.has(type)) {
    return malformed('"toast.type" is not one of info, success, error, warning');
  }
  if (content !== undefined && typeof content !== "string") return malformed('"toast.content" is not a text');
  if (i18n !== undefined && !isTexts(i18n)) return malformed('"toast.i18n" is not an object of texts');
  return undefined;
}

function cardFault(card: unknown): Fault | undefined {
  if (card === undefined) return undefined;
  const { type, data } = fieldsOf(card);
  if (type !== "raw" && type !== "template") return badCard('"card.type" is not raw or template');
  if (type === "template") return templateFault(data, "card.data");
  if (!isObject(data)) return badCard('"card.data" is not an object');
  return rawFault(data);
}

function rawFault(card: JsonObject): Fault | undefined {
  const refusal = refusalOf(card, {});
  return refusal === undefined ? undefined : badCard(refusal);
}

function templateFault(content: unknown, at: "data" | "card.data"): Fault | undefined {
  if (!isObject(content)) return badCard(`"${at}" is not an object`);
  const { template_id: id, template_version_name: version, template_variable: variables } = content;
  if (typeof id !== "string" || id === "") return badCard(`"${at}.template_id" is missing`);
  if (version !== undefined && typeof version !== "string") {
    return badCard(`"${at}.template_version_name" is not a text`);
  }
  if (variables !== undefined && !isObject(variables)) {
    return badCard(`"${at}.template_variable" is not an object`);
  }
  return undefined;
}

function inlineFault(inline: unknown): Fault | undefined {
  if (inline === undefined) return undefined;
  if (!isObject(inline)) return malformed('"inline" is not an object');
  for (const name of ["title", "image_key"]) {
    if (inline[name] !== undefined && typeof inline[name] !== "string") {
      return malformed(`"inline.${name}" is not a text`);
    }
  }
  for (const name of ["i18n_title", "url"]) {
    if (inline[name] !== undefined && !isTexts(inline[name])) {
      return malformed(`"inline.${name}" is not an object of texts`);
    }
  }
  return undefined;
}

function shownToast(toast: unknown): ClientView["toast"] {
  if (!isObject(toast)) return undefined;
  const { type, content, i18n } = toast;
  return { type: typeof type === "string" ? type : null, text: localized(i18n, content) ?? "" };
}

function shownCard(card: unknown): ClientView["card"] {
  const { type } = fieldsOf(card);
  return type === "raw" || type === "template" ? type : undefined;
}

/** The text in one of the languages, or else the text without a language. */
function localized(texts: unknown, text: unknown): string | undefined {
  const byLanguage = fieldsOf(texts);
  const shown = byLanguage["en_us"] ?? byLanguage["zh_cn"] ?? Object.values(byLanguage)[0] ?? text;
  return typeof shown === "string" ? shown : undefined;
}

function isTexts(value: unknown): boolean {
  return isObject(value) && Object.values(value).every((text) => typeof text === "string");
}
