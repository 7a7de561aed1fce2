import { fieldsOf, isObject, type JsonObject } from "../../feishu/json.ts";
import { mei, tomas } from "../samples/facts.ts";

/** Something that a person fills in or picks on a card. */
export interface Field {
  readonly kind: "text" | "date" | "time" | "datetime" | "option" | "options" | "checked";
  /** Its name in the form's values. Outside of a form it may be empty. */
  readonly name: string;
  readonly label: string;
  readonly isRequired: boolean;
  /** What can be picked, in the order of the list. */
  readonly options: readonly { readonly label: string; readonly value: string }[];
  /** What an empty answer stands for. */
  readonly initial?: unknown;
  readonly maxLength?: number | undefined;
}

/** The answer does not fit the field. The message is for the person. */
export class FieldError extends Error {
  override readonly name = "FieldError";
}

const kinds: ReadonlyMap<unknown, Field["kind"]> = new Map<unknown, Field["kind"]>([
  ["input", "text"],
  ["date_picker", "date"],
  ["picker_time", "time"],
  ["picker_datetime", "datetime"],
  ["select_static", "option"],
  ["select_person", "option"],
  ["multi_select_static", "options"],
  ["multi_select_person", "options"],
  ["select_img", "option"],
  ["checker", "checked"],
]);
const moments = {
  date: { shape: /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/, example: "2026-11-29" },
  time: { shape: /^(?:[01]\d|2[0-3]):[0-5]\d$/, example: "17:30" },
  datetime: {
    shape: /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]) (?:[01]\d|2[0-3]):[0-5]\d$/,
    example: "2026-11-29 17:30",
  },
} as const;
/** People who can be picked where a card names none: the members of the group. */
const people = [
  { label: "Mei Okafor", value: mei.open_id },
  { label: "Tomas Reyes", value: tomas.open_id },
];
export const timezone = "Asia/Shanghai";
const offset = "+0800";

/** The field that an element is; `undefined` for an element that cannot be filled in. */
export function fieldOf(element: JsonObject): Field | undefined {
  const { tag, name, required, options, multi_select: isMultiple, max_length: maxLength } = element;
  const kind = tag === "select_img" && isMultiple === true ? "options" : kinds.get(tag);
  if (kind === undefined) return undefined;
  const named = typeof name === "string" ? name : "";
  const isOfPeople = tag === "select_person" || tag === "multi_select_person";
  const listed = optionsOf(options, isOfPeople);
  const label = textOf(element["label"]) || textOf(element["text"]) || textOf(element["placeholder"]) || named;
  const max = typeof maxLength === "number" ? maxLength : 1_000;
  return {
    kind,
    name: named,
    label: label || String(tag),
    isRequired: required === true,
    options: isOfPeople && listed.length === 0 ? people : listed,
    initial: initialOf(element),
    maxLength: kind === "text" ? max : undefined,
  };
}

function optionsOf(options: unknown, isOfPeople: boolean): Field["options"] {
  return (Array.isArray(options) ? options : []).filter(isObject).flatMap((option) => {
    const value = option["value"];
    if (typeof value !== "string") return [];
    const person = isOfPeople ? people.find((known) => known.value === value)?.label : undefined;
    return [{ label: textOf(option["text"]) || person || value, value }];
  });
}

function initialOf(element: JsonObject): unknown {
  const { default_value, initial_date, initial_time, initial_datetime, initial_option, selected_values } = element;
  const moment = initial_date ?? initial_time ?? initial_datetime;
  if (typeof moment === "string" && moment !== "") return `${moment} ${offset}`;
  return default_value ?? initial_option ?? selected_values ?? element["checked"];
}

/**
 * The value that the callback carries for what a person typed: a text, a moment, and of a list the numbers or labels of
 * the options. `undefined`: it is left empty.
 * @throws {FieldError}
 */
export function readField(field: Field, typed: string): unknown {
  const { kind, label, initial, isRequired, maxLength = Number.POSITIVE_INFINITY } = field;
  if (typed === "") {
    const isEmpty = initial === undefined || initial === "" || (Array.isArray(initial) && initial.length === 0);
    if (isEmpty && isRequired) throw new FieldError(`${label} is required`);
    if (isEmpty && kind === "text") return "";
    return initial;
  }
  switch (kind) {
    case "text":
      if (typed.length <= maxLength) return typed;
      throw new FieldError(`${label} takes at most ${maxLength} characters`);
    case "date":
    case "time":
    case "datetime": {
      const { shape, example } = moments[kind];
      if (!shape.test(typed)) throw new FieldError(`${label} is a ${kind}, like ${example}`);
      return `${typed} ${offset}`;
    }
    case "option":
      return optionOf(field, typed);
    case "options":
      return typed.split(/[,，]/).map((part) => optionOf(field, part.trim()));
    case "checked":
      if (/^(?:yes|no)$/.test(typed)) return typed === "yes";
      throw new FieldError(`${label} is yes or no`);
  }
}

function optionOf({ label, options }: Field, typed: string): string {
  const wanted = typed.toLowerCase();
  const found =
    options[/^\d{1,3}$/.test(typed) ? Number(typed) - 1 : -1] ??
    options.find(({ label, value }) => value === typed || label.toLowerCase() === wanted);
  if (found === undefined) throw new FieldError(`${label} has no "${typed}"`);
  return found.value;
}

/** What the callback of a field outside of a form carries. */
export function actionWith({ kind }: Field, value: unknown): object {
  if (kind === "text") return { input_value: value };
  if (kind === "options") return { options: value };
  if (kind === "checked") return { checked: value };
  return { option: value };
}

export function isMoment({ kind }: Field): boolean {
  return kind in moments;
}

/** What to type for a field, in a line. */
export function hintOf({ kind, options, isRequired, initial }: Field): string {
  const lists = options.map(({ label }, index) => `${index + 1} ${label}`).join(", ");
  const hints = {
    text: "",
    option: lists,
    options: `${lists}; several with commas between them`,
    checked: "yes or no",
    date: `like ${moments.date.example}`,
    time: `like ${moments.time.example}`,
    datetime: `like ${moments.datetime.example}`,
  };
  const empty = initial === undefined || initial === "" ? "may be empty" : `empty for ${JSON.stringify(initial)}`;
  return [hints[kind], isRequired ? "required" : empty].filter((part) => part !== "").join("; ");
}

function textOf(value: unknown): string {
  const content = isObject(value) ? (value["content"] ?? Object.values(fieldsOf(value["i18n"]))[0]) : value;
  return typeof content === "string" ? content : "";
}
