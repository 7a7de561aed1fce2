import { fieldsOf, isObject, type JsonObject } from "../../feishu/json.ts";
import { object } from "../open-api/route.ts";
import { people } from "../samples/facts.ts";
import { type Field, fieldOf } from "./card-fields.ts";

/** What a person can do on a card. Choices are numbered from 1 in the order of the list. */
export type Choice =
  | {
      readonly does: "callback";
      readonly label: string;
      readonly action: ChosenAction;
      /** What the person fills in first: the fields of a form, or the one that was chosen. */
      readonly asks?: readonly Field[];
      /** Whether the fields are those of a form, which this choice submits. */
      readonly isSubmit?: boolean;
    }
  | { readonly does: "open"; readonly label: string; readonly url: string }
  /** It is shown, but cannot be used. */
  | { readonly does: "nothing"; readonly label: string; readonly why: string };

/** The `action` of the callback. */
interface ChosenAction {
  readonly tag: string;
  readonly value?: unknown;
  readonly name?: string | undefined;
  readonly option?: string | undefined;
  readonly checked?: boolean | undefined;
}

/** A card as a terminal shows it. */
export interface CardView {
  readonly title: string;
  readonly lines: readonly string[];
  readonly choices: readonly Choice[];
}

type Seen = { readonly lines: string[]; readonly choices: Choice[]; readonly isVersion2: boolean };
/** The fields of the form that an element is in. They are complete when the whole card is read. */
type Form = Field[] | undefined;

/**
 * Reads the JSON of a card, of version 1.0 or 2.0, or of a reference to a template or a stored card. An unknown element
 * is shown by its tag. Never throws for content that the Open API has accepted, since that limits how deep it nests.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-structure
 */
export function cardView(content: string): CardView {
  const card = object(content) ?? {};
  if (card["type"] === "template" || card["type"] === "card") return storedView(card);
  const { header, body, elements, i18n_elements: translated } = card;
  const seen: Seen = { lines: [], choices: [], isVersion2: card["schema"] === "2.0" };
  const shown = (isObject(body) ? body["elements"] : undefined) ?? elements ?? firstOf(translated);
  for (const element of list(shown)) addElement(element, seen, undefined);
  const { title, subtitle } = fieldsOf(header);
  const lines = [text(subtitle), ...seen.lines].filter((line) => line !== "");
  return { title: text(title), lines, choices: seen.choices };
}

