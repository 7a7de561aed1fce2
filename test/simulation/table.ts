import { createRequire } from "node:module";
import type { Exchange } from "../../lib/local/exchange.ts";

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

  /** @throws What DynamoDB would refuse as invalid, and any action but the three. */
  function call(action: string, input: Input): Reply {
    const found = actions.get(action);
    if (found === undefined) throw new TypeError(`The table does not know ${action}`);
    const { types, validations = {}, custom } = found.validation;
    const data = checkTypes(structuredClone(input), types);
    const invalid = checkValidations(data, validations, custom, store);
    if (invalid !== undefined && invalid !== null) throw invalid;
    let reply: Reply | undefined;
    found.perform(store, data, (error, body = {}) => {
      // What the embedded one leaves out: with a condition that failed, the item as it is.
      const isAsked = input["ReturnValuesOnConditionCheckFailure"] === "ALL_OLD" && before !== undefined;
      reply =
        error === null
          ? { status: 200, body }
          : { status: 400, body: { ...error.body, ...(isAsked ? { Item: before } : undefined) } };
    });
    if (reply === undefined) throw new TypeError(`The table did not finish ${action}`);
    return reply;
  }
  return {
    call,
    /** A request without a connection, as the embedded services answer it. */
    exchange: (async (headers, body) => {
      const reply = call(String(headers["x-amz-target"]).replace(/^.*\./, ""), JSON.parse(String(body)));
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
