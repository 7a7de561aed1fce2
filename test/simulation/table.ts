/** An attribute as DynamoDB's JSON protocol writes it; the project stores strings and numbers. */
export type Value = { readonly S: string } | { readonly N: string };
export type Item = Readonly<Record<string, Value>>;
export type Input = Readonly<Record<string, unknown>>;
export interface Reply {
  readonly status: number;
  readonly body: object;
}

/** Members that a request may have. Any other might change what the call means. */
const members = new Set([
  ...["TableName", "Item", "Key", "ConsistentRead", "ConditionExpression", "UpdateExpression"],
  ...["ExpressionAttributeValues", "ReturnValues", "ReturnValuesOnConditionCheckFailure"],
]);

/**
 * One DynamoDB table in memory, with the key `pk`. It knows the expressions that the project uses and throws at
 * anything else, so that an expression it does not understand cannot pass for one that held.
 */
export function createTable() {
  const items = new Map<string, Item>();

  function call(action: string, input: Input): Reply {
    const unknown = Object.keys(input).filter((name) => !members.has(name));
    if (unknown.length > 0) throw new TypeError(`The table does not know ${unknown.join()} of ${action}`);
    const parts = (input["Item"] ?? input["Key"]) as Item;
    const key = text(parts["pk"]);
    const before = items.get(key);
    if (action === "GetItem") return { status: 200, body: before === undefined ? {} : { Item: before } };
    const values = valuesOf(input);
    const condition = input["ConditionExpression"];
    const holds = condition === undefined || new Expression(String(condition), before, values).condition();
    let after: Item = parts;
    if (action === "UpdateItem") {
      after = new Expression(String(input["UpdateExpression"]), before ?? parts, values).updated();
    } else if (action !== "PutItem") throw new TypeError(`The table does not know ${action}`);
    values.assertAllUsed();
    if (!holds) return conditionFailed(before, input["ReturnValuesOnConditionCheckFailure"]);
    items.set(key, after);
    return { status: 200, body: returned(input["ReturnValues"], before, after) };
  }
  return { call, items };
}

function returned(asked: unknown, before: Item | undefined, after: Item): object {
  if (asked === undefined || asked === "NONE") return {};
  if (asked === "ALL_NEW") return { Attributes: after };
  if (asked === "ALL_OLD") return before === undefined ? {} : { Attributes: before };
  throw new TypeError(`The table does not know ReturnValues ${String(asked)}`);
}

function conditionFailed(before: Item | undefined, asked: unknown): Reply {
  const error = {
    __type: "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
    message: "The conditional request failed",
  };
  return { status: 400, body: asked === "ALL_OLD" && before !== undefined ? { ...error, Item: before } : error };
}

function text(value: Value | undefined): string {
  if (value !== undefined && "S" in value) return value.S;
  throw new TypeError("The table's key is not a string");
}

/** The request's `:values`. DynamoDB refuses a request that gives one and does not use it. */
function valuesOf(input: Input) {
  const values = new Map(Object.entries((input["ExpressionAttributeValues"] ?? {}) as Item));
  const unused = new Set(values.keys());
  return {
    get(name: string): Value {
      const value = values.get(name);
      if (value === undefined) throw new TypeError(`The table was given no ${name}`);
      unused.delete(name);
      return value;
    },
    assertAllUsed(): void {
      if (unused.size > 0) throw new TypeError(`The table was given ${[...unused].join()} for nothing`);
    },
  };
}

const token = /\s*(<=|>=|[=<>(),+-]|:?[A-Za-z_]\w*)/y;

/** Reads an expression and evaluates it against an item, by DynamoDB's grammar: OR binds less than AND, AND less than NOT. */
class Expression {
  readonly #tokens: string[] = [];
  readonly #item: Item;
  readonly #values: ReturnType<typeof valuesOf>;
  #at = 0;

  constructor(source: string, item: Item | undefined, values: ReturnType<typeof valuesOf>) {
    this.#item = item ?? {};
    this.#values = values;
    token.lastIndex = 0;
    for (let from = 0; source.slice(from).trim() !== ""; from = token.lastIndex) {
      const found = token.exec(source)?.[1];
      if (found === undefined) throw new TypeError(`The table cannot read ${JSON.stringify(source.slice(from))}`);
      this.#tokens.push(found);
    }
  }

