import { inspect } from "node:util";
import { fieldsOf, isObject } from "../lib/feishu/json.ts";
import { catalogue, find } from "../lib/simulator/catalogue.ts";
import { isSlip, isSlipOfMember, nearest } from "../lib/simulator/nearest.ts";
import { alarmThresholds, limits, optional, presets } from "./limits.js";

// The mistakes in a larkpost.config.js, in words. Only its shape is checked here; contradictions.js checks that the
// numbers fit each other.

/** @typedef {Readonly<Record<string, unknown>>} Fields */

/**
 * What is known of event types in addition to the catalogue.
 * @typedef {{
 *   handled: readonly string[],
 *   samples?: typeof import("../lib/simulator/samples/samples.ts") | undefined,
 * }} Known `handled` are types that the project has a handler of. `samples` are loaded where a lane has an order.
 */

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
  "LANES",
  "EVENTS_QUEUE_URL",
  "QUARANTINE_QUEUE_URL",
  "DEAD_LETTER_QUEUE_URL",
  "LEDGER_TABLE",
  "MAX_ATTEMPTS",
  "MAX_RECEIVE_COUNT",
  "MAX_AGE_SECONDS",
  "HOLD_SECONDS",
  "MAX_DEFERRALS",
  "DEFER_FOR_SECONDS",
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
  lanes: laneMistakes,
  environment: environmentMistakes,
  secrets: secretMistakes,
  statements: statementMistakes,
  resources: resourceMistakes,
  logErrorMessages: (/** @type {unknown} */ flag) => flagMistakes("logErrorMessages", flag),
  logSampleRate: rateMistakes,
  eventCountMetrics: (/** @type {unknown} */ flag) => flagMistakes("eventCountMetrics", flag),
  tags: tagMistakes,
};

/**
 * @param {Fields} config
 * @param {Known} known
 * @returns {string[]}
 */
export function mistakesIn(config, known) {
  return Object.entries(config).flatMap(([name, value]) => {
    if (!Object.hasOwn(members, name)) return [unknown(name, "a member", Object.keys(members))];
    const check = members[/** @type {keyof typeof members} */ (name)];
    return value === undefined ? [] : check(value, config, known);
  });
}

/** @param {unknown} preset */
function presetMistakes(preset) {
  const names = Object.keys(presets);
  return names.includes(String(preset)) ? [] : [`"${preset}" is not a preset. There are ${names.join(", ")}`];
}

const defaults = { ...limits, ...optional, ...alarmThresholds };

/**
 * The mistakes in numbers that replace those of limits.js.
 * @param {unknown} numbers
 */
function limitMistakes(numbers) {
  if (!isPlain(numbers)) return ["limits is not an object of numbers"];
  return Object.entries(numbers).flatMap(([name, value]) => {
    if (!Object.hasOwn(defaults, name)) return [unknown(name, "a limit", Object.keys(defaults))];
    if (value === undefined || (value === null && Object.hasOwn(optional, name))) return [];
    const isWhole = Number.isInteger(value) && Number(value) >= 0;
    return isWhole ? [] : [`limits.${name} is ${shown(value)}, not a whole number`];
  });
}

const laneNumbers = [
  "timeoutSeconds",
  "concurrency",
  "memoryMb",
  "attempts",
  "maxAgeSeconds",
  "holdSeconds",
  "batchSize",
  "batchWindowSeconds",
];
const laneMembers = ["types", "order", ...laneNumbers];
/** A dead-letter queue takes ten queues in front of it, and one is the default lane's. */
const mostLanes = 9;

/**
 * @param {unknown} lanes
 * @param {Fields} _
 * @param {Known} known
 * @returns {string[]}
 */
function laneMistakes(lanes, _, known) {
  if (!isPlain(lanes)) return ["lanes is not an object of lanes"];
  const names = Object.keys(lanes);
  const tooMany = `lanes has ${names.length} lanes, over ${mostLanes}: SQS lets a dead-letter queue serve ten queues`;
  return [
    ...(names.length > mostLanes ? [tooMany] : []),
    ...Object.entries(lanes).flatMap(([name, lane]) => {
      const at = `lanes.${name}`;
      if (name === "default") return [`${at} is the lane of all other types. Its numbers are in limits`];
      if (!/^[a-z][a-z0-9]{0,15}$/.test(name)) return [`${at}: a name has up to 16 small letters and digits`];
      return isPlain(lane) ? mistakesInLane(at, lane, known) : [`${at} is not an object`];
    }),
    ...overlaps(Object.entries(lanes)),
  ];
}

