import { type Fields, isObject, object } from "../open-api/route.ts";

/** What a person can do on a card. Its place in the list is its number, from 1. */
export type Choice =
  | { readonly does: "callback"; readonly label: string; readonly action: ChosenAction }
  | { readonly does: "open"; readonly label: string; readonly url: string }
  /** It is there, but cannot be used. */
  | { readonly does: "nothing"; readonly label: string; readonly why: string };

/** `action` of the callback that it sends. */
export interface ChosenAction {
  readonly tag: string;
  readonly value?: unknown;
  readonly name?: string;
  readonly option?: string;
}

/** A card as a person at a terminal can see it. */
export interface CardView {
  readonly title: string;
  readonly lines: readonly string[];
  readonly choices: readonly Choice[];
}

type Seen = { readonly lines: string[]; readonly choices: Choice[]; readonly isVersion2: boolean };

/**
 * Reads a card's JSON, of version 1.0 or 2.0, or what stands for a stored one. What it does not know is named by
 * its tag. Total for whatever the Open API has let in, which bounds how deep it nests.
 * https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-json-v2-structure
 */
export function cardView(content: string): CardView {
  const card = object(content) ?? {};
  if (card["type"] === "template" || card["type"] === "card") return storedView(card);
  const { header, body, elements, i18n_elements: translated } = card;
  const seen: Seen = { lines: [], choices: [], isVersion2: card["schema"] === "2.0" };
  const own = (isObject(body) ? body["elements"] : undefined) ?? elements ?? firstOf(translated);
  for (const element of list(own)) see(element, seen, false);
  const { title, subtitle } = isObject(header) ? header : ({} as Fields);
  const lines = [text(subtitle), ...seen.lines].filter((line) => line !== "");
  return { title: text(title), lines, choices: seen.choices };
}

/** Its content is with the platform: the app knows its id and its variables. */
function storedView({ type, data }: Fields): CardView {
  const { template_id: template, card_id: card, template_variable: variables } = isObject(data) ? data : ({} as Fields);
  const lines = Object.entries(isObject(variables) ? variables : {}).map(
    ([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return {
    title: type === "template" ? `[template ${text(template)}]` : `[stored card ${text(card)}]`,
    lines,
    choices: [],
  };
}

function see(element: unknown, seen: Seen, isInForm: boolean): void {
  if (!isObject(element)) return;
  const { tag } = element;
  const { lines, choices } = seen;
  const all = (elements: unknown, inForm = isInForm) => {
    for (const one of list(elements)) see(one, seen, inForm);
  };
  switch (tag) {
    case "div":
      lines.push(
        text(element["text"]),
        ...list(element["fields"]).map((field) => (isObject(field) ? text(field["text"]) : "")),
      );
      see(element["extra"], seen, isInForm);
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
      all(element["elements"], true);
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
      choices.push(pressed(element, lines[before] ?? "this part", seen, isInForm));
      return;
    }
    case "button":
      choices.push(pressed(element, text(element["text"]) || "(a button)", seen, isInForm));
      return;
    case "select_static":
    case "overflow":
      choices.push(...picked(element, isInForm));
      return;
    default:
      lines.push(`[${text(tag) || "?"}${suffix(element)}]`);
  }
}

/** What pressing a button, or a part of the card that is one, does. */
function pressed(element: Fields, label: string, { isVersion2 }: Seen, isInForm: boolean): Choice {
  if (element["disabled"] === true) return { does: "nothing", label, why: "disabled" };
  if (isInForm) return { does: "nothing", label, why: "forms cannot be filled in here" };
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

/** Each option is a choice of its own. */
function picked(element: Fields, isInForm: boolean): Choice[] {
  const placeholder = text(element["placeholder"]) || "…";
  const behaviors = list(element["behaviors"]).filter(isObject);
  const value = behaviors.find(({ type }) => type === "callback")?.["value"] ?? element["value"];
  return list(element["options"])
    .filter(isObject)
    .map((option): Choice => {
      const label = `${placeholder}: ${text(option["text"]) || text(option["value"])}`;
      if (element["disabled"] === true) return { does: "nothing", label, why: "disabled" };
      if (isInForm) return { does: "nothing", label, why: "forms cannot be filled in here" };
      if (typeof option["url"] === "string") return { does: "open", label, url: option["url"] };
      const chosen = typeof option["value"] === "string" ? { option: option["value"] } : {};
      return { does: "callback", label, action: { ...actionOf(element, value), ...chosen } };
    });
}

function actionOf({ tag, name }: Fields, value: unknown): ChosenAction {
  return {
    tag: text(tag),
    ...(value === undefined ? {} : { value }),
    ...(typeof name === "string" ? { name } : {}),
  };
}

/** The text of a text element; of a bare text, itself. */
function text(value: unknown): string {
  const content = isObject(value) ? (value["content"] ?? firstOf(value["i18n"])) : value;
  return typeof content === "string" ? content : "";
}

/** What an element without a text of its own is about. */
function suffix({ alt, placeholder }: Fields): string {
  const about = text(alt) || text(placeholder);
  return about === "" ? "" : `: ${about}`;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function firstOf(value: unknown): unknown {
  return isObject(value) ? Object.values(value)[0] : undefined;
}
