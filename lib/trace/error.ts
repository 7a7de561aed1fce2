import { codeVersion, isOriginalName, placeOf } from "./places.ts";
import { type ErrorSummary, framesOf, summarize, word } from "./thrown.ts";

/** What a log line and a dead letter have of an error. `at` is the innermost place of the user's code, if there is one. */
export interface ErrorDescription extends ErrorSummary {
  /** Equal for errors of one class at the same places of the user's code, whatever their messages and the release. */
  readonly fingerprint: string;
  /** Up to five places of the user's code, from `at` outwards, if there are several. */
  readonly frames?: readonly string[] | undefined;
  /** Up to four errors: each the cause of one before, or one of an AggregateError's. */
  readonly causes?: readonly ErrorSummary[] | undefined;
  readonly codeVersion?: string | undefined;
}

/** Total, as {@link summarize} is, also for causes in a circle. */
export function describeError(thrown: unknown): ErrorDescription {
  const errors = new Set([thrown]);
  // A set is visited to its end, also what is added meanwhile.
  for (const error of errors) for (const cause of causesOf(error)) if (errors.size < 5) errors.add(cause);
  const all = [...errors].map(inspect);
  const [{ places: own, ...summary }, ...causes] = all as [Inspected, ...Inspected[]];
  // V8 gives the errors of `fetch` and of `Promise.any` no frames. Their causes have a code, and may have frames.
  const codes = own.length > 0 ? [] : causes.map(({ errorClass, errorCode }) => `${errorClass} ${errorCode}`);
  const places = all.find((error) => error.places.length > 0)?.places ?? own;
  return {
    ...summary,
    at: places[0]?.at ?? summary.at,
    // To group log lines by, and not for security.
    fingerprint: process
      .getBuiltinModule("node:zlib")
      .crc32([summary.errorClass, ...codes, ...places.map(({ key }) => key)].join("\n"))
      .toString(16)
      .padStart(8, "0"),
    frames: places.length > 1 ? places.map(({ at }) => at) : undefined,
    causes: causes.length > 0 ? causes.map(({ places: _, ...cause }) => cause) : undefined,
    codeVersion: codeVersion(),
  };
}

function causesOf(error: unknown): unknown[] {
  try {
    const errors = error instanceof AggregateError ? error.errors.slice(0, 4) : [];
    return [error instanceof Error ? error.cause : undefined, ...errors].filter((cause) => cause !== undefined);
  } catch {
    return [];
  }
}

type Inspected = ReturnType<typeof inspect>;

function inspect(thrown: unknown) {
  const summary = summarize(thrown, process.env["LOG_ERROR_MESSAGES"] === "true" || undefined);
  const places = framesOf(thrown).flatMap((frame) => placeOf(frame) ?? []);
  // Our own errors name the handler's file, if no frame of theirs is in it: a deadline, a wrong export.
  const file = /\bfunctions\/[\w./-]+\.ts\b/.exec(summary.message ?? "")?.[0];
  if (places.length === 0 && file !== undefined) places.push({ at: file, key: file });
  return {
    ...summary,
    errorClass: classOf(thrown) ?? summary.errorClass,
    at: places[0]?.at ?? summary.at,
    places: places.slice(0, 5),
  };
}

/** The nearest class of the user's. The names of Node's classes say no more than `name`. */
function classOf(thrown: unknown): string | undefined {
  try {
    let type = thrown instanceof Error ? thrown : null;
    for (let depth = 0; depth < 9; depth++, type = Object.getPrototypeOf(type)) {
      const name = word(Object(type).constructor.name);
      if (name !== undefined && isOriginalName(name)) return name in globalThis ? undefined : name;
    }
  } catch {}
  return undefined;
}
