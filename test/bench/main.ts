import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { InvalidArgumentError } from "commander";
import { script } from "../support/script.ts";
import type { Row, SectionOptions } from "./measure.ts";
import type { Surroundings } from "./surroundings.ts";
import { table } from "./table.ts";

const sections = {
  cold: "Cold start (floor: cryptography and one TLS request, no SDK; peer: official SDK and client-sqs)",
  first: "CPU of the first event, given as soon as the module is loaded (peer: official SDK and client-sqs)",
  open: "Verify, decrypt, parse: CPU (floor: each step once, nothing checked; peer: official SDK)",
  warm: "Warm request until SQS has the event (floor: no SDK, no AWS signature; peer: official SDK and client-sqs)",
  record: "Worker record (floor: ours without a ledger; peer: Powertools idempotency)",
  callback:
    "Callback, its handler doing nothing (floor: verify, decrypt, parse alone; for a click: nothing remembered)",
};
type Section = keyof typeof sections;

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("It is a whole number from 1 to 9999.");
  return Number(text);
}

const program = script("bench")
  .description("measure cold start, CPU and the hot path, beside the least that could do it and what others use")
  .option("--only <name...>", `sections to run: ${Object.keys(sections).join(", ")}`)
  .option("--rounds <n>", "interleaved rounds; figures are medians over them", wholeNumber, 15)
  .option("--json <file>", "write the figures to a file, too")
  .option("--strict", "exit with 1 when a target is missed")
  .addHelpText(
    "after",
    `
Each ratio is the median of the rounds' ratios, with quartiles; compare ratios, not times, between machines.
A target stands behind its ratio. Nothing leaves the machine.

Example: npm run bench -- --only open warm --rounds 31 --json bench.json`,
  )
  .parse();
const options = program.opts<{ only?: string[]; rounds: number; json?: string; strict?: boolean }>();

const isSection = (name: string): name is Section => Object.hasOwn(sections, name);
const unknown = options.only?.filter((name) => !isSection(name)) ?? [];
if (unknown.length > 0) {
  const known = Object.keys(sections).join(" ");
  program.error(`There is no section ${unknown.join(", ")}. Sections: ${known}`, { exitCode: 2 });
}

const rows = await measure(options.only?.filter(isSection) ?? (Object.keys(sections) as Section[]));
const missed = rows.flatMap(({ ratios }) => ratios).filter(({ target }) => target?.isMet === false).length;
process.stdout.write(table(rows, new Map(Object.entries(sections))));
if (options.json !== undefined) {
  const machine = { node: process.version, cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length };
  writeFileSync(
    options.json,
    `${JSON.stringify({ ...machine, rounds: options.rounds, missed, rows }, undefined, 2)}\n`,
  );
}
process.exitCode = options.strict === true && missed > 0 ? 1 : 0;

async function measure(asked: readonly Section[]): Promise<Row[]> {
  const wants = (...names: Section[]) => names.some((name) => asked.includes(name));
  const given: SectionOptions = { rounds: options.rounds, progress };
  const rows: Row[] = [];
  // Loaded only when asked for: each brings SDKs along.
  if (wants("cold", "first", "warm", "record", "callback")) {
    const { startSurroundings } = await import("./surroundings.ts");
    const surroundings = await startSurroundings();
    try {
      rows.push(...(await measureProcesses(surroundings, wants, given)));
    } finally {
      surroundings.stop();
    }
  }
  if (wants("open")) {
    const { open } = await import("./open.ts");
    rows.push(...(await open(given)));
  }
  if (wants("callback")) {
    const { preview } = await import("./callback.ts");
    rows.unshift(...(await preview(given)));
  }
  progress("");
  const order = Object.keys(sections);
  return rows.toSorted((a, b) => order.indexOf(a.section) - order.indexOf(b.section));
}

async function measureProcesses(
  surroundings: Surroundings,
  wants: (...names: Section[]) => boolean,
  given: SectionOptions,
): Promise<Row[]> {
  const rows: Row[] = [];
  if (wants("cold", "first", "warm")) {
    const { buildWebhooks, cold, first } = await import("./cold.ts");
    const { warm } = await import("./warm.ts");
    const built = await buildWebhooks(surroundings);
    if (wants("cold")) rows.push(...(await cold(surroundings, built, given)));
    if (wants("first")) rows.push(...(await first(surroundings, built, given)));
    if (wants("warm")) rows.push(...(await warm(surroundings, built, given)));
  }
  if (wants("record")) {
    const { record } = await import("./warm.ts");
    rows.push(...(await record(surroundings, given)));
  }
  if (wants("callback")) {
    const { card } = await import("./callback.ts");
    rows.push(...(await card(surroundings, given)));
  }
  return rows;
}

/** One line that overwrites itself in a terminal; elsewhere a line for each thing measured. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`);
  else if (/: round 1 of|warming/.test(text)) process.stderr.write(`${text.replace(/: round .*/, "")}\n`);
}
