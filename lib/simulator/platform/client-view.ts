import { type JsonObject, parseObject } from "../../feishu/json.ts";
import type { PushResult } from "./push.ts";

// The platform's and the client's side of a callback's answer. It knows nothing of what our own code lets
// out: where the two differ, a test on either side tells.

/** What the person who clicked, or whose client asked, gets to see. */
export interface ClientView {
  /** Whether the answer is taken. If not, a card shows an error; a link has no preview. */
  readonly isTaken: boolean;
  /**
   * The code in the client's error message, of an answer to a card.
   * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/handle-card-callbacks
   */
  readonly code: number | null;
  /** What is wrong with an answer that is not taken. */
  readonly problem?: string;
  readonly toast?: { readonly type: string | null; readonly text: string };
  readonly card?: "raw" | "template";
  /** Of a link's preview. */
  readonly title?: string;
}

/** An answer that the platform does not take; `code` is what a card shows. */
interface Fault {
  readonly code: number;
  readonly problem: string;
}

const malformed = (problem: string): Fault => ({ code: 200672, problem });
const badCard = (problem: string): Fault => ({ code: 200673, problem });

const toastTypes: ReadonlySet<unknown> = new Set(["info", "success", "error", "warning"]);
/** Members of a card: beside `toast` and `card` they mean that a card was answered as to the old callback. */
const bareCard = ["elements", "i18n_elements", "body", "header", "config", "schema", "card_link", "type", "data"];
const oldCard = "card.action.trigger_v1";

/** What the client makes of the answer to a callback. Total: the body may be anything. */
export function clientView(type: string, result: PushResult): ClientView {
  const fault = transportFault(result);
  if (fault !== undefined) return refused(type, fault);
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
      // What may be answered to `profile.view.get` is not published.
      return { isTaken: true, code: null };
  }
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
  const toast = asObject(answer["toast"]);
  return {
    isTaken: true,
    code: null,
    ...(toast === undefined ? {} : { toast: shownToast(toast) }),
    ...shownCard(answer),
  };
}

/** The old callback's answer is the card, or a template, and perhaps a toast. */
function oldCardView(answer: JsonObject): ClientView {
  const { toast, card, type, data, ...members } = answer;
  const content = asObject(data);
  const fault =
    card === undefined ? toastFault(toast) : malformed('"card" is for the new callback: the answer itself is the card');
  const misfit =
    type === "template"
      ? templateFault(content, "data")
      : type !== undefined
        ? badCard('"type" is not template')
        : members["schema"] === "2.0"
          ? badCard('"schema" is 2.0, and the old callback shows cards of version 1.0')
          : undefined;
  const found = fault ?? misfit;
  if (found !== undefined) return refused(oldCard, found);
  const shown = asObject(toast);
  const hasCard = bareCard.some((name) => members[name] !== undefined);
  return {
    isTaken: true,
    code: null,
    ...(shown === undefined ? {} : { toast: shownToast(shown) }),
    ...(type === "template" ? { card: "template" } : hasCard ? { card: "raw" } : {}),
  };
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
  const inline = asObject(answer["inline"]);
  const title = inline === undefined ? undefined : localized(inline["i18n_title"], inline["title"]);
  return { isTaken: true, code: null, ...(title === undefined ? {} : { title }), ...shownCard(answer) };
}

function toastFault(toast: unknown): Fault | undefined {
  if (toast === undefined) return undefined;
  const members = asObject(toast);
  if (members === undefined) return malformed('"toast" is not an object');
  const { type, content, i18n } = members;
  if (type !== undefined && !toastTypes.has(type)) {
    return malformed('"toast.type" is not one of info, success, error, warning');
  }
  if (content !== undefined && typeof content !== "string") return malformed('"toast.content" is not a text');
  if (i18n !== undefined && !isTexts(i18n)) return malformed('"toast.i18n" is not an object of texts');
  return undefined;
}

function cardFault(card: unknown): Fault | undefined {
  if (card === undefined) return undefined;
  const { type, data } = asObject(card) ?? {};
  const content = asObject(data);
  if (type !== "raw" && type !== "template") return badCard('"card.type" is not raw or template');
  if (content === undefined) return badCard('"card.data" is not an object');
  if (type === "template") return templateFault(content, "card.data");
  const elements = content["schema"] === "2.0" ? asObject(content["body"])?.["elements"] : undefined;
  return elements === undefined || Array.isArray(elements)
    ? undefined
    : badCard('"card.data.body.elements" is not a list');
}

function templateFault(content: JsonObject | undefined, at: "data" | "card.data"): Fault | undefined {
  if (content === undefined) return badCard(`"${at}" is not an object`);
  const { template_id: id, template_version_name: version, template_variable: variables } = content;
  if (typeof id !== "string" || id === "") return badCard(`"${at}.template_id" is missing`);
  if (version !== undefined && typeof version !== "string") {
    return badCard(`"${at}.template_version_name" is not a text`);
  }
  if (variables !== undefined && asObject(variables) === undefined) {
    return badCard(`"${at}.template_variable" is not an object`);
  }
  return undefined;
}

function inlineFault(inline: unknown): Fault | undefined {
  if (inline === undefined) return undefined;
  const members = asObject(inline);
  if (members === undefined) return malformed('"inline" is not an object');
  for (const name of ["title", "image_key"]) {
    if (members[name] !== undefined && typeof members[name] !== "string") {
      return malformed(`"inline.${name}" is not a text`);
    }
  }
  for (const name of ["i18n_title", "url"]) {
    if (members[name] !== undefined && !isTexts(members[name])) {
      return malformed(`"inline.${name}" is not an object of texts`);
    }
  }
  return undefined;
}

function shownToast({ type, content, i18n }: JsonObject): { type: string | null; text: string } {
  return { type: typeof type === "string" ? type : null, text: localized(i18n, content) ?? "" };
}

function shownCard(answer: JsonObject): { card?: "raw" | "template" } {
  const type = asObject(answer["card"])?.["type"];
  return type === "raw" || type === "template" ? { card: type } : {};
}

/** The text of some language, which wins over the one for all; where there is only that, it. */
function localized(texts: unknown, text: unknown): string | undefined {
  const own = asObject(texts);
  const found = own?.["en_us"] ?? own?.["zh_cn"] ?? Object.values(own ?? {})[0] ?? text;
  return typeof found === "string" ? found : undefined;
}

function isTexts(value: unknown): boolean {
  const members = asObject(value);
  return members !== undefined && Object.values(members).every((text) => typeof text === "string");
}

function asObject(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
}
