/** A parsed JSON object. */
export type JsonObject = { readonly [name: string]: unknown };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The members of whatever a value is; `undefined` and `null` have none. */
export function fieldsOf(value: unknown): JsonObject {
  return Object(value);
}

export function stringOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** `undefined` for a text that is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** `undefined` for a text that is not a JSON object. */
export function parseObject(text: string): JsonObject | undefined {
  const value = parseJson(text);
  return isObject(value) ? value : undefined;
}

/** How deep an envelope may nest. A deeper one could be parsed, but not written again. */
export const maxDepth = 64;

/** Where a text keeps its Verification Token, and how deep it nests. */
export interface TextFacts {
  /** Deepest nesting of objects and arrays. */
  readonly depth: number;
  /** `[start, end)` of each string value, quotes included, of a member `token` at the top or in the top's `header`. */
  readonly tokens: readonly (readonly [start: number, end: number])[];
  /** `[start, end)` of the value of the top's last member `event`, the one that parsers keep. Empty if there is none. */
  readonly event: readonly [start: number, end: number];
}

/**
 * Scans a JSON text once, without parsing it. Total: a text that is not JSON gets some result, and `JSON.parse` refuses
 * it later. Strings are skipped with `indexOf`, so long ones cost little.
 *
 * @param options.headOnly Stops at the value of the first member `event`, and takes it to end before the last brace.
 */
export function inspect(text: string, { headOnly = false } = {}): TextFacts {
  const tokens: [number, number][] = [];
  let depth = 0;
  let deepest = 0;
  /** Names of the members being read at depth 1 and 2; deeper ones do not matter. */
  let outer = "";
  let inner = "";
  let isKey = false;
  let event: TextFacts["event"] = [0, 0];
  let eventStart = -1;
  const endMember = (end: number) => {
    if (depth !== 1) return;
    if (eventStart !== -1) event = [eventStart, end];
    eventStart = -1;
  };

  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    switch (code) {
      case quote: {
        const end = stringEnd(text, i);
        if (depth === 1 || depth === 2) {
          if (isKey) {
            const name = text.slice(i, Math.min(end, i + 64));
            if (depth === 1) outer = memberName(name);
            else inner = memberName(name);
          } else if (depth === 1 ? outer === "token" : outer === "header" && inner === "token") {
            tokens.push([i, end]);
          }
          isKey = false;
        }
        i = end - 1;
        break;
      }
      case openBrace:
      case openBracket:
        isKey = code === openBrace;
        if (++depth > deepest) deepest = depth;
        // A string in an array belongs to no member, so the name before it must not make it a token.
        if (depth === 2) inner = "";
        break;
      case closeBrace:
      case closeBracket:
        endMember(i);
        depth--;
        isKey = false;
        break;
      case comma:
        // Wrong in an array, where a "key" only changes a name that nothing reads.
        endMember(i);
        isKey = true;
        break;
      case colon:
        if (depth === 1 && outer === "event") {
          eventStart = i + 1;
          if (headOnly) return { depth: deepest, tokens, event: [eventStart, text.lastIndexOf("}")] };
        }
        isKey = false;
        break;
    }
  }
  return { depth: deepest, tokens, event };
}

const quote = 34;
const comma = 44;
const colon = 58;
const openBracket = 91;
const backslash = 92;
const closeBracket = 93;
const openBrace = 123;
const closeBrace = 125;

/** The text with the given string values replaced, and nothing else changed. */
export function fill(text: string, spans: TextFacts["tokens"], value: string): string {
  let result = "";
  let from = 0;
  for (const [start, end] of spans) {
    result += text.slice(from, start) + JSON.stringify(value);
    from = end;
  }
  return result + text.slice(from);
}

/** The index after a string's closing quote; the end of the text when it has none. */
function stringEnd(text: string, start: number): number {
  let from = start + 1;
  for (;;) {
    const end = text.indexOf('"', from);
    if (end === -1) return text.length;
    let escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === backslash) escapes++;
    if (escapes % 2 === 0) return end + 1;
    from = end + 1;
  }
}

/** "\u0074oken" is the same member as "token" to every parser. */
function memberName(quoted: string): string {
  return quoted.includes("\\") ? String(parseJson(quoted) ?? "") : quoted.slice(1, -1);
}

/** How deep a parsed value nests; counting stops at `limit`. */
export function depthOf(value: unknown, limit: number): number {
  if (typeof value !== "object" || value === null) return 0;
  if (limit <= 1) return 1;
  let deepest = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      if (typeof item !== "object") continue;
      const depth = depthOf(item, limit - 1);
      if (depth > deepest) deepest = depth;
    }
  } else {
    for (const name in value) {
      const item = (value as JsonObject)[name];
      if (typeof item !== "object") continue;
      const depth = depthOf(item, limit - 1);
      if (depth > deepest) deepest = depth;
    }
  }
  return deepest + 1;
}
