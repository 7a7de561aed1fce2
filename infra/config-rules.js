import { nearest } from "../lib/nearest.ts";
import { alarmThresholds, limits, optional, presets } from "./limits.js";

// The mistakes in a larkpost.config.js, in words. Only its shape is checked here; contradictions() in limits.js checks
// that the numbers fit each other.

/** @typedef {Readonly<Record<string, unknown>>} Fields */

/** Settings of Larkpost, which a project may not set. */
export const settings = [
  "APP_ID",
  "APP_SECRET",
  "ENCRYPT_KEY",
  "VERIFICATION_TOKEN",
  "SECRETS_PARAMETER",
  "STALE_KEYS_SECONDS",
  "EXTRA_SECRETS",
  "EXTRA_SECRETS_PARAMETER",
  "ALLOW_UNENCRYPTED",
  "LEGACY_CARD_CALLBACK",
  "LARK_DOMAIN",
  "ALLOW_OTHER_DOMAIN",
  "MARKETPLACE_APP",
  "EVENTS_QUEUE_URL",
  "QUARANTINE_QUEUE_URL",
  "DEAD_LETTER_QUEUE_URL",
  "LEDGER_TABLE",
  "MAX_ATTEMPTS",
  "MAX_RECEIVE_COUNT",
  "CALLBACK_DEADLINE_MS",
  "HEALTH_PORT",
  "HEARTBEAT_SECONDS",
  "LOG_LEVEL",
  "LOG_ERROR_MESSAGES",
  "LOG_SAMPLE_RATE",
  "PORT",
  "NODE_TLS_REJECT_UNAUTHORIZED",
];

/** Each checks the value of one member and returns its mistakes. */
const members = {
  preset: presetMistakes,
  limits: limitMistakes,
  environment: environmentMistakes,
  secrets: secretMistakes,
  statements: statementMistakes,
  resources: resourceMistakes,
  logErrorMessages: (/** @type {unknown} */ given) => flagMistakes("logErrorMessages", given),
  logSampleRate: rateMistakes,
  eventCountMetrics: (/** @type {unknown} */ given) => flagMistakes("eventCountMetrics", given),
  tags: tagMistakes,
};

/**
 * @param {Fields} config
 * @returns {string[]}
 */
export function mistakesIn(config) {
  return Object.entries(config).flatMap(([name, value]) => {
    if (!Object.hasOwn(members, name)) return [unknown(name, "a member", Object.keys(members))];
    const check = members[/** @type {keyof typeof members} */ (name)];
    return value === undefined ? [] : check(value, config);
  });
}

/** @param {unknown} given */
function presetMistakes(given) {
  const names = Object.keys(presets);
  return names.includes(String(given)) ? [] : [unknown(String(given), "a preset", names)];
}

/**
 * The mistakes in numbers that replace those of limits.js.
 * @param {unknown} given
 * @param {unknown} [_]
 * @param {object} defaults
 * @returns {string[]}
 */
export function limitMistakes(given, _, defaults = { ...limits, ...optional, ...alarmThresholds }) {
  if (!isObject(given)) return ["limits is not an object of numbers"];
  return Object.entries(given).flatMap(([name, value]) => {
    if (!Object.hasOwn(defaults, name)) return [unknown(name, "a limit", Object.keys(defaults))];
    if (value === undefined || (value === null && Object.hasOwn(optional, name))) return [];
    const isWhole = Number.isInteger(value) && Number(value) >= 0;
    return isWhole ? [] : [`limits.${name} is ${shown(value)}, not a whole number`];
  });
}

/**
 * @param {unknown} given
 * @param {Fields} config
 */
function environmentMistakes(given, { resources, secrets }) {
  if (!isObject(given)) return ["environment is not an object of texts"];
  return Object.entries(given).flatMap(([name, value]) => {
    const at = `environment.${name}`;
    if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) return [`"${name}" cannot be the name of a variable`];
    const taken = takenBy(name);
    if (taken !== undefined) return [`${at} is a setting of ${taken}. Choose another name`];
    if (Array.isArray(secrets) && secrets.includes(name)) return [`${name} is in environment and in secrets`];
    if (typeof value === "string") return [];
    if (!isObject(value) || Object.keys(value).join() !== "Ref") {
      return [`${at} is ${shown(value)}, not a text. Put it in quotes`];
    }
    const tables = Object.keys(Object(resources)).filter((id) => Object(Object(resources)[id]).Type === tableType);
    const table = String(value["Ref"]);
    return tables.includes(table) ? [] : [`${at}.Ref: ${unknown(table, "a table in resources", tables)}`];
  });
}

/** @param {unknown} given */
function secretMistakes(given) {
  if (!Array.isArray(given)) return ['secrets is not a list of names, like ["CRM_TOKEN"]'];
  return given.flatMap((name, index) => {
    if (typeof name !== "string" || !/^[A-Z][A-Z0-9_]*$/.test(name)) {
      return [`secrets has ${shown(name)}. A name has capital letters, digits and "_"`];
    }
    const taken = takenBy(name);
    if (taken !== undefined) return [`secrets has ${name}, a setting of ${taken}. Choose another name`];
    return given.indexOf(name) === index ? [] : [`secrets has ${name} twice`];
  });
}

