import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { configFile, type Project } from "../../../infra/project.js";
import { isOslsId, larkpostsIds } from "../../../infra/resources.js";
import { fieldsOf } from "../../feishu/json.ts";
import { didYouMean } from "../../simulator/nearest.ts";
import type { Finding } from "./finding.ts";

/**
 * References of larkpost.config.js to nothing. What serverless.yml may add counts as known: a name that is written
 * there, and any name where it takes more from a plugin or from a file that is not the engine's. The template tells those.
 */
export function checkReferences(root: string, project: Project): Finding[] {
  const { resources, statements: others } = project;
  const yml = textOf(root, "serverless.yml");
  if (/^plugins:|Transform|file\((?!(node_modules\/larkpost\/)?infra\/)/m.test(yml)) return [];
  const words = yml.split(/\W+/);
  const ids = [...Object.keys(resources), ...larkpostsIds(project)];
  const isKnown = (name: string) => ids.includes(name) || isOslsId(name) || words.includes(name);
  return findDangling(root, { resources, others, ids, isKnown });
}

/** References to nothing, for which CloudFormation refuses the template: a misspelt name in `statements` or `resources`. */
export function findDangling(
  root: string,
  options: {
    readonly resources: Readonly<Record<string, object>>;
    readonly others: unknown;
    readonly ids: readonly string[];
    readonly isKnown?: (name: string) => boolean;
  },
): Finding[] {
  const { resources, others, ids, isKnown = (name: string) => ids.includes(name) } = options;
  const order = Object.values(resources).flatMap((resource) => fieldsOf(resource)["DependsOn"] ?? []) as string[];
  return [...new Set([...order, ...referencesIn([resources, others])])]
    .filter((name) => !/^AWS::|\$\{/.test(name) && !isKnown(name))
    .map((name) => {
      const advice = didYouMean(name, ids) || " Check larkpost.config.js and serverless.yml";
      const message = `refers to "${name}", which is no resource of the stack.${advice}`;
      const places = [configFile, "serverless.yml"].map((file) => ({ file, line: lineOf(textOf(root, file), [name]) }));
      const { file, line } = places.find((place) => place.line !== undefined) ?? { file: "the template" };
      return { part: "deployment", file, line, message };
    });
}

/** The names in `Ref`, `Fn::GetAtt` and `Fn::Sub`. A variable of osls, like `${param:name}`, has its value later. */
function referencesIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  const { Ref, "Fn::GetAtt": attribute, "Fn::Sub": sub } = value as Readonly<Record<string, unknown>>;
  const [text, variables] = [sub].flat();
  const inText = [...`${text}`.matchAll(/\$\{([^!:}][^:}]*(?:::[^}]*)?)\}/g)].map(([, name = ""]) => name);
  const [of] = [attribute].flat();
  const names = [Ref, of, ...inText.filter((name) => !Object.hasOwn(fieldsOf(variables), name))];
  return [
    ...names.flatMap((name) => (typeof name === "string" ? name.split(".", 1) : [])),
    ...Object.values(value).flatMap(referencesIn),
  ];
}

/** The line of a member: the first that has its last name, after those of the names before it. Comments do not count. */
export function lineOf(source: string, path: readonly string[]): number | undefined {
  const lines = source.split("\n");
  let found = -1;
  for (const name of path) {
    const word = new RegExp(`(?<!\\w)${name.replaceAll(/\W/g, "\\$&")}(?!\\w)`);
    const index = lines.findIndex((line, at) => at >= found && word.test(line) && !/^\s*(\/?\*|\/\/|#)/.test(line));
    if (index >= 0) found = index;
  }
  return found < 0 ? undefined : found + 1;
}

function textOf(root: string, file: string): string {
  const path = join(root, file);
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}
