import type { Findings } from "./card-findings.ts";
import rules from "./card-rules.json" with { type: "json" };
import type { KnownParts } from "./checked-card.ts";
import { fieldsOf, isObject, type JsonObject } from "./json.ts";

type Version = keyof typeof rules.versions;

/** What a component or a part of one holds: the members of version 2.0, and those that only version 1.0 has. */
interface Holding {
  readonly page: string;
  readonly "1.0"?: string;
  readonly "2.0"?: string;
  /** The member that holds other components. */
  readonly holds?: string;
  /** Whether it is a field of a form, which needs a name. */
  readonly field?: boolean;
}

/** Where an element is. */
interface Place {
  readonly path: string;
  /** How many components are around it. A column counts as its column_set. */
  readonly depth: number;
  /** The nearest component around it. */
  readonly parent?: string | undefined;
  readonly form?: Form | undefined;
}

interface Form {
  hasSubmit: boolean;
}

const components: Readonly<Record<string, Holding>> = rules.components;
const parts: Readonly<Record<string, Holding>> = rules.parts;
const containers: Readonly<Record<string, { readonly not?: string; readonly only?: string }>> = rules.containers;
const { limits } = rules;
const elementId = new RegExp(rules.elementId);
const imageInMarkdown = /!\[[^\]]{0,200}\]\((img_[\w-]{1,200})\)/g;
/** The line below the head of a table. */
const tableInMarkdown = /^ {0,3}\|(?=[ :|]*-)[ :|-]*$/gm;
const variable = /\$\{\w{1,50}\}/;
const submits: ReadonlySet<unknown> = new Set(["submit", "form_submit"]);

/** One walk over the JSON of a card, to each object with a tag. */
export class CardWalk {
  readonly #card: JsonObject;
  readonly #known: KnownParts;
  readonly #findings: Findings;
  readonly #version: Version;
  readonly #elementIds = new Set<string>();
  readonly #names = new Set<string>();
  #elements = 0;
  #tables = 0;
  #tablesInMarkdown = 0;

  /** @param card It nests 64 deep at most. */
  constructor(card: JsonObject, known: KnownParts, findings: Findings) {
    this.#card = card;
    this.#known = known;
    this.#findings = findings;
    this.#version = card["schema"] === "2.0" ? "2.0" : "1.0";
  }

  run(): void {
    const { schema = "1.0", config, header } = this.#card;
    if (schema !== "1.0" && schema !== "2.0") this.#findings.refuse("json", "ROOT", "schema is neither 1.0 nor 2.0");
    this.#top(this.#card, "card", "ROOT");
    this.#top(config, "config", "ROOT -> config");
    this.#top(header, "header", "ROOT -> header");
    for (const [name, part] of Object.entries(fieldsOf(header))) {
      this.#part(part, { path: `ROOT -> header -> ${name}`, depth: 0 });
    }
    if (this.#version === "2.0") this.#version2();
    else this.#version1();
    this.#limits();
  }

  #version2(): void {
    const { config, body } = this.#card;
    this.#top(body, "body", "ROOT -> body");
    this.#components(fieldsOf(body)["elements"], "elements", { path: "ROOT -> body", depth: 0 });
    if (fieldsOf(config)["update_multi"] !== false) return;
    const message = "a card of version 2.0 is shared: update_multi can only be true";
    this.#findings.warn("ROOT -> config", message, rules.versions["2.0"].page);
  }