const statementMembers = ["Sid", "Effect", "Action", "Resource", "Condition"];

/** @param {unknown} given */
function statementMistakes(given) {
  if (!Array.isArray(given)) return ["statements is not a list"];
  return given.flatMap((statement, index) => {
    const at = `statements[${index}]`;
    if (!isObject(statement)) return [`${at} is not an object`];
    const { Effect, Action, Resource } = statement;
    const strange = Object.keys(statement).filter((name) => !statementMembers.includes(name));
    return [
      ...strange.map((name) => unknown(name, `a member of ${at}`, statementMembers)),
      ...(Effect === "Allow" || Effect === "Deny" ? [] : [`${at}.Effect is neither "Allow" nor "Deny"`]),
      ...(isSome(Action, (action) => typeof action === "string" && /^(\*|[\w-]+:[\w*?]+)$/.test(action))
        ? []
        : [`${at}.Action is no list of actions, like ["dynamodb:PutItem"]`]),
      ...(isSome(Resource, (resource) => isObject(resource) || (typeof resource === "string" && resource !== ""))
        ? []
        : [`${at}.Resource is no list of ARNs`]),
    ];
  });
}

export const tableType = "AWS::DynamoDB::Table";
const attributes = [
  "Type",
  "Properties",
  "DependsOn",
  "Condition",
  "CreationPolicy",
  "DeletionPolicy",
  "Metadata",
  "UpdatePolicy",
  "UpdateReplacePolicy",
];

/** @param {unknown} given */
function resourceMistakes(given) {
  if (!isObject(given)) return ["resources is not an object of CloudFormation resources"];
  return Object.entries(given).flatMap(([id, resource]) => {
    const at = `resources.${id}`;
    if (!/^[A-Za-z0-9]{1,255}$/.test(id)) return [`${at}: a logical id has letters and digits only`];
    if (!isObject(resource)) return [`${at} is not an object`];
    const { Type, Properties = {} } = resource;
    const strange = Object.keys(resource).filter((name) => !attributes.includes(name));
    return [
      ...strange.map((name) => unknown(name, `an attribute of ${at}`, attributes)),
      ...(typeof Type === "string" && Type.includes("::") ? [] : [`${at}.Type is no type, like "${tableType}"`]),
      ...(isObject(Properties) ? [] : [`${at}.Properties is not an object`]),
    ];
  });
}

/**
 * @param {string} name
 * @param {unknown} given
 */
function flagMistakes(name, given) {
  return typeof given === "boolean" ? [] : [`${name} is ${shown(given)}, neither true nor false`];
}

/** @param {unknown} given */
function rateMistakes(given) {
  const isRate = typeof given === "number" && given >= 0 && given <= 1;
  return isRate ? [] : [`logSampleRate is ${shown(given)}, not a number from 0 to 1`];
}

/** @param {unknown} given */
function tagMistakes(given) {
  if (!isObject(given)) return ["tags is not an object of texts"];
  const names = ["SERVICE", "STAGE", ...Object.keys(given)];
  return Object.entries(given).flatMap(([name, value]) => {
    // Of one name, the project's value holds.
    const same = names.find((other) => other !== name && other.toLowerCase() === name.toLowerCase());
    if (same !== undefined) return [`tags has ${name} and ${same}, which IAM takes for one. Choose another name`];
    if (!/^(?!aws:)[\w./=+:\- ]{1,128}$/.test(name)) return [`"${name}" cannot be the name of a tag`];
    const isText = typeof value === "string" && value.length <= 256;
    return isText ? [] : [`tags.${name} is ${shown(value)}, not a text of at most 256 characters`];
  });
}

/**
 * Whether AWS or Larkpost uses a variable's name; `undefined` for a free one.
 * @param {string} name
 */
function takenBy(name) {
  if (/^(AWS_|LAMBDA_)/i.test(name)) return "AWS";
  return settings.includes(name.toUpperCase()) || /^LARKPOST_/i.test(name) ? "Larkpost" : undefined;
}

/**
 * @param {string} name
 * @param {string} what
 * @param {readonly string[]} names
 */
function unknown(name, what, names) {
  const [likely] = nearest(name, names, 1);
  return `"${name}" is not ${what}${likely === undefined ? "" : `. Did you mean "${likely}"?`}`;
}

/**
 * Whether a value passes, or is a list of values that all pass and is not empty.
 * @param {unknown} value
 * @param {(one: unknown) => boolean} passes
 */
function isSome(value, passes) {
  return Array.isArray(value) ? value.length > 0 && value.every(passes) : passes(value);
}

/**
 * @param {unknown} value
 * @returns {value is Fields}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {unknown} value */
function shown(value) {
  return JSON.stringify(value) ?? String(value);
}