/**
 * @param {string} at
 * @param {Fields} lane
 * @param {Known} known
 */
function mistakesInLane(at, { types, order, ...lane }, known) {
  const strange = Object.keys(lane).filter((name) => !laneNumbers.includes(name));
  const hasOrder = order !== undefined;
  const misplaced = hasOrder ? ["batchSize", "batchWindowSeconds"] : ["holdSeconds"];
  const rule = hasOrder
    ? "is not for a lane with order, which runs one event at a time"
    : "is only for a lane with order";
  return [
    ...strange.map((name) => unknown(name, `a member of ${at}`, laneMembers, Object.keys(defaults))),
    ...(Array.isArray(types)
      ? types.flatMap((type) => typeMistakes(at, type, known.handled))
      : [`${at}.types is not a list of event types`]),
    ...(hasOrder ? orderMistakes(at, order, Array.isArray(types) ? types.map(String) : [], known) : []),
    ...misplaced.filter((name) => lane[name] !== undefined).map((name) => `${at}.${name} ${rule}`),
    ...laneNumbers.flatMap((name) => {
      const value = lane[name];
      if (value === undefined || (name === "maxAgeSeconds" && value === null)) return [];
      const isWhole = Number.isInteger(value) && Number(value) >= 0;
      return isWhole ? [] : [`${at}.${name} is ${shown(value)}, not a whole number`];
    }),
  ];
}

/**
 * A slip in the path would show nowhere: events without a value there run in no order. But an event may have members that
 * its sample lacks, so a path is refused only if a letter is wrong in it, or if the samples show all types of the lane.
 * @param {string} at
 * @param {unknown} order
 * @param {readonly string[]} types
 * @param {Known} known
 */
function orderMistakes(at, order, types, { handled, samples }) {
  if (typeof order !== "string" || !/^\w+(\.\w+)*$/.test(order)) {
    return [`${at}.order is ${shown(order)}, no path like "message.chat_id"`];
  }
  if (samples === undefined) return [];
  const isOfLane = (/** @type {string} */ type) => types.some((entry) => matchesType(entry, type));
  const entries = catalogue.filter(({ type, kind }) => kind === "event" && isOfLane(type));
  const isShown = entries.every(({ type }) => samples.hasSample(type));
  const paths = entries.flatMap(({ type }) =>
    valuePaths(samples.sampleEnvelope(type, { nowMs: 0, appId: "", newId: () => "" }).event),
  );
  const isOpen = handled.some((type) => isOfLane(type) && find(type) === undefined);
  if (isOpen || paths.includes(order)) return [];
  const plain = (/** @type {string} */ path) => path.toLowerCase().replaceAll("_", "");
  const isPart = (/** @type {string} */ path) =>
    plain(path).endsWith(plain(`.${order}`)) || plain(path).startsWith(plain(`${order}.`));
  const likely = paths.find((path) => isSlipOfPath(order.replace(/^event\./, ""), path) || (isShown && isPart(path)));
  if (likely === undefined) return [];
  return [`${at}.order: its types have no text or number at "${order}". Did you mean "${likely}"?`];
}

/**
 * The paths of the texts and numbers in an event: what has an order.
 * @param {unknown} value
 * @returns {string[]}
 */
function valuePaths(value, path = "") {
  if (typeof value === "string" || typeof value === "number") return [path];
  if (!isPlain(value)) return [];
  return Object.entries(value).flatMap(([name, member]) => valuePaths(member, path === "" ? name : `${path}.${name}`));
}

/**
 * Whether each name of a path is that of the other, or was meant for it.
 * @param {string} path
 * @param {string} likely
 */
function isSlipOfPath(path, likely) {
  const [names, others] = [path.split("."), likely.split(".")];
  return names.length === others.length && others.every((other, index) => isSlipOfMember(names[index] ?? "", other));
}

/**
 * @param {string} at
 * @param {unknown} type
 * @param {readonly string[]} handled
 */
function typeMistakes(at, type, handled) {
  const where = `${at}.types`;
  if (typeof type !== "string") return [`${where} has ${shown(type)}, not a text`];
  const named = (/** @type {string} */ kind) =>
    catalogue.filter((entry) => entry.kind === kind).map((entry) => entry.type);
  const isNamed = (/** @type {string} */ one) => matchesType(type, one);
  const events = [...named("event"), ...handled];
  if (events.some(isNamed)) return [];
  const likely = type.endsWith(".*") ? events.flatMap(patternsOf) : events;
  return named("callback").some(isNamed)
    ? [`${where} has "${type}", a callback, which is answered in its request and waits in no queue`]
    : [`${where}: ${unknown(type, "an event type, nor a pattern of any", likely)}`];
}

