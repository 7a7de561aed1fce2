import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { settings } from "../../../infra/config-rules.js";
import { configFile, type Project, readProject } from "../../../infra/project.js";
import { refuseTakenNames } from "../../../infra/resources.js";
import { ConfigError } from "../../errors.ts";
import { apiConfig } from "../../open-api/config.ts";
import { flag, platformAppId, refuseUncheckedTls, secret, setting, wholeNumber } from "../../settings/environment.ts";
import { isSlip, nearest } from "../../simulator/nearest.ts";
import { CommandError } from "../command.ts";
import { envFile } from "../project.ts";
import { portOf } from "../start/running.ts";
import { appVariables } from "../state/local-keys.ts";
import { type Finding, faultsAmong, refusal } from "./finding.ts";
import { lineOf } from "./references.ts";

/** @returns The project's configuration, or what is wrong with it. */
export async function checkConfig(root: string): Promise<{ project?: Project; findings: Finding[] }> {
  try {
    const project = await readProject(root);
    refuseTakenNames(project);
    return { project, findings: [] };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { findings: configFindings(root, error.message) };
  }
}

/** The message has a line for each mistake, or the stack of what the file threw. */
function configFindings(root: string, message: string): Finding[] {
  const [, other] = /^Cannot read (.+?): the file is /.exec(message) ?? [];
  if (other !== undefined) return [{ part: "config", file: other, message: message.replace(/^.*?: /, "") }];
  const source = readFileSync(join(root, configFile), "utf8");
  const [, thrown] = new RegExp(`^Cannot read ${configFile}: ([\\s\\S]*)`).exec(message) ?? [];
  if (thrown !== undefined) {
    const [, line] = new RegExp(`${configFile}(?:\\?[^:]*)?:(\\d+)`).exec(thrown) ?? [];
    const text = thrown.split("\n").find((each) => /^\w*Error/.test(each)) ?? thrown.split("\n")[0];
    return [{ part: "config", file: configFile, line: Number(line ?? 1), message: `cannot be read: ${text}` }];
  }
  return message.split("\n").map((mistake): Finding => {
    const text = mistake.replace(`Cannot use ${configFile}: `, "");
    return { part: "config", file: configFile, line: lineOf(source, pathIn(text)) ?? 1, message: text };
  });
}

