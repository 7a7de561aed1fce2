import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import { fieldsOf } from "../lib/feishu/json.ts";
import { isPlain, mistakesIn } from "./config-rules.js";
import { contradictions } from "./contradictions.js";
import { laneContradictions } from "./lanes.js";
import {
  limits as defaultLimits,
  optional as defaultOptional,
  alarmThresholds as defaultThresholds,
  presets,
} from "./limits.js";
import { refusal } from "./refusal.js";

export const configFile = "larkpost.config.js";

/**
 * A project's `larkpost.config.js`, with defaults for what is not in it.
 * @typedef {Required<Omit<import("./config.js").Config, "limits" | "preset">> & {
 *   limits: typeof defaultLimits,
 *   optional: typeof defaultOptional,
 *   alarmThresholds: typeof defaultThresholds,
 * }} Project
 */

/**
 * Reads the project's configuration; without the file, all is default.
 * @param {string} root The project's folder.
 * @returns {Promise<Project>}
 * @throws {import("../lib/errors.ts").ConfigError} It has mistakes, which the message lists.
 */
export async function readProject(root) {
  const file = join(root, configFile);
  if (!existsSync(file)) {
    const other = namesIn(root).find((name) => /^larkpost\.config\.([cm]?[jt]sx?|json)$/.test(name));
    if (other === undefined) return projectOf({});
    throw refusal(`Cannot read ${other}: the file is ${configFile}, which is JavaScript. Rename it`);
  }
  /** @type {{ default?: unknown }} */
  let loaded;
  try {
    loaded = await import(pathToFileURL(file).href);
  } catch (error) {
    throw refusal(`Cannot read ${configFile}: ${reasonIn(file, error)}`);
  }
  const { lanes } = fieldsOf(loaded.default);
  const hasOrder = Object.values(fieldsOf(lanes)).some((lane) => fieldsOf(lane)["order"] !== undefined);
  const samples = hasOrder ? await import("../lib/simulator/samples/samples.ts") : undefined;
  return projectOf(loaded.default, { handled: handledTypes(root), samples });
}

/**
 * Why a file cannot be loaded, and where. Only `node --check` says the line of a syntax error; the frames of Node's own
 * loader say nothing.
 * @param {string} file
 * @param {unknown} error
 */
function reasonIn(file, error) {
  const isSyntax = error instanceof SyntaxError;
  const checked = isSyntax ? spawnSync(process.execPath, ["--check", file], { encoding: "utf8" }).stderr : "";
  const text = checked || (error instanceof Error && error.stack) || inspect(error);
  return text.replace(/\n +at [^\n]*\bnode:[\s\S]*/, "");
}

/**
 * The event types that the project has a handler file for. The platform has some that the catalogue does not know.
 * @param {string} root
 */
function handledTypes(root) {
  return namesIn(join(root, "functions/events")).flatMap(
    (file) => /^([^_.].*(?<!\.test|\.d))\.ts$/.exec(file)?.[1] ?? [],
  );
}

/** @param {string} folder */
function namesIn(folder) {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** @type {Omit<Project, "limits" | "optional" | "alarmThresholds">} */
const nothing = {
  lanes: {},
  environment: {},
  secrets: [],
  statements: [],
  resources: {},
  logErrorMessages: false,
  logSampleRate: 1,
  eventCountMetrics: false,
  tags: {},
};

/**
 * @param {unknown} config
 * @param {import("./config-rules.js").Known} [known]
 * @returns {Project}
 */
export function projectOf(config, known = { handled: [] }) {
  const mistakes = isPlain(config)
    ? mistakesIn(config, known)
    : ["its default export is not an object. Write export default defineConfig({ … })"];
  if (mistakes.length > 0) throw refused(mistakes);
  const { preset = "small", limits: own } = /** @type {import("./config.js").Config} */ (config);
  const limits = { ...presets[preset], ...own };
  const project = {
    limits: overridden(defaultLimits, limits),
    optional: overridden(defaultOptional, limits),
    alarmThresholds: overridden(defaultThresholds, limits),
    ...overridden(nothing, Object(config)),
  };
  const contradicting = [
    ...contradictions(project.limits, project.optional, project.alarmThresholds),
    ...laneContradictions(project),
  ];
  if (contradicting.length > 0) throw refused(contradicting);
  return project;
}

/** @param {readonly string[]} mistakes */
function refused(mistakes) {
  return refusal(mistakes.map((mistake) => `Cannot use ${configFile}: ${mistake}`).join("\n"));
}

/**
 * @template {object} T
 * @param {T} defaults
 * @param {object} overrides
 * @returns {T}
 */
function overridden(defaults, overrides) {
  const own = Object.entries(overrides).filter(([name, value]) => Object.hasOwn(defaults, name) && value !== undefined);
  return { ...defaults, ...Object.fromEntries(own) };
}

// For `${file(infra/project.js):limits.workerTimeoutSeconds}`: osls runs in the project's folder.
const read = () => readProject(process.cwd());
export const limits = async () => (await read()).limits;
export const optional = async () => (await read()).optional;