/**
 * `im.*` and `im.message.*` of `im.message.receive_v1`.
 * @param {string} type
 */
function patternsOf(type) {
  const parts = type.split(".").slice(0, -1);
  return parts.map((_, index) => `${parts.slice(0, index + 1).join(".")}.*`);
}

/**
 * The types that two lanes claim.
 * @param {readonly (readonly [name: string, lane: unknown])[]} lanes
 */
function overlaps(lanes) {
  const claims = lanes.flatMap(([name, lane]) => {
    const { types } = fieldsOf(lane);
    return Array.isArray(types) ? types.map((type) => ({ name, type: String(type) })) : [];
  });
  return claims.flatMap((claim, index) => {
    const other = claims.slice(0, index).find(({ name, type }) => {
      return name !== claim.name && (matchesType(type, claim.type) || matchesType(claim.type, type));
    });
    if (other === undefined) return [];
    const both = other.type === claim.type ? `"${claim.type}"` : `"${other.type}" and "${claim.type}", which overlap`;
    return [`lanes.${other.name} and lanes.${claim.name} have ${both}. A type is in one lane only`];
  });
}

/**
 * Whether a type, or every type of a pattern, is one of a lane's entry.
 * @param {string} entry
 * @param {string} type
 */
function matchesType(entry, type) {
  return entry.endsWith(".*") ? type.startsWith(entry.slice(0, -1)) : type === entry;
}

/**
 * @param {unknown} variables
 * @param {Fields} config
 */
function environmentMistakes(variables, { resources, secrets }) {
  if (!isPlain(variables)) return ["environment is not an object of texts"];
  return Object.entries(variables).flatMap(([name, value]) => {
    const at = `environment.${name}`;
    if (!/^[A-Za-z][A-Za-z0-9_]+$/.test(name)) {
      const rule = 'Lambda takes a letter, and behind it at least one letter, digit or "_"';
      return [`"${name}" cannot be the name of a variable: ${rule}`];
    }
    const taken = takenBy(name);
    if (taken !== undefined) return [`${at} is a setting of ${taken}. Choose another name`];
    if (Array.isArray(secrets) && secrets.includes(name)) return [`${name} is in environment and in secrets`];
    if (typeof value === "string") return [];
    if (!isPlain(value)) {
      const advice = typeof value === "number" || typeof value === "boolean" ? ". Put it in quotes" : "";
      return [`${at} is ${shown(value)}, not a text${advice}`];
    }
    const strange = Object.keys(value).filter((member) => member !== "Ref");
    if (strange.length > 0) return strange.map((member) => unknown(member, `a member of ${at}`, ["Ref"]));
    const ofProject = fieldsOf(resources);
    const tables = Object.keys(ofProject).filter((id) => isTable(fieldsOf(ofProject[id])["Type"]));
    const table = String(value["Ref"]);
    return tables.includes(table) ? [] : [`${at}.Ref: ${unknown(table, "a table in resources", tables)}`];
  });
}

/** @param {unknown} names */
function secretMistakes(names) {
  if (!Array.isArray(names)) return ['secrets is not a list of names, like ["CRM_TOKEN"]'];
  return names.flatMap((name, index) => {
    if (typeof name !== "string" || !/^[A-Z][A-Z0-9_]*$/.test(name)) {
      return [`secrets has ${shown(name)}. A name has capital letters, digits and "_"`];
    }
    const taken = takenBy(name);
    if (taken !== undefined) return [`secrets has ${name}, a setting of ${taken}. Choose another name`];
    return names.indexOf(name) === index ? [] : [`secrets has ${name} twice`];
  });
}

const statementMembers = ["Sid", "Effect", "Action", "Resource", "Condition"];

