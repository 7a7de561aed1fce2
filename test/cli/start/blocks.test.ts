import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createBlocks } from "../../../lib/cli/start/blocks.ts";
import { testClock } from "../../support/clock.ts";

const type = "im.message.receive_v1";

function blocks({ isQuiet = false } = {}) {
  const clock = testClock();
  const lines: string[] = [];
  const print = (text: string) =>
    void lines.push(...text.split("\n").map((line) => line.replace(/^\d\d:\d\d:\d\d/, "T")));
  const made = createBlocks({ print, clock, isQuiet, showCommand: "npm run dead -- show" });
  const line = (id: string, stage: string, facts: object = {}, details: readonly string[] = []) =>
    made.line({ level: "info", id, type, stage, ...facts }, details, false);
  return { ...made, clock, lines, line };
}

/** The printed outcomes of each kind, counted ones as well. */
function outcomesOf(lines: readonly string[]) {
  const counts: Record<string, number> = {};
  for (const line of lines) {
    const counted = /^T {2}\d+ events? +(.*?)(?: {2}|$)/.exec(line)?.[1]?.matchAll(/(\d+) ([a-z]+)/g);
    const [, own = ""] = /^T {2}([a-z]+) +im\./.exec(line) ?? [];
    for (const [, count, stage = ""] of counted ?? [["", "1", own]])
      counts[stage] = (counts[stage] ?? 0) + Number(count);
  }
  const { "": _, ...named } = counts;
  return named;
}

