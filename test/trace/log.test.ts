import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ConfigError, NonRetryableError, UnauthenticatedError } from "../../lib/errors.ts";
import { clean } from "../../lib/trace/clean.ts";
import { describeError } from "../../lib/trace/error.ts";
import { jsonLines, levelOf, toLine } from "../../lib/trace/log.ts";
import type { Level, TraceEntry } from "../../lib/trace/trace.ts";
import { testClock } from "../support/clock.ts";
import { anyCharacter } from "../support/unicode.ts";

function logger(level: Level = "info", startMs = 0) {
  const lines: string[] = [];
  const clock = testClock(startMs);
  const log = jsonLines({ level, clock, write: (line) => lines.push(line) });
  return {
    lines,
    clock,
    log: (entry: TraceEntry) => void log(entry),
    parsed: () => lines.map((line) => JSON.parse(line)),
  };
}

/** All of lib/trace/trace.ts but `refused`, of which a minute has a hundred lines. */
const stages = [
  ...["misconfigured", "stale-keys", "received", "challenged", "queued", "quarantined", "misdirected", "unavailable"],
  ...[
    "answered",
    "connected",
    "disconnected",
    "ignored",
    "started",
    "called",
    "duplicate",
    "busy",
    "unhandled",
    "handled",
  ],
  ...["deferred", "late", "failed", "dead", "leaked", "lease-lost", "log"],
] as TraceEntry["stage"][];

const queued: TraceEntry = {
  stage: "queued",
  level: "info",
  id: "event-1",
  type: "t",
  app: "cli_a",
  ms: 1.6,
  requestId: null,
};
const refused: TraceEntry = { stage: "refused", level: "warn", facts: { reason: "signature" } };

describe("the log of a sample", () => {
  const entry = (
    id: string | undefined,
    stage: TraceEntry["stage"],
    facts = {},
    level: Level = "info",
  ): TraceEntry => ({
    ...{ stage, level, type: "t", app: "cli_a", facts },
    ...(id === undefined ? {} : { id }),
  });
  const linesOf = (sampleRate: number | undefined, entries: readonly TraceEntry[]) => {
    const lines: TraceEntry[] = [];
    const write = (line: string) => lines.push(JSON.parse(line));
    const log = jsonLines({ level: "debug", write, ...(sampleRate === undefined ? {} : { sampleRate }) });
    for (const one of entries) log(one);
    return lines;
  };
  const ids = Array.from({ length: 1_000 }, (_, index) => createHash("md5").update(`${index}`).digest("hex"));

  test("has queued and handled of as many events as it is told, and of the same ones", () => {
    for (const rate of [undefined, 1, 0.5, 0.1, 0]) {
      const [queued, handled] = (["queued", "handled"] as const).map((stage) =>
        linesOf(
          rate,
          ids.map((id) => entry(id, stage)),
        ).map(({ id }) => id),
      );
      assert.deepEqual(queued, handled);
      assert.ok(Math.abs((queued?.length ?? 0) / ids.length - (rate ?? 1)) < 0.04, `${rate}: ${queued?.length}`);
    }
  });

  test("leaves out nothing that is counted, that belongs to a failure, or that is no event's", () => {
    const kept = [
      ...stages.filter((stage) => stage !== "queued" && stage !== "handled").map((stage) => entry("a1", stage)),
      entry("a1", "handled", { attempt: 2 }),
      entry("a1", "queued", {}, "warn"),
      entry(undefined, "handled"),
    ];
    assert.equal(linesOf(0, kept).length, kept.length);
    assert.deepEqual(linesOf(0, [entry("a1", "queued"), entry("a1", "handled", { attempt: 1 })]), []);
  });
});

