import { createRequire } from "node:module";
import type { Exchange } from "../../lib/local/exchange.ts";
import { actionOf } from "../support/faults.ts";

export type Input = Readonly<Record<string, unknown>>;
export type Item = Readonly<Record<string, { readonly S?: string; readonly N?: string }>>;
export interface Reply {
  readonly status: number;
  readonly body: object;
}

type Done<T = void> = (error: DynaliteError | null, value?: T) => void;
type DynaliteError = Error & { readonly name: string; readonly body?: object };
interface Validation {
  readonly types: object;
  readonly validations?: object;
  readonly custom?: object;
}
interface Validations {
  checkTypes(input: object, types: object): object;
  checkValidations(input: object, validations: object, custom: object | undefined, store: object): Error | undefined;
}

const load = createRequire(import.meta.url);
const actions = new Map(
  ["getItem", "putItem", "updateItem"].map((name) => [
    `${name[0]?.toUpperCase()}${name.slice(1)}`,
    {
      validation: load(`dynalite/validations/${name}`) as Validation,
      perform: load(`dynalite/actions/${name}`) as (store: object, input: object, done: Done<object>) => void,
    },
  ]),
);
const { checkTypes, checkValidations } = load("dynalite/validations") as Validations;

type Values = Readonly<Record<string, object>>;
interface Context {
  readonly attrNames?: object;
  readonly attrVals?: Values;
  /** What is left here, no expression has used. */
  readonly unusedAttrVals: Record<string, true>;
}
interface Parser {
  parse(expression: string, options: { readonly context: Context }): string | object;
}
const parsers = ["condition", "update"].map((kind) => {
  const parser = load(`dynalite/db/${kind}Parser`) as Parser;
  const { parse } = parser;
  return { parser, parse, parseOnce: parsingOnce(parse) };
});

/**
 * To parse an expression takes most of a call, and the ledger has a dozen of them. Each is parsed once for the types of its
 * values: the embedded code judges a value by its type alone, but for the bounds of BETWEEN and the name of a type.
 */
function parsingOnce(parse: Parser["parse"]): Parser["parse"] {
  const parsed = new Map<string, { tree: object; nameOf: ReadonlyMap<unknown, string> }>();
  return (expression, options) => {
    const { attrNames, attrVals = {}, unusedAttrVals } = options.context;
    if (attrNames !== undefined || /between|attribute_type/i.test(expression)) return parse(expression, options);
    const types = Object.entries(attrVals).map(([name, value]) => [name, ...Object.keys(value)]);
    const key = JSON.stringify([expression, types]);
    let known = parsed.get(key);
    if (known === undefined) {
      const tree = parse(expression, options);
      if (typeof tree === "string") return tree;
      known = { tree, nameOf: new Map(Object.entries(attrVals).map(([name, value]) => [value, name])) };
      parsed.set(key, known);
    }
    const { tree, nameOf } = known;
    const withValues = (node: unknown): unknown => {
      if (typeof node !== "object" || node === null) return node;
      if (Array.isArray(node)) return node.map(withValues);
      const name = nameOf.get(node);
      if (name !== undefined) {
        delete unusedAttrVals[name];
        return attrVals[name];
      }
      const copy = Object.create(Object.getPrototypeOf(node));
      for (const [member, part] of Object.entries(node)) copy[member] = withValues(part);
      return copy;
    };
    return withValues(tree) as object;
  };
}

/** {@link checkValidations}, with each expression parsed once. It is over when it returns, so nobody else finds that parser. */
const checkOnce: Validations["checkValidations"] = (...args) => {
  for (const { parser, parseOnce } of parsers) parser.parse = parseOnce;
  try {
    return checkValidations(...args);
  } finally {
    for (const { parser, parse } of parsers) parser.parse = parse;
  }
};

/**
 * One DynamoDB table with the key `pk`, in memory. The expressions are read and judged by the embedded DynamoDB's own
 * code, over a map instead of its database and without its server, so that a call is over when it returns.
 */
export function createTable() {
  const items = new Map<string, Item>();
  let before: Item | undefined;
  const itemDb = {
    lock: (_key: string, run: (release: <D>(done: D) => D) => void) => run((done) => done),
    get: (key: string, done: Done<Item>) => {
      before = items.get(key);
      done(null, before);
    },
    put: (key: string, item: Item, done: Done) => {
      items.set(key, item);
      done(null);
    },
  };
  const schema = {
    KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
    AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
  };
  const store = {
    options: { maxItemSize: 409_600 },
    getTable: (_name: string, done: Done<object>) => done(null, schema),
    getItemDb: () => itemDb,
  };

  /** The input is the call's own: it is changed. */
  function perform(action: string, input: Input): Reply {
    const found = actions.get(action);
    if (found === undefined) throw new TypeError(`The table does not know ${action}`);
    const { types, validations = {}, custom } = found.validation;
    const isItemAsked = input["ReturnValuesOnConditionCheckFailure"] === "ALL_OLD";
    const data = checkTypes(input, types);
    const invalid = checkOnce(data, validations, custom, store);
    if (invalid !== undefined && invalid !== null) throw invalid;
    let reply: Reply | undefined;
    found.perform(store, data, (error, body = {}) => {
      // What the embedded one leaves out: with a condition that failed, the item as it is.
      const isAsked = isItemAsked && before !== undefined;
      reply =
        error === null
          ? { status: 200, body }
          : { status: 400, body: { ...error.body, ...(isAsked ? { Item: before } : undefined) } };
    });
    if (reply === undefined) throw new TypeError(`The table did not finish ${action}`);
    return reply;
  }
  /** @throws What DynamoDB would refuse as invalid, and any action but the three. */
  const call = (action: string, input: Input): Reply => perform(action, structuredClone(input));
  return {
    call,
    /** A request without a connection, as the embedded services answer it. */
    exchange: (async (headers, body) => {
      const reply = perform(actionOf(headers), JSON.parse(String(body)));
      const type = { "content-type": "application/x-amz-json-1.0" };
      return { status: reply.status, headers: type, body: Buffer.from(JSON.stringify(reply.body)) };
    }) satisfies Exchange,
    clear: () => items.clear(),
    itemOf(pk: string): Item | undefined {
      const { body } = call("GetItem", { TableName: "ledger", Key: { pk: { S: pk } } });
      return (body as { Item?: Item }).Item;
    },
  };
}
