/** An expression of metric math, or a filter pattern for log lines, which have the same shape. */
export type Expression =
  | { readonly kind: "number" | "text" | "name"; readonly text: string }
  | { readonly kind: "call"; readonly text: string; readonly parts: readonly Expression[] };

/** From the loosest to the tightest. */
const operators = [
  ["OR", "||"],
  ["AND", "&&"],
  [">=", "<=", ">", "<", "="],
  ["+", "-"],
  ["*", "/"],
];
const word = /\s*(?:(\d+(?:\.\d+)?)|"([^"]*)"|([\w$.-]*[\w$])|(>=|<=|\|\||&&|[-+*/<>=(),]))/y;

/** Reads an expression. An operator becomes a call of its name; braces around a filter pattern are left out. */
export function parse(source: string): Expression {
  const text = source.replace(/^\{(.*)\}$/, "$1").trim();
  const tokens: { kind: Expression["kind"] | "sign"; text: string }[] = [];
  word.lastIndex = 0;
  while (word.lastIndex < text.length) {
    const [, number, quoted, name, sign] = word.exec(text) ?? fail(`Cannot read ${source}`);
    const isOperator = name === "AND" || name === "OR";
    if (number !== undefined) tokens.push({ kind: "number", text: number });
    else if (quoted !== undefined) tokens.push({ kind: "text", text: quoted });
    else if (name !== undefined && !isOperator) tokens.push({ kind: "name", text: name });
    else tokens.push({ kind: "sign", text: name ?? sign ?? "" });
  }
  let at = 0;
  const isNext = (...signs: readonly string[]) => tokens[at]?.kind === "sign" && signs.includes(tokens[at]?.text ?? "");
  const expect = (sign: string) => (isNext(sign) ? at++ : fail(`Cannot read ${source}: no ${sign}`));

  function level(depth: number): Expression {
    const signs = operators[depth];
    if (signs === undefined) return primary();
    let left = level(depth + 1);
    while (isNext(...signs)) {
      const sign = signs[0] === "OR" || signs[0] === "AND" ? signs[0] : (tokens[at]?.text ?? "");
      at++;
      left = { kind: "call", text: sign, parts: [left, level(depth + 1)] };
    }
    return left;
  }

  function primary(): Expression {
    if (isNext("(")) {
      at++;
      const inner = level(0);
      expect(")");
      return inner;
    }
    const token = tokens[at++];
    if (token === undefined || token.kind === "sign") return fail(`Cannot read ${source}`);
    if (token.kind !== "name" || !isNext("(")) return token as Expression;
    const parts: Expression[] = [];
    do {
      at++;
      parts.push(level(0));
    } while (isNext(","));
    expect(")");
    return { kind: "call", text: token.text, parts };
  }

  const whole = level(0);
  return at === tokens.length ? whole : fail(`Cannot read ${source}: more follows`);
}

function fail(message: string): never {
  throw new Error(message);
}