/** @param {unknown} statements */
function statementMistakes(statements) {
  if (!Array.isArray(statements)) return ["statements is not a list"];
  return statements.flatMap((statement, index) => {
    const at = `statements[${index}]`;
    if (!isPlain(statement)) return [`${at} is not an object`];
    const { Sid = "", Effect, Action, Resource, Condition = {} } = statement;
    const strange = Object.keys(statement).filter((name) => !statementMembers.includes(name));
    return [
      ...strange.map((name) => unknown(name, `a member of ${at}`, statementMembers)),
      ...(Effect === "Allow" || Effect === "Deny" ? [] : [`${at}.Effect is neither "Allow" nor "Deny"`]),
      ...(isSome(Action, (action) => isMatch(action, /^(\*|[\w-]+:[\w*?]+)$/))
        ? []
        : [`${at}.Action is no list of actions, like ["dynamodb:PutItem"]`]),
      ...(isSome(Resource, (resource) => isPlain(resource) || isMatch(resource, /^(\*|(arn:|\$\{).+)$/))
        ? []
        : [`${at}.Resource is no list of ARNs`]),
      ...functionMistakes(`${at}.Resource`, Resource),
      ...(isMatch(Sid, /^(?:[A-Za-z0-9]|\$\{[^}]+\})*$/)
        ? []
        : [`${at}.Sid is ${shown(Sid)}. It has letters and digits only`]),
      ...(isPlain(Condition) ? [] : [`${at}.Condition is not an object`]),
    ];
  });
}

const tableTypes = ["AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable"];

/**
 * Whether a resource of that type is a table, which `npm start` creates and whose `Ref` is a name.
 * @param {unknown} type
 */
export function isTable(type) {
  return tableTypes.includes(String(type));
}

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

/** @param {unknown} resources */
function resourceMistakes(resources) {
  if (!isPlain(resources)) return ["resources is not an object of CloudFormation resources"];
  return Object.entries(resources).flatMap(([id, resource]) => {
    const at = `resources.${id}`;
    if (!/^[A-Za-z0-9]{1,255}$/.test(id)) return [`${at}: a logical id has letters and digits only`];
    if (!isPlain(resource)) return [`${at} is not an object`];
    const { Type, Properties = {} } = resource;
    const strange = Object.keys(resource).filter((name) => !attributes.includes(name));
    return [
      ...strange.map((name) => unknown(name, `an attribute of ${at}`, attributes)),
      ...(typeof Type === "string" && Type.includes("::") ? [] : [`${at}.Type is no type, like "${tableTypes[0]}"`]),
      // A misspelt one would not be there on this machine, and nothing would say so.
      ...slips(`${at}.Type`, "a type", [String(Type)], tableTypes),
      ...(isPlain(Properties) ? [] : [`${at}.Properties is not an object`]),
      ...(isTable(Type) && isPlain(Properties) ? tableMistakes(`${at}.Properties`, Properties) : []),
      ...functionMistakes(`${at}.Properties`, Properties),
    ];
  });
}

const functions = [
  ...["Base64", "Cidr", "FindInMap", "ForEach", "GetAtt", "GetAZs", "If", "ImportValue", "Join", "Length"],
  ...["Select", "Split", "Sub", "ToJsonString", "Transform"],
].map((name) => `Fn::${name}`);

/**
 * Misspelt functions of CloudFormation.
 * @param {string} at
 * @param {unknown} value
 * @returns {string[]}
 */
function functionMistakes(at, value) {
  if (typeof value !== "object" || value === null) return [];
  const names = Object.keys(value).filter((name) => /^fn:/i.test(name));
  return [
    ...slips(at, "a function of CloudFormation", names, functions),
    ...Object.values(value).flatMap((inner) => functionMistakes(at, inner)),
  ];
}

const tableProperties = [
  "AttributeDefinitions",
  "BillingMode",
  "ContributorInsightsSpecification",
  "DeletionProtectionEnabled",
  "GlobalSecondaryIndexes",
  "GlobalTableWitnesses",
  "ImportSourceSpecification",
  "KeySchema",
  "KinesisStreamSpecification",
  "LocalSecondaryIndexes",
  "MultiRegionConsistency",
  "OnDemandThroughput",
  "PointInTimeRecoverySpecification",
  "ProvisionedThroughput",
  "Replicas",
  "ResourcePolicy",
  "SSESpecification",
  "StreamSpecification",
  "TableClass",
  "TableName",
  "Tags",
  "TimeToLiveSpecification",
  "WarmThroughput",
  "WriteOnDemandThroughputSettings",
  "WriteProvisionedThroughputSettings",
];

/**
 * @param {string} at
 * @param {Fields} properties
 */
function tableMistakes(at, properties) {
  const misspelt = slips(at, "a property of a table", Object.keys(properties), tableProperties);
  return misspelt.length > 0 ? misspelt : keyMistakes(at, properties);
}

