/** How deep an envelope may nest. Deeper ones could still be parsed, but not printed again. */
export const maxDepth = 64;

/** Where a text keeps its Verification Token, and how deep it nests. */
export interface TextFacts {
  /** Deepest nesting of objects and arrays. */
  readonly depth: number;
  /** `[start, end)` of each string value, quotes included, of a member `token` at the top or in the top's `header`. */
  readonly tokens: readonly (readonly [start: number, end: number])[];
  /** `[start, end)` of the value of the top's member `event`: of the last one, as for every parser. Empty when there is none. */
  readonly event: readonly [start: number, end: number];
}

const quote = 34;
const backslash = 92;

/**
 * Reads a JSON text once, without building it. Total: a text that is not JSON gives some answer, and
 * `JSON.parse` refuses it after. Strings are skipped with `indexOf`, so long ones cost little.
 */
export function inspect(text: string, { headOnly = false } = {}): TextFacts {
  const tokens: [number, number][] = [];
  let depth = 0;
  let deepest = 0;
  /** Names of the members being read at depth 1 and 2; what is deeper is not looked at. */
  let outer = "";
  let inner = "";
  let isKey = false;
  let event: TextFacts["event"] = [0, 0];
  let eventStart = -1;
  const endEvent = (end: number) => {
    if (depth === 1 && eventStart !== -1) event = [eventStart, end];
    if (depth === 1) eventStart = -1;
  };

  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
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
      case 123: // {
        isKey = true;
        if (++depth > deepest) deepest = depth;
        if (depth === 2) inner = "";
        break;
      case 91: // [
        isKey = false;
        // An array's strings are nobody's member: forget the name, so that they are not taken for a token.
        if (++depth > deepest) deepest = depth;
        if (depth === 2) inner = "";
        break;
      case 125: // }
      case 93: // ]
        endEvent(i);
        depth--;
        isKey = false;
        break;
      case 44: // ,
        // In an array this is wrong, but a "key" there only renames what no lookup reads.
        endEvent(i);
        isKey = true;
        break;
      case 58: // :
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

/** The same text with the given string values replaced; everything else stays to the letter. */
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

function memberName(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  // "\u0074oken" is the same member to every parser.
  try {
    return String(JSON.parse(quoted));
  } catch {
    return "";
  }
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
      const item = (value as Record<string, unknown>)[name];
      if (typeof item !== "object") continue;
      const depth = depthOf(item, limit - 1);
      if (depth > deepest) deepest = depth;
    }
  }
  return deepest + 1;
}