describe("blocks", () => {
  test("print one for each event: the outcome, its error, and what led to it, also of events at the same time", () => {
    const { line, bot, lines } = blocks();
    line("1", "queued", { ms: 4 });
    line("2", "queued", { ms: 5 });
    line("1", "started", { ms: 9 });
    bot("bot said     to whom, of two?");
    line("2", "failed", { level: "warn", ms: 7 }, ["          Error: x"]);
    line("1", "log", { message: "A text arrived" });
    bot("bot said     hello");
    line("1", "handled", { ms: 14 });
    assert.deepEqual(lines, [
      "T  bot said     to whom, of two?",
      `T  failed       ${type}  2  7 ms`,
      "          Error: x",
      "          queued       5 ms",
      `T  handled      ${type}  1  14 ms`,
      "          queued       4 ms",
      "          started      9 ms",
      "          log          A text arrived",
      "          bot said     hello",
    ]);
  });

  test("what comes from the webhook after the worker's outcome opens no block", async () => {
    const { line, lines, clock } = blocks();
    line("1", "unhandled");
    line("1", "queued", { ms: 4 });
    await clock.advance(5_000);
    assert.deepEqual(lines, [`T  unhandled    ${type}  1`]);
  });

  test("an event without an outcome for a second is shown, and its outcome has what came since", async () => {
    const { line, bot, lines, clock } = blocks();
    line("1", "queued", { ms: 4 });
    line("1", "started", { ms: 9 });
    await clock.advance(1_000);
    bot("bot said     hello");
    line("1", "handled", { ms: 1_500 });
    assert.deepEqual(lines, [
      `T  queued       ${type}  1  4 ms`,
      "          started      9 ms",
      `T  handled      ${type}  1  1500 ms`,
      "          bot said     hello",
    ]);
  });

  test("an error that leaks after the outcome has its lines, and what to do", async () => {
    const { line, lines, clock } = blocks();
    line("1", "handled");
    const details = ["          Error: late: x", "          at functions/events/x.ts:1:2"];
    line("1", "leaked", { level: "error", errorClass: "Error", message: "late: x" }, details);
    await clock.advance(1_000);
    const cure = "a promise was not awaited, or a timer threw: await it, or catch in the timer";
    assert.deepEqual(lines, [`T  handled      ${type}  1`, `T  leaked       ${type}  1  ${cure}`, ...details]);
  });

  test("an error that leaks and fails the run has its lines once; another one has its own", () => {
    const { line, lines } = blocks();
    const detailsOf = (text: string) => [`          Error: ${text}`, "          at functions/events/x.ts:1:2"];
    for (const text of ["one", "two"]) line("1", "leaked", { level: "error", errorClass: "Error" }, detailsOf(text));
    line("1", "failed", { level: "warn", errorClass: "Error" }, detailsOf("one"));
    const cure = "          leaked       a promise was not awaited, or a timer threw: await it, or catch in the timer";
    assert.deepEqual(lines, [`T  failed       ${type}  1`, ...detailsOf("one"), cure, cure, ...detailsOf("two")]);
  });

  test("what came is a part of the event's block", () => {
    const { line, payload, lines } = blocks();
    payload("1", '{\n  "a": 1\n}');
    line("1", "handled");
    assert.deepEqual(lines.slice(1), ["          {", '            "a": 1', "          }"]);
  });

  for (const { title, perSecond } of [
    { title: "in a few seconds", perSecond: 100 },
    { title: "on a slow machine", perSecond: 8 },
  ]) {
    test(`500 events ${title} take at most 20 lines, with every outcome and each fault once`, async () => {
      const { line, bot, lines, stop, clock } = blocks();
      const waiting = 6;
      for (let n = 0; n < 500 + waiting; n++) {
        if (n < 500) line(String(n), "queued");
        const id = String(n - waiting);
        if (n < waiting) continue;
        line(id, "started");
        bot("bot said     hello");
        if (n % 10 === 0) line(id, "failed", { level: "warn", fingerprint: "0a" }, ["          Error: x"]);
        else line(id, "handled");
        await clock.advance(1_000 / perSecond);
      }
      stop();
      assert.ok(lines.length <= 20, lines.join("\n"));
      assert.deepEqual(outcomesOf(lines), { handled: 450, failed: 50 });
      assert.equal(lines.filter((shown) => shown.includes("Error: x")).length, 1);
    });
  }

  test("events that wait at the same time are load from the first outcome on, and after a calm second it is over", async () => {
    const { line, lines, clock } = blocks();
    for (const id of ["1", "2", "3", "4", "5"]) line(id, "started");
    for (const id of ["1", "2", "3", "4", "5"]) line(id, "handled");
    await clock.advance(1_000);
    await clock.advance(1_000);
    line("6", "handled");
    assert.deepEqual(lines, ["T  5 events     5 handled", `T  handled      ${type}  6`]);
  });

  test("three outcomes a second and four events at the same time are no load; load ends with a second of two", async () => {
    const { line, lines, clock } = blocks();
    for (const id of ["1", "2", "3", "4"]) line(id, "started");
    for (const id of ["1", "2", "3", "4"]) line(id, "handled");
    await clock.advance(1_000);
    for (const id of ["5", "6", "7"]) line(id, "handled");
    await clock.advance(1_000);
    for (const id of ["8", "9"]) line(id, "handled");
    await clock.advance(1_000);
    line("10", "handled");
    const shown = ["1", "2", "3"].flatMap((id) => [`T  handled      ${type}  ${id}`, "          started    "]);
    const counted = ["T  1 event      1 handled", "T  3 events     3 handled", "T  2 events     2 handled"];
    assert.deepEqual(lines, [...shown, ...counted, `T  handled      ${type}  10`]);
  });

  test("events that were shown before they ended do not count as waiting", async () => {
    const { line, lines, clock } = blocks();
    for (const id of ["1", "2", "3", "4", "5"]) line(id, "started");
    await clock.advance(1_000);
    line("6", "handled");
    assert.deepEqual(lines.slice(-2), [`T  started      ${type}  5`, `T  handled      ${type}  6`]);
  });

  test("under load, events that have waited or run for a second are counted", async () => {
    const { line, lines, clock } = blocks();
    for (let id = 0; id < 26; id++) line(String(id), "queued");
    line("0", "started");
    for (const id of ["100", "101", "102", "103", "104"]) line(id, "handled");
    await clock.advance(1_000);
    line("1", "started");
    await clock.advance(1_000);
    const [counted, shown] = ["T  31 events    5 handled, 1 started, 25 queued", `T  started      ${type}  1`];
    assert.deepEqual(lines.slice(-2), [counted, shown]);
  });

  test("of a thousand closed events, what comes late opens no block; of one before them, it does", async () => {
    const { line, lines, clock } = blocks({ isQuiet: true });
    for (let n = 0; n < 1_000; n++) line(String(n), "handled");
    const late = async () => {
      lines.length = 0;
      line("0", "queued", { level: "warn", message: "late" });
      await clock.advance(9_000);
      return lines.filter((shown) => shown.includes("late")).length;
    };
    assert.equal(await late(), 0);
    line("1000", "handled");
    assert.equal(await late(), 1);
  });

  test("with --quiet, only faults have blocks; the rest is counted", async () => {
    const { line, bot, lines, clock } = blocks({ isQuiet: true });
    line("1", "handled");
    line("2", "log", { level: "warn", message: "slow" });
    line("2", "handled");
    line("3", "dead", { level: "error", errorClass: "Named" }, ["          Error: x"]);
    line("4", "dead", { level: "error", errorClass: "Other", fingerprint: "0b" });
    await clock.advance(1_000);
    bot("bot said     hello");
    await clock.advance(1_000);
    assert.deepEqual(lines, [
      `T  handled      ${type}  2`,
      "          log          slow",
      `T  dead         ${type}  3`,
      "          Error: x",
      "          npm run dead -- show 3",
      `T  dead         ${type}  4  errorClass Other`,
      "          npm run dead -- show 4",
      "T  1 event      1 handled",
      "T  0 events     the bot sent or changed 1 message",
    ]);
  });
});