  /** Whether the condition holds. */
  condition(): boolean {
    const holds = this.#or();
    this.#end();
    return holds;
  }

  /** The item as the update leaves it. Every operand is read from the item as it was before. */
  updated(): Item {
    const after = new Map(Object.entries(this.#item));
    while (this.#at < this.#tokens.length) {
      if (this.#take("SET")) {
        do {
          const name = this.#name();
          this.#expect("=");
          after.set(name, this.#sum());
        } while (this.#take(","));
      } else {
        this.#expect("REMOVE");
        do after.delete(this.#name());
        while (this.#take(","));
      }
    }
    return Object.fromEntries(after);
  }

  #or(): boolean {
    let holds = this.#and();
    while (this.#take("OR")) holds = this.#and() || holds;
    return holds;
  }

  #and(): boolean {
    let holds = this.#not();
    while (this.#take("AND")) holds = this.#not() && holds;
    return holds;
  }

  #not(): boolean {
    if (this.#take("NOT")) return !this.#not();
    if (this.#take("(")) {
      const holds = this.#or();
      this.#expect(")");
      return holds;
    }
    for (const [name, isThere] of [
      ["attribute_exists", true],
      ["attribute_not_exists", false],
    ] as const) {
      if (!this.#take(name)) continue;
      this.#expect("(");
      const attribute = this.#name();
      this.#expect(")");
      return attribute in this.#item === isThere;
    }
    const left = this.#operand();
    const operator = this.#next();
    return compare(left, operator, this.#operand());
  }

  #sum(): Value {
    const left = this.#present();
    for (const [sign, factor] of [
      ["+", 1],
      ["-", -1],
    ] as const) {
      if (this.#take(sign)) return { N: String(number(left) + factor * number(this.#present())) };
    }
    return left;
  }

  #present(): Value {
    const value = this.#operand();
    if (value === undefined) throw new TypeError("The table was told to copy an attribute that is not there");
    return value;
  }

  #operand(): Value | undefined {
    const next = this.#next();
    if (next.startsWith(":")) return this.#values.get(next);
    if (next !== "if_not_exists") {
      this.#at--;
      return this.#item[this.#name()];
    }
    this.#expect("(");
    const existing = this.#item[this.#name()];
    this.#expect(",");
    const otherwise = this.#present();
    this.#expect(")");
    return existing ?? otherwise;
  }

  #name(): string {
    const name = this.#next();
    const isWord = /^[A-Za-z_]\w*$/.test(name) && !/^(AND|OR|NOT|SET|REMOVE|ADD|DELETE|BETWEEN|IN)$/i.test(name);
    // A word in front of a parenthesis is a function that this table does not have.
    if (!isWord || this.#tokens[this.#at] === "(") throw new TypeError(`The table does not know ${name}`);
    return name;
  }

  #next(): string {
    const next = this.#tokens[this.#at++];
    if (next === undefined) throw new TypeError("The table was given half an expression");
    return next;
  }

  #take(wanted: string): boolean {
    if (this.#tokens[this.#at] !== wanted) return false;
    this.#at++;
    return true;
  }

  #expect(wanted: string): void {
    const next = this.#next();
    if (next !== wanted) throw new TypeError(`The table expected ${wanted} instead of ${next}`);
  }

  #end(): void {
    if (this.#at < this.#tokens.length) throw new TypeError(`The table does not know ${this.#next()}`);
  }
}

/** A comparison with an attribute that is not there, or of two types, does not hold. */
function compare(left: Value | undefined, operator: string, right: Value | undefined): boolean {
  if (!["=", "<", "<=", ">", ">="].includes(operator)) throw new TypeError(`The table does not know ${operator}`);
  if (left === undefined || right === undefined || "S" in left !== "S" in right) return false;
  const order =
    "S" in left ? Buffer.compare(Buffer.from(left.S), Buffer.from(text(right))) : number(left) - number(right);
  if (order === 0) return operator.endsWith("=");
  return operator.startsWith(order < 0 ? "<" : ">");
}

function number(value: Value): number {
  if ("N" in value) return Number(value.N);
  throw new TypeError("The table was told to calculate with a string");
}
