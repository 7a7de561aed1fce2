import { clean } from "./clean.ts";

/** What was thrown, in short. Functions without handlers log no more. */
export interface ErrorSummary {
  readonly errorClass: string;
  /** The error's `code`, if it looks like one: `ECONNRESET`, `42P01`, 503. Another word may be a payload's. */
  readonly errorCode?: string | undefined;
  /** If the error declares `isMessageSafe`, or LOG_ERROR_MESSAGES is `true`. Other messages may quote a payload. */
  readonly message?: string | undefined;
  /** The innermost place: `functions/events/x.ts:12:7`. */
  readonly at?: string | undefined;
}

/** Total: takes a thrown `undefined`, a frozen object, and a getter that throws. */
export function summarize(thrown: unknown, isSafe = memberOf(thrown, "isMessageSafe") === true): ErrorSummary {
  const text = memberOf(thrown, "message");
  return {
    errorClass: word(memberOf(thrown, "name")) ?? (thrown === null ? "null" : typeof thrown),
    errorCode: codeIn(memberOf(thrown, "code")),
    message: isSafe && typeof text === "string" ? clean(text, 512) : undefined,
    at: framesOf(thrown)[0]?.at,
  };
}

/** A member of an error; of another object, its `code` only. `undefined` if a getter or a proxy throws. */
export function memberOf(thrown: unknown, name: string): unknown {
  try {
    return name === "code" || thrown instanceof Error ? Object(thrown)[name] : undefined;
  } catch {
    return undefined;
  }
}

/** Neither a number of six digits, which may be an order's, nor a key. */
function codeIn(value: unknown): string | undefined {
  const shapes: Record<string, RegExp> = {
    number: /^[1-5]\d\d$/,
    string: /^(?!.*(?:\d{6}|[A-Z0-9]{25}))[A-Z0-9_]{2,64}$/,
  };
  return shapes[typeof value]?.test(String(value)) === true ? String(value) : undefined;
}

export function word(value: unknown): string | undefined {
  return typeof value === "string" && /^[\w.:-]{1,64}$/.test(value) ? value : undefined;
}

export interface Frame {
  readonly path: string;
  readonly line: number;
  readonly column: number;
  /** All three, relative to the project. */
  readonly at: string;
}

/** The frames of an error's stack, without those of packages and of Node, innermost first. */
export function framesOf(thrown: unknown): Frame[] {
  const stack = memberOf(thrown, "stack");
  const message = memberOf(thrown, "message");
  if (typeof stack !== "string" || typeof message !== "string") return [];
  // The message comes first, and may hold lines that look like frames; only what follows it is V8's. If the message was
  // changed later, the stack holds the earlier one, and its frames cannot be separated from it.
  const start = stack.indexOf(message);
  if (start === -1) return [];
  const after = start + message.length;
  const lines = stack.slice(after, after + 16_384).split("\n");
  return lines.flatMap((line) => frameIn(line) ?? []);
}

/** The frame in a line of a stack. */
function frameIn(text: string): Frame | undefined {
  const pattern = /^ {4}at (?:async )?(?:[^()]{0,200}\()?(?:file:\/\/)?(\/[^()]{1,400}):(\d+):(\d+)\)?$/;
  const [, path, line, column] = pattern.exec(text) ?? [];
  if (!path || path.includes("/node_modules/")) return undefined;
  const file = clean(path.slice(-160))?.replace(/^\/.*\/((?:functions|lib|dist|test)\/)/, "$1");
  return { path, line: Number(line), column: Number(column), at: `${file}:${line}:${column}` };
}
