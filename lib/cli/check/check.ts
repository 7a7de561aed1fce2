import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Project } from "../../../infra/project.js";
import { tableName } from "../../local/tables.ts";
import { CommandError, subcommand } from "../command.ts";
import { generate, handlerNames } from "../handlers/generate.ts";
import { paint } from "../paint.ts";
import { existingRoot, loadEnv } from "../project.ts";
import { setVariables } from "../start/variables.ts";
import { checkTypes } from "./compiler.ts";
import { checkEngineParts } from "./engine-parts.ts";
import { checkFiles } from "./files.ts";
import { type Finding, faultLine, faultsAmong, refusal, sorted } from "./finding.ts";
import { checkImports } from "./imports.ts";
import { checkReferences } from "./references.ts";
import { checkConfig, checkSecretReads, checkSettings } from "./settings.ts";

export function checkCommand(): Command {
  return subcommand("check")
    .description("find what is wrong with the handlers, their types, larkpost.config.js and the settings, all at once")
    .option("--json", "print one JSON object instead of text for a person")
    .addHelpText(
      "after",
      `
Loads each file of functions/events and functions/callbacks in a process of its own (5 s each), and checks that it
exports the handler of its name, that the platform has that type, that no file is ignored, that the code compiles, that
the generated lists are up to date, and that larkpost.config.js and the settings (the environment and .env) can be used.
Where the engine is a package, it names an entry or a part of serverless.yml that the installed engine wants otherwise,
with the difference.
npm start, npm run package and npm run deploy run the same checks. Exits with 1 when anything is wrong;
a warning, which begins with !, is not.`,
    )
    .action(run);
}

async function run({ json = false }: { json?: boolean }): Promise<void> {
  const root = existingRoot();
  const checked = await check(root);
  const ok = faultsAmong(checked.findings).length === 0;
  if (json) console.log(JSON.stringify({ ok, ...checked }));
  else for (const line of resultLines(checked)) console.log(line);
  if (!ok) process.exitCode = 1;
}

export interface Checked {
  readonly handlers: number;
  readonly findings: readonly Finding[];
}

/** Every fault of the project. Its handlers run in a process of their own. */
export async function check(root: string): Promise<Checked> {
  loadEnv(root);
  const { project, findings } = await checkConfig(root);
  const code = await checkCode(root, project);
  const settings = checkSettings(root, process.env, project);
  // A template, where there is one, tells them.
  const references = project === undefined ? [] : checkReferences(root, project);
  const bundled = await checkBundles(root, code.findings);
  const all = [...findings, ...code.findings, ...references, ...settings, ...bundled];
  return { handlers: code.handlers, findings: sorted(all) };
}

async function checkCode(root: string, project: Project | undefined): Promise<Checked> {
  const [types, { handlers, findings, modules }] = await Promise.all([
    checkTypes(root),
    checkHandlers(root, handlerEnv(project)),
  ]);
  const reads = [...modules].flatMap((file) => checkSecretReads(root, file, project?.secrets ?? []));
  return { handlers, findings: sorted([...findings, ...types, ...reads, ...checkEngineParts(root)]) };
}

/**
 * What can be found without the compiler, which takes seconds.
 * @param env The environment in which files are loaded.
 * @returns `modules`: the project's own modules that were loaded.
 */
export async function checkHandlers(
  root: string,
  env: NodeJS.ProcessEnv,
): Promise<Checked & { readonly modules: ReadonlySet<string> }> {
  const files = await checkFiles(root);
  const except = new Set(files.map(({ file }) => file));
  const { findings, modules } = await checkImports(root, { env, except });
  const handlers = handlerNames("events", root).length + handlerNames("callbacks", root).length;
  return { handlers, findings: sorted([...files, ...findings]), modules };
}

/**
 * Writes the lists, and looks for what would fail once it is deployed.
 * @returns The faults of larkpost.config.js apart: with one of them, there is no template.
 */
export async function findFaults(root: string): Promise<{ config: readonly Finding[]; code: readonly Finding[] }> {
  await generate({ root });
  const { project, findings: config } = await checkConfig(root);
  const { findings } = await checkCode(root, project);
  if (config.length + findings.length === 0) return { config, code: [] };
  // The build, which comes next, would tell these in a second round.
  return { config, code: [...findings, ...(await checkBundles(root, findings))] };
}

/**
 * @param task What the command is to do, as its message says it: `package`.
 * @throws {CommandError} Its message has a line for each fault that {@link findFaults} finds.
 */
export async function refuseFaults(root: string, task: string): Promise<void> {
  const { config, code } = await findFaults(root);
  if (config.length + code.length > 0) throw new CommandError(refusal(task, [...config, ...code]));
}

/** What works here and would fail in the bundle: files beside the code, native code. Broken files are left out. */
async function checkBundles(root: string, found: readonly Finding[]): Promise<readonly Finding[]> {
  // Loaded here, because most that check the handlers bundle nothing.
  const { BuildError, build } = await import("../deploy/build.ts");
  const without = new Set(found.filter(({ isBroken }) => isBroken).map(({ file }) => file));
  const outFolder = mkdtempSync(join(tmpdir(), "larkpost-check-"));
  try {
    await build({ root, outFolder, names: ["callback", "worker"], without });
    return [];
  } catch (error) {
    if (error instanceof BuildError) return error.findings;
    throw error;
  } finally {
    rmSync(outFolder, { recursive: true, force: true });
  }
}

/** The environment in which handlers are loaded. */
function handlerEnv(project: Project | undefined): NodeJS.ProcessEnv {
  const env = { ...process.env };
  if (project !== undefined) setVariables(project, (table) => tableName(project.resources, table), env);
  return env;
}

/** A line for each finding, and without a fault `✔ 5 handlers`. */
export function resultLines({ handlers, findings }: Checked): string[] {
  const lines = findings.map(faultLine);
  if (faultsAmong(findings).length > 0) return lines;
  return [...lines, `${paint("green", "✔")} ${handlers} ${handlers === 1 ? "handler" : "handlers"}`];
}