const indexMembers = ["IndexName", "KeySchema", "Projection"];
const hashAndRange = /^HASH,RANGE$/;

/**
 * What DynamoDB refuses of a table's keys.
 * @param {string} at
 * @param {Fields} properties
 */
function keyMistakes(at, properties) {
  const { AttributeDefinitions, KeySchema, GlobalSecondaryIndexes = [], LocalSecondaryIndexes = [] } = properties;
  const lists = { AttributeDefinitions, KeySchema, GlobalSecondaryIndexes, LocalSecondaryIndexes };
  // Functions of CloudFormation and variables of osls have their values later.
  if (/\bFn::|\bRef\b|\$\{/.test(inspect([lists, Object.keys(properties)], { depth: null }))) return [];
  const others = Object.entries(lists).filter(([, value]) => !Array.isArray(value));
  if (others.length > 0) return others.map(([name, value]) => `${at}.${name} is ${shown(value)}, not a list`);
  const empty = Object.keys(lists).filter(
    (name) => name !== "AttributeDefinitions" && shown(properties[name]) === "[]",
  );
  if (empty.length > 0) return empty.map((name) => `${at}.${name} is empty. Fill it or remove it`);
  const [global, local] = [[GlobalSecondaryIndexes].flat().map(fieldsOf), [LocalSecondaryIndexes].flat().map(fieldsOf)];
  const indexes = [...global, ...local];
  const namesIn = (/** @type {unknown} */ list) => [list].flat().map((entry) => fieldsOf(entry)["AttributeName"]);
  const defined = namesIn(AttributeDefinitions);
  const types = [AttributeDefinitions].flat().map((entry) => fieldsOf(entry)["AttributeType"]);
  const used = [KeySchema, ...indexes.map((index) => index["KeySchema"] ?? [])].flatMap(namesIn);
  const lacking = indexes.flatMap((index) => indexMembers.filter((member) => index[member] === undefined));
  const [hash] = namesIn(KeySchema);
  return [
    ...lacking.map((member) => `${at} has an index without ${member}`),
    ...repeated(indexes.map((index) => index["IndexName"])).map((name) => `${at} has two indexes ${shown(name)}`),
    ...indexes.flatMap((index) => indexMistakes(at, index)),
    ...types
      .filter((type) => !["S", "N", "B"].includes(String(type)))
      .map((type) => `${at}.AttributeDefinitions has the AttributeType ${shown(type)}. There are S, N, B`),
    ...schemaMistakes(`${at}.KeySchema`, KeySchema, local.length > 0 ? hashAndRange : /^HASH(,RANGE)?$/),
    // DynamoDB takes several keys of each type in a global index.
    ...global.flatMap((index) =>
      schemaMistakes(`${at}.GlobalSecondaryIndexes`, index["KeySchema"], /^HASH(,HASH)*(,RANGE)*$/),
    ),
    ...local.flatMap((index) => schemaMistakes(`${at}.LocalSecondaryIndexes`, index["KeySchema"], hashAndRange)),
    ...local
      .map((index) => namesIn(index["KeySchema"] ?? KeySchema)[0])
      .filter((name) => name !== hash)
      .map((name) => `${at}.LocalSecondaryIndexes has the hash key ${shown(name)}, and the table has ${shown(hash)}`),
    ...used
      .filter((name) => !defined.includes(name))
      .map((name) => `${at}.AttributeDefinitions lacks ${shown(name)}, which a KeySchema has`),
    ...defined
      .filter((name) => lacking.length === 0 && !used.includes(name))
      .map((name) => `${at}.AttributeDefinitions has ${shown(name)}, which no KeySchema has`),
  ];
}

/**
 * @param {string} at
 * @param {Fields} index What it lacks is no mistake here.
 */
function indexMistakes(at, { IndexName = "name", Projection = { ProjectionType: "ALL" } }) {
  const { ProjectionType, NonKeyAttributes } = fieldsOf(Projection);
  const isListed = Array.isArray(NonKeyAttributes) && NonKeyAttributes.length > 0;
  const form = isListed ? /^INCLUDE$/ : /^(ALL|KEYS_ONLY)$/;
  const rule = "not ALL, KEYS_ONLY, or INCLUDE with NonKeyAttributes";
  return [
    ...(isMatch(IndexName, /^[\w.-]{3,255}$/)
      ? []
      : [`${at} has the index ${shown(IndexName)}. A name has 3 to 255 letters, digits and "_.-"`]),
    ...(isMatch(ProjectionType, form) ? [] : [`${at} has the Projection ${shown(Projection)}, ${rule}`]),
  ];
}

/**
 * @param {string} at
 * @param {unknown} schema `undefined` is no mistake here.
 * @param {RegExp} order Of the key types.
 */
function schemaMistakes(at, schema, order) {
  if (schema === undefined) return [];
  const keys = [schema].flat().map(fieldsOf);
  const types = keys.map((key) => key["KeyType"]).join();
  const rule = order.test("HASH") ? "HASH, or HASH before RANGE" : "HASH before RANGE";
  return [
    ...(order.test(types) ? [] : [`${at} has keys of the types ${shown(types)}, not ${rule}`]),
    ...repeated(keys.map((key) => key["AttributeName"])).map((name) => `${at} has ${shown(name)} twice in one key`),
  ];
}

/** @param {readonly unknown[]} values */
function repeated(values) {
  return values.filter((value, index) => value !== undefined && values.indexOf(value) !== index);
}

/**
 * @param {string} name
 * @param {unknown} flag
 */
function flagMistakes(name, flag) {
  return typeof flag === "boolean" ? [] : [`${name} is ${shown(flag)}, neither true nor false`];
}

/** @param {unknown} rate */
function rateMistakes(rate) {
  const isRate = typeof rate === "number" && rate >= 0 && rate <= 1;
  return isRate ? [] : [`logSampleRate is ${shown(rate)}, not a number from 0 to 1`];
}

/** @param {unknown} tags */
function tagMistakes(tags) {
  if (!isPlain(tags)) return ["tags is not an object of texts"];
  const names = ["SERVICE", "STAGE", ...Object.keys(tags)];
  return Object.entries(tags).flatMap(([name, value]) => {
    // Where both have the same name, the project's value counts.
    const same = names.find((other) => other !== name && other.toLowerCase() === name.toLowerCase());
    if (same !== undefined) return [`tags has ${name} and ${same}, which IAM takes for one. Choose another name`];
    if (!/^(?!aws:)[\w./=+:\- ]{1,128}$/.test(name)) {
      const rule = 'it has up to 128 letters, digits, spaces and "_./=+:-", and does not begin with "aws:"';
      return [`"${name}" cannot be the name of a tag: ${rule}`];
    }
    // The rule of IAM, the strictest. A variable of osls has its value later.
    const isText = isMatch(value, /^(?:[\p{L}\p{Z}\p{N}_.:/=+\-@]|\$\{[^}]+\}){0,256}$/u);
    const rule = 'not a text of at most 256 characters: letters, digits, spaces and "_.:/=+-@"';
    return isText ? [] : [`tags.${name} is ${shown(value)}, ${rule}`];
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
 * @param {readonly string[]} [ofLimits] What is set in limits instead.
 */
function unknown(name, what, names, ofLimits = []) {
  const [likely = ""] = nearest(name, names, 1);
  const [one, other] = [name.toLowerCase(), likely.toLowerCase()];
  const isPart = likely !== "" && (other.includes(one) || one.endsWith(other));
  if (ofLimits.includes(name) && !isPart) return `"${name}" is not ${what}. It is in limits, for all lanes`;
  return `"${name}" is not ${what}${likely === "" ? "" : `. Did you mean "${likely}"?`}`;
}

/**
 * The names that were meant for a known one. Others may be newer than what is known here.
 * @param {string} at
 * @param {string} what
 * @param {readonly string[]} names
 * @param {readonly string[]} known
 */
function slips(at, what, names, known) {
  return names
    .filter((name) => !known.includes(name) && known.some((likely) => isSlip(name, likely)))
    .map((name) => `${at}: ${unknown(name, what, known)}`);
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
 * Whether it is a text of that form.
 * @param {unknown} value
 * @param {RegExp} form
 */
function isMatch(value, form) {
  return typeof value === "string" && form.test(value);
}

/**
 * Whether an object is one of a literal. A promise or a Map has no members to be checked, so nothing of it would hold.
 * @param {unknown} value
 * @returns {value is Fields}
 */
export function isPlain(value) {
  const prototype = isObject(value) && Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** @param {unknown} value */
function shown(value) {
  return typeof value === "string" ? JSON.stringify(value) : inspect(value, { breakLength: Number.POSITIVE_INFINITY });
}
