import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";

/** Which app each stage was deployed for; committed, so that every developer's machine knows. */
export const stagesFile = "larkpost.stages.json";

/**
 * Notes the app that a stage was deployed for.
 * @returns Whether that is news.
 * @throws {ConfigError} What is there cannot be read.
 */
export function recordStage(stage: string, appId: string, root: string): boolean {
  const stages = readStages(root);
  if (stages.get(stage) === appId) return false;
  writeStages(stages.set(stage, appId), root);
  return true;
}

/**
 * Forgets a stage that is deployed no more.
 * @returns Whether it was there.
 * @throws {ConfigError} What is there cannot be read.
 */
export function forgetStage(stage: string, root: string): boolean {
  const stages = readStages(root);
  if (!stages.delete(stage)) return false;
  writeStages(stages, root);
  return true;
}

function writeStages(stages: ReadonlyMap<string, string>, root: string): void {
  const content = Object.fromEntries([...stages].sort().map(([name, appId]) => [name, { appId }]));
  writeFileSync(join(root, stagesFile), `${JSON.stringify(content, null, 2)}\n`);
}

/**
 * Keeps a laptop from taking a deployed stage's events: the platform gives each to one of the app's connections,
 * whichever it is.
 * @throws {ConfigError} The app is a deployed stage's, or that cannot be known.
 */
export function refuseDeployedApp(appId: string, root: string): void {
  const [stage] = [...readStages(root)].find(([, id]) => id === appId) ?? [];
  if (stage === undefined) return;
  throw new ConfigError(
    `Cannot start: "${appId}" is the app of the deployed stage "${stage}", and this machine would take some of its events. Use an app of your own for tests, or pass --force`,
  );
}

/**
 * Stage → app id.
 * @throws {ConfigError} What is there cannot be read.
 */
export function readStages(root: string): Map<string, string> {
  let text: string;
  try {
    text = readFileSync(join(root, stagesFile), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return new Map();
    throw error;
  }
  try {
    const stages = JSON.parse(text) as Record<string, { appId: string }>;
    const isObject = typeof stages === "object" && !Array.isArray(stages);
    const found = Object.entries(stages).map(([stage, { appId }]) => [stage, appId] as const);
    if (isObject && found.every(([, appId]) => typeof appId === "string")) return new Map(found);
  } catch {
    // Refused below: a file that cannot be read must not pass for "no stage is deployed".
  }
  throw new ConfigError(
    `Cannot read ${stagesFile}: it is not {"<stage>":{"appId":"cli_…"}}. Check it against its history`,
  );
}
