import type { CardTemplate } from "../../feishu/checked-card.ts";
import { fieldsOf, isObject, type JsonObject, parseObject } from "../../feishu/json.ts";

/** Templates of the card builder by their ids. Only the platform knows them, so a project declares those that it sends. */
export type Templates = Readonly<Record<string, CardTemplate>>;

/** The card of a template with its variables filled in; `undefined` when it is not declared, or the content is no template. */
export function filledTemplate(content: string, templates: ReadonlyMap<string, CardTemplate>): string | undefined {
  const { type, data } = parseObject(content) ?? {};
  const { template_id: id, template_variable: variables } = fieldsOf(data);
  const card = type === "template" && typeof id === "string" ? templates.get(id)?.card : undefined;
  return card === undefined ? undefined : filled(card, isObject(variables) ? variables : {});
}

/** A string that is one variable takes its value; within a string, a value is written as text. */
function filled(card: JsonObject, variables: JsonObject): string {
  return JSON.stringify(card).replaceAll(
    /"\$\{(\w+)\}"|\$\{(\w+)\}/g,
    (all, whole: string | undefined, part: string | undefined) => {
      const value = variables[whole ?? part ?? ""];
      if (value === undefined) return all;
      if (whole !== undefined) return JSON.stringify(value);
      return JSON.stringify(typeof value === "string" ? value : JSON.stringify(value)).slice(1, -1);
    },
  );
}