describe("a log line", () => {
  test("says stage, id, type, app and whole milliseconds, then the facts", () => {
    const { log, parsed } = logger();
    log({ ...queued, facts: { size: 5, isIt: true, none: undefined } });
    assert.deepEqual(parsed(), [
      { level: "info", stage: "queued", id: "event-1", type: "t", app: "cli_a", ms: 2, size: 5, isIt: true },
    ]);
  });

  test("is left out below the level", () => {
    const all: Level[] = ["debug", "info", "warn", "error"];
    for (const [at, level] of all.entries()) {
      const { log, lines } = logger(level);
      for (const one of all) log({ ...queued, level: one });
      assert.equal(lines.length, all.length - at);
    }
  });

  test("knows the levels in any case, and takes any other word for info", () => {
    assert.deepEqual(["debug", " DEBUG ", "Warn", "error"].map(levelOf), ["debug", "debug", "warn", "error"]);
    assert.deepEqual(["", "trace", "silly", undefined, "debug,info"].map(levelOf), Array(5).fill("info"));
  });

  test("C-48: is one line of JSON, whatever the platform's texts hold", () => {
    const text = fc.string({ unit: anyCharacter, maxLength: 300 });
    const dangerous = fc.oneof(
      text,
      fc.constantFrom("a\r\nb", "\u001b[31m", "\u2028", "\u202eabc", '"}\n{"', "\0", "x".repeat(1_000_000)),
    );
    fc.assert(
      fc.property(dangerous, dangerous, dangerous, (id, type, requestId) => {
        const { log, lines } = logger();
        log({ ...queued, id, type, app: id, requestId, facts: { reason: type, message: id } });
        const [line = "", ...more] = lines;
        assert.deepEqual(more, []);
        assert.match(line, /^[^\n]*\n$/);
        const printed = JSON.parse(line) as Record<string, string>;
        for (const name of ["id", "type", "app", "requestId"]) assert.ok((printed[name] ?? "").length <= 128);
        for (const value of Object.values(printed))
          assert.doesNotMatch(String(value), /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
      }),
      { seed: 51, numRuns: 100 },
    );
  });

  test("C-48: cuts an id at 128 characters, and no character in half", () => {
    assert.equal(clean("x".repeat(1_000_000))?.length, 128);
    assert.equal(clean(`${"x".repeat(127)}\u{1f44b}`), "x".repeat(127));
    assert.equal(clean(null), undefined);
    assert.equal(clean(undefined), undefined);
  });
});

describe("refusals", () => {
  test("C-64: over a hundred a minute are counted, and the count told in the next minute", async () => {
    const { log, clock, parsed } = logger("info", 60_000 * 1000);
    for (let i = 0; i < 1000; i++) log(refused);
    assert.equal(parsed().length, 100);
    await clock.advance(60_000);
    log(refused);
    assert.deepEqual(parsed().slice(100), [
      { level: "warn", stage: "refused", unprinted: 900 },
      { level: "warn", stage: "refused", reason: "signature" },
    ]);
  });

  test("C-64: below that are all printed, and no other stage is ever held back", async () => {
    const { log, clock, parsed } = logger("info", 60_000 * 1000);
    for (let minute = 0; minute < 3; minute++) {
      for (let i = 0; i < 100; i++) log(refused);
      await clock.advance(60_000);
    }
    for (let i = 0; i < 500; i++) log(queued);
    assert.equal(parsed().length, 800);
    assert.ok(parsed().every((line) => !("unprinted" in line)));
  });
});

describe("an error in the log", () => {
  const payload = "PAYLOAD-1a2b";
  const messagesOf = (thrown: unknown) => {
    const { message, causes = [] } = describeError(thrown);
    return [message, ...causes.map((cause) => cause.message)];
  };

  test("C-69: is told by class, code and place, never by what it says", () => {
    const error = Object.assign(new TypeError(`${payload}\n    at /${payload}/x.ts:1:1`), { code: "ECONNRESET" });
    const described = describeError(error);
    assert.equal(described.errorClass, "TypeError");
    assert.equal(described.errorCode, "ECONNRESET");
    assert.match(described.at ?? "", /^test\/trace\/log\.test\.ts:\d+:\d+$/);
    for (const folder of ["/home/a", "C:/Users/a", "/home/a%23b%3Fc%20d", "D:/a%20b"]) {
      const elsewhere = new Error("x");
      const url = `file://${folder.startsWith("/") ? "" : "/"}${folder}/functions/events/x.ts:3:5`;
      elsewhere.stack = `Error: x\n    at handle (${url})\n    at node:internal/x:1:1`;
      assert.equal(describeError(elsewhere).at, "functions/events/x.ts:3:5", folder);
    }
    assert.ok(!JSON.stringify(toLine({ stage: "failed", level: "error", error })).includes(payload));
  });

  test("C-69: stays silent of its text when the message was changed after it was thrown", () => {
    const error = new Error(`first\n    at ${payload} (/${payload}/functions/${payload}.ts:1:1)`);
    // V8 writes the stack when it is first read: from then on it holds the old text.
    assert.ok(error.stack?.includes(payload));
    error.message = "another text";
    assert.ok(!JSON.stringify(describeError(error)).includes(payload));
    const wrapped = new Error(`first\n    at /${payload}/x.ts:1:1`);
    assert.ok(wrapped.stack?.includes(payload));
    wrapped.message = `Cannot send: ${wrapped.message}`;
    assert.ok(!JSON.stringify(describeError(wrapped)).includes(payload));
    Object.defineProperty(error, "message", { value: { an: "object" } });
    assert.ok(!JSON.stringify(describeError(error)).includes(payload));
  });

  test("C-69: keeps its members and an odd code to itself, and what its causes say", () => {
    const cause = Object.assign(new TypeError(payload), { code: "ECONNRESET" });
    const error = Object.assign(new NonRetryableError(payload, { cause }), { body: payload, details: [payload] });
    const described = describeError(error);
    assert.equal(described.errorCode, "NON_RETRYABLE");
    assert.deepEqual(
      described.causes?.map(({ errorClass, errorCode }) => [errorClass, errorCode]),
      [["TypeError", "ECONNRESET"]],
    );
    assert.ok(!JSON.stringify(described).includes(payload));
    const codeOf = (code: unknown) => describeError(Object.assign(new Error("x"), { code })).errorCode;
    const texts = [
      payload,
      payload.toUpperCase(),
      "A".repeat(65),
      "A".repeat(25),
      "ORDER_1234567",
      "",
      { toString: () => "A1" },
    ];
    for (const code of [...texts, 5, 600, 1234, 503.5, 5n]) assert.equal(codeOf(code), undefined, String(code));
    const codes = ["UND_ERR_CONNECT_TIMEOUT", "42P01", "23505", "EX2", "A".repeat(24), 100, 404, 599];
    assert.deepEqual(codes.map(codeOf), codes.map(String));
  });

  test("has one fingerprint for one place, whatever it says, and another for another class", () => {
    // One place makes them all, so that message and class alone can differ.
    const [first, ...others] = [
      new Map<string, typeof Error>([
        ["a", Error],
        ["b", Error],
        ["a\n    at /x/y.ts:1:1", Error],
      ]),
      new Map([["a", TypeError]]),
    ].flatMap((made) => [...made].map(([message, of]) => describeError(new of(message)).fingerprint));
    assert.deepEqual([others[0], others[1]], [first, first]);
    assert.notEqual(others[2], first);
    assert.match(first ?? "", /^[0-9a-f]{8}$/);
  });

  test("C-69: says its message if its class declares it safe, or a setting asks for all; cut and cleaned as a field is", (t) => {
    class OutOfStock extends Error {
      readonly isMessageSafe = true;
    }
    const text = `Pallet 17\n\u202e${"x".repeat(1_000)}`;
    const printed = `Pallet 17${"x".repeat(501)}`;
    const cause = new Error(text);
    assert.deepEqual(messagesOf(new OutOfStock(text, { cause })), [printed, undefined]);
    assert.deepEqual(messagesOf(new ConfigError("Cannot start: APP_ID is empty")), ["Cannot start: APP_ID is empty"]);
    process.env["LOG_ERROR_MESSAGES"] = "true";
    t.after(() => delete process.env["LOG_ERROR_MESSAGES"]);
    assert.deepEqual(messagesOf(new Error(text, { cause: new Error("x") })), [printed, "x"]);
  });

  test("names the class, or what the name says beyond it", () => {
    class HrServiceDown extends Error {}
    class OrderGone extends NonRetryableError {}
    const named = Object.assign(new Error("x"), { name: "ThrottlingException" });
    const thrown = [
      new HrServiceDown(),
      new OrderGone("x"),
      named,
      new DOMException("x", "AbortError"),
      new (class extends OrderGone {})("x"),
    ];
    assert.deepEqual(
      thrown.map((error) => describeError(error).errorClass),
      ["HrServiceDown", "OrderGone", "ThrottlingException", "AbortError", "OrderGone"],
    );
  });

  test("without frames of its own, as a failed fetch is, has its cause's place, and a fingerprint for each code", () => {
    const failed = (cause: object) => {
      const error = new TypeError("fetch failed", { cause });
      error.stack = `TypeError: ${error.message}`;
      return describeError(error);
    };
    const coded = (code: string) => Object.assign(new Error("no way"), { code, stack: "Error: no way" });
    const prints = ["ECONNREFUSED", "ENOTFOUND", "ENOTFOUND"].map((code) => failed(coded(code)).fingerprint);
    assert.equal(new Set(prints).size, 2);
    const placed = new Error("no way");
    const { at, causes } = failed(placed);
    assert.match(at ?? "", /^test\/trace\/log\.test\.ts:\d+:\d+$/);
    assert.equal(at, causes?.[0]?.at);
    assert.notEqual(failed(placed).fingerprint, failed(new Error("no way")).fingerprint);
  });

  test("of several, as Promise.any throws it, has the first one's place, and each of them is a cause", async () => {
    class Off extends Error {}
    const errors = [new Off(payload), new RangeError(payload), new Error(payload), new Off(payload), new Off(payload)];
    const thrown = await Promise.any(errors.map((error) => Promise.reject(error))).catch((error: unknown) => error);
    const { errorClass, at, causes, fingerprint } = describeError(thrown);
    assert.deepEqual([errorClass, at], ["AggregateError", describeError(errors[0]).at]);
    assert.deepEqual(
      causes?.map((cause) => cause.errorClass),
      ["Off", "RangeError", "Error", "Off"],
    );
    assert.notEqual(fingerprint, describeError(new AggregateError([new Off()])).fingerprint);
  });

  test("lists up to four causes, also in a circle", () => {
    const circle = new Error("x");
    circle.cause = new TypeError("x", { cause: circle });
    assert.deepEqual(
      describeError(circle).causes?.map(({ errorClass }) => errorClass),
      ["TypeError"],
    );
    const endless = new Error("x");
    Object.defineProperty(endless, "cause", { get: () => Object.create(endless) });
    assert.equal(describeError(endless).causes?.length, 4);
    assert.equal(describeError(new Error("x", { cause: undefined })).causes, undefined);
    assert.deepEqual(
      describeError(new Error("x", { cause: "text" })).causes?.map(({ errorClass }) => errorClass),
      ["string"],
    );
  });

  test("V8: can be anything that was thrown", () => {
    const hostile = new Proxy(
      {},
      {
        get: () => {
          throw new Error(payload);
        },
        getPrototypeOf: () => Error.prototype,
      },
    );
    const throwing = Object.defineProperties(new Error("x"), {
      stack: {
        get() {
          throw new Error(payload);
        },
      },
      name: {
        get() {
          throw new Error(payload);
        },
      },
    });
    const things = [
      undefined,
      null,
      0,
      "text",
      Symbol("s"),
      5n,
      {},
      [],
      () => {},
      Object.freeze(new Error("x")),
      throwing,
      hostile,
      Object.assign(new Error("x"), {
        stack: "    at f (/x.ts:1:1)\n".repeat(200_000),
        constructor: { name: payload },
      }),
      Object.assign(new Error("x"), { cause: hostile }),
      Object.assign(new AggregateError([]), { errors: hostile }),
      Object.assign(new Error("x"), { cause: throwing, name: "" }),
      Object.create(null),
      new Error(""),
    ];
    for (const thing of things) {
      const { errorClass, fingerprint } = describeError(thing);
      assert.match(errorClass, /^[\w.:-]{1,64}$/);
      assert.match(fingerprint, /^[0-9a-f]{8}$/);
      const { log, lines } = logger();
      log({ stage: "failed", level: "error", error: thing });
      assert.equal(lines.length, 1);
      assert.ok(JSON.stringify(describeError(thing)).length < 2_000);
    }
  });

  test("is told with our own sentence when it is a refusal", () => {
    const error = new UnauthenticatedError("token", "Cannot verify the request: …");
    const line = toLine({ ...refused, error, facts: { reason: error.reason, message: error.message } });
    assert.deepEqual(
      [line["reason"], line["message"], line["errorClass"]],
      ["token", error.message, "UnauthenticatedError"],
    );
  });
});

test("a pipe that is full loses no line, cuts none and changes no order", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-log-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "reads");
  const count = 2_000;
  const child = fork(join(import.meta.dirname, "../fixtures/full-pipe.ts"), [file, String(count)], {
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  t.after(() => child.kill());
  await once(child, "message");
  const ids: unknown[] = [];
  for await (const line of createInterface({ input: child.stdout ?? assert.fail() })) {
    ids.push(JSON.parse(line).id);
    if (ids.length === 200) writeFileSync(file, "");
  }
  assert.deepEqual(
    ids,
    Array.from({ length: count }, (_, n) => `event-${n}`),
  );
});