/** Only the platform has its content. The app knows its id and its variables. */
function storedView({ type, data }: JsonObject): CardView {
  const { template_id: template, card_id: card, template_variable: variables } = fieldsOf(data);
  const lines = Object.entries(isObject(variables) ? variables : {}).map(
    ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return {
    title: type === "template" ? `[template ${text(template)}]` : `[stored card ${text(card)}]`,
    lines,
    choices: [],
  };
}

function addElement(element: unknown, seen: Seen, form: Form): void {
  if (!isObject(element)) return;
  const { tag } = element;
  const { lines, choices } = seen;
  const all = (elements: unknown, inner: Form = form) => {
    for (const child of list(elements)) addElement(child, seen, inner);
  };
  switch (tag) {
    case "div":
      lines.push(
        text(element["text"]),
        ...list(element["fields"]).map((field) => (isObject(field) ? text(field["text"]) : "")),
      );
      addElement(element["extra"], seen, form);
      return;
    case "markdown":
    case "plain_text":
    case "lark_md":
      lines.push(text(element));
      return;
    case "hr":
      lines.push("———");
      return;
    case "action":
      all(element["actions"]);
      return;
    case "column_set":
      all(element["columns"]);
      return;
    case "form":
      all(element["elements"], []);
      return;
    case "collapsible_panel": {
      const { header } = element;
      lines.push(isObject(header) ? text(header["title"]) : "");
      all(element["elements"]);
      return;
    }
    case "note":
    case "column":
      all(element["elements"]);
      return;
    case "interactive_container": {
      const before = lines.length;
      all(element["elements"]);
      choices.push(buttonChoice(element, lines[before] ?? "this part", seen, undefined));
      return;
    }
    case "button":
      choices.push(buttonChoice(element, text(element["text"]) || "(a button)", seen, form));
      return;
    case "overflow":
      choices.push(...optionChoices(element));
      return;
    case "select_static":
    case "select_person":
      if (form === undefined && list(element["options"]).length > 0) choices.push(...optionChoices(element));
      else addField(element, seen, form);
      return;
    default:
      if (fieldOf(element) !== undefined) addField(element, seen, form);
      else lines.push(`[${text(tag) || "?"}${description(element)}]`);
  }
}

/** A field is a line of its form, or a choice of its own. */
function addField(element: JsonObject, { lines, choices }: Seen, form: Form): void {
  const field = fieldOf(element);
  if (field === undefined) return;
  const label = `${field.label}${field.isRequired ? " *" : ""}`;
  if (form !== undefined) {
    lines.push(field.kind === "checked" ? `☐ ${label}` : `${label}: ____`);
    if (element["disabled"] !== true) form.push(field);
    return;
  }
  const action = actionOf(element, callbackValue(element));
  if (element["disabled"] === true) choices.push({ does: "nothing", label, why: "disabled" });
  else if (field.kind === "checked") {
    const isChecked = element["checked"] === true;
    choices.push({
      does: "callback",
      label: `${isChecked ? "☑" : "☐"} ${label}`,
      action: { ...action, checked: !isChecked },
    });
  } else choices.push({ does: "callback", label: `${label} …`, action, asks: [field] });
}

/** The value of a component's callback. */
function callbackValue(element: JsonObject): unknown {
  const behaviors = list(element["behaviors"]).filter(isObject);
  return behaviors.find(({ type }) => type === "callback")?.["value"] ?? element["value"];
}

/** What a click on a button or on an interactive container does. */
function buttonChoice(element: JsonObject, label: string, { isVersion2 }: Seen, form: Form): Choice {
  if (element["disabled"] === true) return { does: "nothing", label, why: "disabled" };
  const { form_action_type: formAction, action_type: olderAction } = element;
  if (form !== undefined && (formAction === "submit" || olderAction === "form_submit")) {
    return { does: "callback", label, action: actionOf(element, callbackValue(element)), asks: form, isSubmit: true };
  }
  if (formAction === "reset" || olderAction === "form_reset") {
    return { does: "nothing", label, why: "it empties the form" };
  }
  const behaviors = list(element["behaviors"]).filter(isObject);
  const callback = behaviors.find(({ type }) => type === "callback");
  const open = behaviors.find(({ type }) => type === "open_url");
  const { multi_url: urls, url = open?.["default_url"] ?? (isObject(urls) ? urls["url"] : undefined) } = element;
  const value = callback?.["value"] ?? element["value"];
  const isLink = typeof url === "string" && url !== "";
  if (callback === undefined && value === undefined) {
    if (isLink) return { does: "open", label, url };
    if (isVersion2) return { does: "nothing", label, why: "it has no behaviors" };
  }
  return { does: "callback", label, action: actionOf(element, value) };
}

/** Makes a choice of each option. */
function optionChoices(element: JsonObject): Choice[] {
  const placeholder = text(element["placeholder"]) || "…";
  const value = callbackValue(element);
  return list(element["options"])
    .filter(isObject)
    .map((option): Choice => {
      const label = `${placeholder}: ${text(option["text"]) || text(option["value"])}`;
      if (element["disabled"] === true) return { does: "nothing", label, why: "disabled" };
      if (typeof option["url"] === "string") return { does: "open", label, url: option["url"] };
      const chosen = typeof option["value"] === "string" ? option["value"] : undefined;
      return { does: "callback", label, action: { ...actionOf(element, value), option: chosen } };
    });
}

function actionOf({ tag, name }: JsonObject, value: unknown): ChosenAction {
  return { tag: text(tag), value, name: typeof name === "string" ? name : undefined };
}

/** The text of a text element or of a plain string. */
function text(value: unknown): string {
  const content = isObject(value) ? (value["content"] ?? firstOf(value["i18n"])) : value;
  return typeof content === "string" ? withMentions(content) : "";
}

/** `<at user_id="ou_1">Mei</at>` → `@Mei`. A person whose name is not given is known by an id, or shown by it. */
export function withMentions(written: string): string {
  return written.replaceAll(
    /<at (?:user_)?id="?([^">]{1,80})"?>([^<]{0,80})<\/at>/g,
    (_, id: string, name: string) => `@${name || nameOf(id)}`,
  );
}

function nameOf(id: string): string {
  return Object.values(people).find(({ ids }) => Object.values(ids).includes(id))?.name ?? id;
}

/** The description of an element that has no text. */
function description({ alt, placeholder }: JsonObject): string {
  const about = text(alt) || text(placeholder);
  return about === "" ? "" : `: ${about}`;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function firstOf(value: unknown): unknown {
  return isObject(value) ? Object.values(value)[0] : undefined;
}
