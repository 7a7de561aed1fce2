import { createFindings, type Findings } from "./card-findings.ts";
import rules from "./card-rules.json" with { type: "json" };
import { CardWalk } from "./card-walk.ts";
import type { CheckedCard, KnownParts } from "./checked-card.ts";
import { depthOf, fieldsOf, isObject, type JsonObject, maxDepth, parseObject } from "./json.ts";

/**
 * Checks a card as the platform does when it is sent: its JSON of version 1.0 or 2.0, or a reference to a template or to
 * a stored card. Total. The rules and their pages are in card-rules.json.
 */
export function checkCard(value: unknown, known: KnownParts = {}): CheckedCard {
  const findings = createFindings();
  const card = jsonOf(value);
  if (card === undefined) findings.refuse("json", "ROOT", "not an object of JSON");
  else if (card["type"] === "template") checkTemplate(card["data"], known, findings);
  else if (card["type"] === "card") checkStored(card["data"], known, findings);
  else new CardWalk(card, known, findings).run();
  return { faults: findings.faults, warnings: findings.warnings };
}

/** The value as it goes over the wire; `undefined` when it cannot, or nests deeper than a card can be shown. */
function jsonOf(value: unknown): JsonObject | undefined {
  try {
    const card = parseObject(JSON.stringify(value) ?? "");
    return card === undefined || depthOf(card, maxDepth + 1) > maxDepth ? undefined : card;
  } catch {
    return undefined;
  }
}

function checkTemplate(data: unknown, known: KnownParts, { refuse, warn }: Findings): void {
  const path = "ROOT -> data";
  const { template_id: id, template_variable: values = {} } = fieldsOf(data);
  if (typeof id !== "string" || id === "") return void refuse("json", path, "template_id is required");
  if (!isObject(values)) return void refuse("json", path, "template_variable is not an object");
  const template = known.template?.(id);
  if (template === null) return void refuse("template", path, `templateID: ${id}`);
  const variables = template?.variables ?? {};
  for (const [name, expected] of Object.entries(variables)) {
    const actual = Array.isArray(values[name]) ? "array" : typeof values[name];
    if (actual === "undefined") warn(path, `the template's variable ${name} has no value`, rules.variables);
    else if (actual !== expected) {
      refuse("variable", path, `varName: ${name}, expectType: ${expected}, actualType: ${actual}`);
    }
  }
  if (template === undefined) return;
  for (const name of Object.keys(values)) {
    if (!Object.hasOwn(variables, name)) warn(path, `the template has no variable ${name}`, rules.variables);
  }
}

function checkStored(data: unknown, known: KnownParts, { refuse }: Findings): void {
  const { card_id: id } = fieldsOf(data);
  if (typeof id !== "string" || id === "") return void refuse("json", "ROOT -> data", "card_id is required");
  if (known.isCard?.(id) === false) refuse("card", "ROOT -> data", id);
}