/** The names of the path that a mistake begins with: `lanes.ai.types`. */
function pathIn(mistake: string): string[] {
  const [path = ""] = /[\w.[\]"]+/.exec(mistake) ?? [];
  return path.split(/[.[\]"]+/).filter((name) => !/^\d*$/.test(name));
}

/** Reads of the project's secrets from `process.env`, which has them on this machine alone. */
export function checkSecretReads(root: string, file: string, secrets: readonly string[]): Finding[] {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  return lines.flatMap((text, index) => {
    if (/^\s*(\/\/|\/?\*)/.test(text)) return [];
    const [, taken = ""] = /\{([^{}]*)\}\s*=\s*process\.env\b/.exec(text) ?? [];
    const members = [...text.matchAll(/\bprocess\.env\??\.?\[?["']?(\w+)/g)].map(([, name = ""]) => name);
    return [...members, ...taken.split(/\W+/)]
      .filter((name) => secrets.includes(name))
      .map((name): Finding => {
        const message = `reads ${name} from process.env, where it is on this machine alone. Read context.secrets.${name}`;
        return { part: "bundle", file, line: index + 1, message };
      });
  });
}

/** Names that `.env` may have which are none of the functions' settings. */
const proxies = ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];
const alsoOurs = ["LARKPOST_ROOT", "CALLBACK_DEADLINE_MS", ...proxies, ...proxies.map((name) => name.toLowerCase())];
const logLevels = ["debug", "info", "warn", "error"];

/** Faults in the settings of this machine: the environment, and the file `.env`. */
export function checkSettings(root: string, env: NodeJS.ProcessEnv, project: Project | undefined): Finding[] {
  const source = envFile(root);
  const inFile = parseEnv(source);
  const all: NodeJS.ProcessEnv = { ...inFile, ...env };
  const lines = source.split(/\r?\n/);
  const placed = (name: string, message: string): Finding => {
    const line = lines.findIndex((one) => new RegExp(`^\\s*(export\\s+)?${name}\\s*=`).test(one)) + 1;
    if (line > 0 && env[name] === inFile[name]) return { part: "settings", file: ".env", line, message };
    return { part: "settings", file: env[name] === undefined ? ".env" : "the environment", message };
  };
  const own = new Set([...(project?.secrets ?? []), ...Object.keys(project?.environment ?? {})]);
  const ours = [...settings, ...alsoOurs];
  const isSetting = (name: string) => ours.includes(name) || own.has(name);
  const misspelt = Object.keys(inFile).flatMap((name) => {
    if (isSetting(name)) return [];
    const [likely = ""] = nearest(name, [...ours, ...own], 1);
    return isSlip(name.toUpperCase(), likely) && all[likely] === undefined
      ? [placed(name, `${name} is no setting. Did you mean ${likely}?`)]
      : [];
  });
  const faults = settingChecks(all).flatMap(([name, check]): Finding[] => {
    try {
      check();
      return [];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      // An app that neither replies nor is asked does without.
      const isWarning = name === "APP_SECRET" && !all[name];
      return [{ ...placed(name, error.message.replace("Cannot start: ", "")), ...(isWarning ? { isWarning } : {}) }];
    }
  });
  return [...misspelt, ...misread(source, inFile, isSetting), ...faults];
}

/**
 * @throws {CommandError} Node reads another value out of `.env` than its line seems to have, for one of the names that the
 * command takes from there.
 */
export function refuseMisread(root: string, task: string, names: readonly string[]): void {
  const source = envFile(root);
  const inFile = parseEnv(source);
  const findings = misread(source, inFile, (name) => names.includes(name) && process.env[name] === inFile[name]);
  const faults = faultsAmong(findings);
  if (faults.length > 0) throw new CommandError(refusal(task, faults));
}

/** Values in quotes, which end at the next quote of their kind. A line of theirs is no setting. */
const quoted = /^(?!\s*#)[^=\n]*=(?:[ \t]+\s*)?(["'`])[\s\S]*?\1.*/gm;

/** Lines of `.env` that Node does not read, or reads with another value than they seem to have. */
function misread(source: string, inFile: NodeJS.Dict<string>, isSetting: (name: string) => boolean): Finding[] {
  const lines = source
    .replaceAll("\r", "")
    .replace(quoted, (value) => value.replaceAll(/\n.*/g, "\n"))
    .split("\n");
  return lines.flatMap((line, index): Finding[] => {
    const next = lines.slice(index + 1).find((each) => each.trim() !== "") ?? "";
    const found = misreading(line, { next, inFile, isSetting });
    return found === undefined ? [] : [{ part: "settings", file: ".env", line: index + 1, ...found }];
  });
}

/** What is wrong with a line. `next` is the one after it that is not blank: what Node takes where there is white space alone. */
function misreading(
  line: string,
  given: { next: string; inFile: NodeJS.Dict<string>; isSetting: (name: string) => boolean },
): Pick<Finding, "message" | "isWarning"> | undefined {
  const { next, inFile, isSetting } = given;
  if (!line.includes("=")) {
    if (/^\s*(#|$)/.test(line)) return undefined;
    const [, unread = ""] = /^\s*(?:export\s+)?(\w+)\s*[:\s]\s*\S/.exec(line) ?? [];
    if (isSetting(unread) && inFile[unread] === undefined) return { message: `is not read. Write it as ${unread}=…` };
    return {
      message: "is not read: it has no =, and is no comment. Write it as NAME=value, or remove it",
      isWarning: true,
    };
  }
  const [, name] = /^\s*(?:export\s+)?([\w.-]+)\s*=/.exec(line) ?? [];
  if (name === undefined) return undefined;
  if (/=[ \t]+$/.test(line)) {
    const [, swallowed] = /^(?:export\s+)?(\w+)\s*=/.exec(parseEnv(`${line}\n${next}`)[name] ?? "") ?? [];
    if (swallowed === undefined || !(isSetting(name) || isSetting(swallowed))) return undefined;
    const message = `${name} has white space alone, and Node then reads the next line as its value. Remove the white space`;
    return { message };
  }
  const [, quote] = /^[^=]*=\s*(["'`])/.exec(line) ?? [];
  if (quote !== undefined && isSetting(name)) {
    const value = inFile[name] ?? "";
    // The quote that ends it may be the first of another setting's.
    const [, swallowed = ""] = /\n(?:export\s+)?(\w+)\s*=/.exec(value) ?? [];
    if (!value.startsWith(quote) && !isSetting(swallowed)) return undefined;
    return { message: `${name} has no closing quote, so Node reads another value than is meant. Close it` };
  }
  const isCut = /^[^=]*=\s*[^\s'"`#]([^#]*[^\s#])?#/.test(line);
  if (!isCut || !isSetting(name)) return undefined;
  return { message: `${name} ends at the "#": Node takes what follows for a comment. Put the value in quotes` };
}

function settingChecks(env: NodeJS.ProcessEnv): (readonly [name: string, check: () => void])[] {
  const level = env["LOG_LEVEL"]?.trim().toLowerCase();
  const checks: [string, () => void][] = [
    ["ALLOW_UNENCRYPTED", () => flag(env, "ALLOW_UNENCRYPTED")],
    ["LEGACY_CARD_CALLBACK", () => flag(env, "LEGACY_CARD_CALLBACK")],
    ["MARKETPLACE_APP", () => flag(env, "MARKETPLACE_APP")],
    ["MAX_DEFERRALS", () => wholeNumber(env, "MAX_DEFERRALS")],
    ["DEFER_FOR_SECONDS", () => wholeNumber(env, "DEFER_FOR_SECONDS")],
    ["NODE_TLS_REJECT_UNAUTHORIZED", () => refuseUncheckedTls(env)],
    ["PORT", () => portOf(undefined, env["PORT"])],
    ["LARK_DOMAIN", () => apiConfig({ ...env, MARKETPLACE_APP: undefined }, "")],
    [
      "LOG_LEVEL",
      () => {
        if (level === undefined || level === "" || logLevels.includes(level)) return;
        throw new ConfigError(`LOG_LEVEL is "${level}". It is one of ${logLevels.join(", ")}`);
      },
    ],
  ];
  const isReal = appVariables.some((name) => env[name] !== undefined) && env["SECRETS_PARAMETER"] === undefined;
  if (!isReal) return checks;
  const isPlain = env["ALLOW_UNENCRYPTED"] === "true" && env["ENCRYPT_KEY"] === undefined;
  checks.push(
    ["APP_ID", () => platformAppId(env)],
    [
      "APP_SECRET",
      () => setting(env, "APP_SECRET", "Copy it from the developer console: handlers call the Open API with it"),
    ],
    ["VERIFICATION_TOKEN", () => secret(env, "VERIFICATION_TOKEN", [])],
  );
  if (!isPlain) checks.push(["ENCRYPT_KEY", () => secret(env, "ENCRYPT_KEY", [])]);
  return checks;
}
