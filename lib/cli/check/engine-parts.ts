import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { engineRoot } from "../project.ts";
import type { Finding } from "./finding.ts";

// A project that has the engine as a package holds copies of what the engine wants of it: the entries, and the lines of
// serverless.yml that name the engine's parts.

/** The four files that say what is deployed. */
export const entryFiles = ["callback", "long-connection", "webhook", "worker"].map((name) => `functions/${name}.ts`);
const packageFolder = "node_modules/larkpost";

/** A file of this repository as a project has it, which finds infra/ and docs/ in the package. */
export function projectText(text: string): string {
  return text.replaceAll(/(?<![\w/])(infra|docs)\//g, `${packageFolder}/$1/`);
}

/** The copies that the installed engine wants otherwise, with the difference. Other projects have the engine itself. */
export function checkEngineParts(root: string, engine = engineRoot): Finding[] {
  const file = join(root, "serverless.yml");
  const current = existsSync(file) ? read(file) : "";
  if (!current.includes(`${packageFolder}/`)) return [];
  const { version } = JSON.parse(read(join(engine, "package.json"))) as { version: string };
  const wanted = projectText(read(join(engine, "serverless.yml")));
  const entries = entryFiles.flatMap((entry) => entryFindings(root, entry, read(join(engine, entry)), version));
  return [...entries, ...serverlessFindings(current, wanted, version)];
}

/** Lines that a project adds are its own: it may load something first. */
function entryFindings(root: string, file: string, wanted: string, version: string): Finding[] {
  const current = existsSync(join(root, file)) ? read(join(root, file)) : "";
  const [has, wants] = [codeLines(current), codeLines(wanted)];
  const missing = wants.filter((line) => !has.includes(line));
  if (missing.length === 0) return [];
  const difference = [
    ...has.filter((line) => !wants.includes(line)).map((line) => `- ${line}`),
    ...missing.map((line) => `+ ${line}`),
  ];
  const fault =
    current === "" ? `is missing. In larkpost ${version} it is` : `is otherwise in larkpost ${version}. Take it over`;
  return [
    { part: "engine", file, line: current === "" ? undefined : 1, message: `${fault}:\n${difference.join("\n")}` },
  ];
}

/** Comments and blank lines are the project's. */
function codeLines(source: string): string[] {
  return source.split("\n").filter((line) => !/^\s*(\/\/.*)?$/.test(line));
}

/**
 * What a project says itself, without the engine's files, is its own choice; what it leaves out, or takes from a file of
 * the engine that is another now, is not.
 */
function serverlessFindings(current: string, wanted: string, version: string): Finding[] {
  const [has, wants] = [linesByPath(current), linesByPath(wanted)];
  const file = "serverless.yml";
  const findings: Finding[] = [];
  for (const [path, { text }] of wants) {
    const own = has.get(path);
    if (own === undefined && text.endsWith(":")) continue;
    if (own === undefined) {
      findings.push({
        part: "engine",
        file,
        message: `lacks ${path}, which larkpost ${version} wants. Add:\n+ ${text}`,
      });
    } else if (own.text !== text && isOfEngine(own.text)) {
      const message = `${path} is otherwise in larkpost ${version}. Take it over:\n- ${own.text}\n+ ${text}`;
      findings.push({ part: "engine", file, line: own.line, message });
    }
  }
  for (const [path, { text, line }] of has) {
    if (!isOfEngine(text) || wants.has(path)) continue;
    findings.push({
      part: "engine",
      file,
      line,
      message: `${path} is no part of larkpost ${version}. Delete:\n- ${text}`,
    });
  }
  return findings;
}

function isOfEngine(text: string): boolean {
  return text.includes(`\${file(${packageFolder}/`);
}

/**
 * The lines, without comments, by where they are: `provider.logs`, `functions.webhook` in a list, or `resources: …` for a
 * line of a list without a name.
 */
function linesByPath(yaml: string): Map<string, { text: string; line: number }> {
  const lines = new Map<string, { text: string; line: number }>();
  const parents: { indent: number; name: string }[] = [];
  for (const [index, line] of yaml.split("\n").entries()) {
    const text = line.replace(/(^|\s+)#.*$/, "").trimEnd();
    const [, space, item, name = ""] = /^(\s*)(?:- (.*)|([\w-]+):(?:\s.*)?)$/.exec(text) ?? [];
    if (space === undefined) continue;
    while ((parents.at(-1)?.indent ?? -1) >= space.length) parents.pop();
    const path = parents.map((parent) => parent.name);
    const key = item === undefined ? name : /^([\w-]+):\s/.exec(item)?.[1];
    const place = key === undefined ? `${path.join(".")}: ${item}` : [...path, key].join(".");
    lines.set(place, { text: text.trim(), line: index + 1 });
    if (item === undefined && text.endsWith(":")) parents.push({ indent: space.length, name });
  }
  return lines;
}

function read(file: string): string {
  return readFileSync(file, "utf8").replaceAll("\r\n", "\n");
}