  #version1(): void {
    const { body, elements, i18n_elements: translated } = this.#card;
    if (body !== undefined) {
      const message = 'a card of version 1.0 ignores body: it needs "schema": "2.0"';
      this.#findings.warn("ROOT -> body", message, rules.versions["2.0"].page);
    }
    this.#components(elements, "elements", { path: "ROOT", depth: 0 });
    for (const [language, translation] of Object.entries(fieldsOf(translated))) {
      // A person sees one language, so names and tables are counted for each.
      this.#names.clear();
      this.#tables = 0;
      this.#components(translation, language, { path: "ROOT -> i18n_elements", depth: 0 });
    }
  }

  /** The members of the card itself, of its header, of its body and of its config. */
  #top(value: unknown, name: "card" | "header" | "config" | "body", path: string): void {
    if (value === undefined) return;
    if (!isObject(value)) return void this.#findings.refuse("json", path, `expected an object for ${name}`);
    if (this.#version === "1.0") return;
    const { "1.0": older, "2.0": rule } = rules.versions;
    for (const member of Object.keys(value)) {
      if (listed(rule[name], member)) continue;
      // Cards with older members of `config` are sent every day, although the page of version 2.0 does not list them.
      const isOlder = name !== "body" && listed(older[name], member) && !listed(rule.gone, member);
      if (isOlder || name === "config") {
        this.#findings.warn(path, `version 2.0 has no ${member} in ${name}`, rule.page);
      } else this.#unknown(member, path);
    }
  }

  #unknown(member: string, path: string): void {
    this.#findings.refuse("property", path, `unknown property, property: ${member}, path: ${path}`);
  }

  #components(value: unknown, name: string, place: Place): void {
    if (value === undefined) return;
    const path = `${place.path} -> ${name}`;
    if (!Array.isArray(value)) return void this.#findings.refuse("json", path, `expected a list for ${name}`);
    for (const [index, element] of value.entries()) {
      const tag = tagOf(element);
      const at = `${path} -> [${index}]`;
      if (tag === undefined) this.#findings.refuse("json", at, "tag is required");
      else this.#component(element, tag, { ...place, path: `${at}(tag: ${tag})` });
    }
  }

  #component(element: JsonObject, tag: string, place: Place): void {
    const { path, depth, form } = place;
    const holding = entry(components, tag);
    if (holding === undefined) {
      if (entry(parts, tag) === undefined) return void this.#findings.refuse("json", path, `not support tag: ${tag}`);
      this.#findings.warn(path, `${tag} is a part of a component, and no component`, this.#page());
      return void this.#inside(element, tag, { page: "" }, place);
    }
    if (this.#version === "2.0" && holding["2.0"] === undefined) {
      return void this.#findings.refuse("gone", path, `unsupported tag ${tag}`);
    }
    if (holding[this.#version] === undefined) {
      this.#findings.warn(path, `${tag} is for version 2.0: it needs "schema": "2.0"`, this.#page());
    }
    this.#place(tag, place);
    if (form !== undefined) this.#field(element, tag, holding, form, path);
    else if (tag === "button" && element["form_action_type"] !== undefined) {
      this.#findings.warn(path, "form_action_type is for a button in a form", null);
    }
    const own = tag === "form" ? this.#form(element, path) : undefined;
    const inner = { path, depth: tag === "column" ? depth : depth + 1, parent: tag, form: own ?? form };
    this.#inside(element, tag, holding, inner);
    if (own?.hasSubmit === false) this.#findings.refuse("submit", path);
  }

  #place(tag: string, { path, depth, parent, form }: Place): void {
    const { refuse, warn } = this.#findings;
    if (parent !== undefined && listed(rules.onlyAtTheTop, tag)) refuse("place", path, `tag: ${tag}`);
    if (form === undefined && listed(rules.onlyInForms, tag)) warn(path, `${tag} is for forms`, this.#page(tag));
    const { not = "", only = tag } = (this.#version === "1.0" ? entry(containers, parent) : undefined) ?? {};
    if (listed(not, tag) || !listed(only, tag)) {
      warn(path, `${parent} of version 1.0 cannot hold ${tag}`, this.#page(parent));
    }
    if (depth === limits.depth + 1 && tag !== "column") {
      warn(path, `a component can hold ${limits.depth} levels of others`, limits.page);
    }
  }

  #form({ name }: JsonObject, path: string): Form {
    if (typeof name !== "string" || name === "") this.#findings.refuse("formName", path);
    else this.#once(name, path);
    return { hasSubmit: false };
  }

  #field(element: JsonObject, tag: string, { field }: Holding, form: Form, path: string): void {
    const { name, form_action_type: action, action_type: olderAction } = element;
    if (tag === "button" && (submits.has(action) || submits.has(olderAction))) form.hasSubmit = true;
    if (field !== true) return;
    if (typeof name !== "string" || name === "") this.#findings.refuse("fieldName", path, `tag: ${tag}`);
    else this.#once(name, path);
  }

  #once(name: string, path: string): void {
    if (this.#names.has(name)) this.#findings.refuse("sameName", path, name);
    this.#names.add(name);
  }

  /** The members of a component or of a part: other components, and parts at any depth. */
  #inside(element: JsonObject, tag: string, holding: Holding, place: Place): void {
    this.#count(element, tag, place.path);
    if (this.#version === "2.0") this.#members(element, tag, holding, place.path);
    this.#image(element["img_key"], place.path);
    this.#text(element, tag, place.path);
    for (const [name, value] of Object.entries(element)) {
      if (name === holding.holds) this.#components(value, name, place);
      else if (!listed(rules.free, name)) this.#part(value, { ...place, path: `${place.path} -> ${name}` });
    }
  }

  /** Texts, icons, options and whatever else is in a member. */
  #part(value: unknown, place: Place): void {
    if (typeof value !== "object" || value === null) return;
    const tag = tagOf(value);
    if (tag !== undefined) {
      const at = { ...place, path: `${place.path}(tag: ${tag})` };
      // A button may be in the `extra` of a div, and in the `button_area` of a checker.
      if (entry(components, tag) !== undefined) this.#component(value as JsonObject, tag, at);
      else this.#inside(value as JsonObject, tag, entry(parts, tag) ?? { page: "" }, at);
      return;
    }
    this.#image(fieldsOf(value)["img_key"], place.path);
    for (const [name, member] of Object.entries(value)) {
      const segment = Array.isArray(value) ? `[${name}]` : name;
      if (!listed(rules.free, name)) this.#part(member, { ...place, path: `${place.path} -> ${segment}` });
    }
  }

  /** Version 1.0 ignores a member that it does not know. */
  #members(element: JsonObject, tag: string, { "1.0": older = "", "2.0": names }: Holding, path: string): void {
    if (names === undefined) return;
    for (const name of Object.keys(element)) {
      if (listed(rules.common, name) || listed(names, name) || name.startsWith("i18n_")) continue;
      if (!listed(older, name)) this.#unknown(name, path);
      else this.#findings.warn(path, `${tag} has ${name} in version 1.0 only`, this.#page(tag));
    }
  }

  #count({ element_id: id }: JsonObject, tag: string, path: string): void {
    this.#elements++;
    if (tag === "table" && ++this.#tables === limits.tables + 1) this.#findings.refuse("tables", path, "table");
    if (id === undefined || this.#version === "1.0") return;
    if (typeof id !== "string" || !elementId.test(id))
      return void this.#findings.refuse(
        "idShape",
        path,
        `ElementID ${typeof id === "string" ? id : JSON.stringify(id)}`,
      );
    if (this.#elementIds.has(id)) this.#findings.refuse("sameId", path, id);
    this.#elementIds.add(id);
  }

  #text({ content }: JsonObject, tag: string, path: string): void {
    if (typeof content !== "string") return;
    const [placeholder] = variable.exec(content) ?? [];
    if (placeholder !== undefined) {
      this.#findings.warn(path, `${placeholder} is shown as it is: variables are for templates`, rules.variables);
    }
    if (tag !== "markdown" && tag !== "lark_md") return;
    for (const [, key] of content.matchAll(imageInMarkdown)) this.#image(key, path);
    if (tag === "markdown") this.#tablesInMarkdown += content.match(tableInMarkdown)?.length ?? 0;
  }

  #image(key: unknown, path: string): void {
    if (typeof key !== "string" || key === "") return;
    const isMissing = /^https?:/.test(key) || this.#known.isImage?.(key) === false;
    if (isMissing) this.#findings.refuse("image", path, `image key ${key}`);
  }

  #limits(): void {
    const { refuse, warn } = this.#findings;
    if (Buffer.byteLength(JSON.stringify(this.#card)) > limits.bytes) refuse("size", "ROOT");
    if (this.#version === "2.0" && this.#elements > limits.elements) {
      refuse("count", "ROOT", `${this.#elements} elements`);
    }
    if (this.#tables <= limits.tables && this.#tables + this.#tablesInMarkdown > limits.tables) {
      warn("ROOT", `more than ${limits.tables} tables, with those of markdown, are refused with 11310`, null);
    }
  }

  /** The page of a component, or of all. */
  #page(tag = ""): string {
    const isNew = this.#version === "2.0";
    const overview = isNew ? "component-json-v2-overview" : "component-overview";
    return `${isNew ? "card-json-v2-components" : "card-components"}/${entry(components, tag)?.page ?? overview}`;
  }
}

function tagOf(value: unknown): string | undefined {
  const { tag } = fieldsOf(value);
  return typeof tag === "string" && tag !== "" ? tag : undefined;
}

function entry<Value>(table: Readonly<Record<string, Value>>, name = ""): Value | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** Whether a list of names, as in card-rules.json, has the name. */
function listed(names: string, name: string): boolean {
  return ` ${names} `.includes(` ${name} `);
}
