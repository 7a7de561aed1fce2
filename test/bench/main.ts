import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { InvalidArgumentError } from "commander";
import { script } from "../support/script.ts";
import { compare, exitCode, type Row } from "./measure.ts";
import { profile } from "./profile.ts";
import { type Race, racesOf } from "./races.ts";
import { runRace } from "./run.ts";
import { type Surroundings, startSurroundings } from "./surroundings.ts";
import { table } from "./table.ts";

const compared = ["cold", "challenge", "open", "warm", "worker", "click"];
const all = [...compared, "zip", "scale"];

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("It is a whole number from 1 to 9999.");
  return Number(text);
}

const program = script("bench")
  .description("measure CPU, memory and size beside the least that could do the work, and beside what others use")
  .option("--only <name...>", `measure only some: ${all.join(", ")}`)
  .option("--quick", "a minute's worth: fewer rounds, and nothing about growth")
  .option("--rounds <n>", "rounds of each comparison, instead of its own number", wholeNumber)
  .option("--json <file>", "write the figures to a file, too")
  .option(
    "--profile <name>",
    "write a CPU profile instead, and print where ours takes more than what it is compared with",
  )
  .addHelpText(
    "after",
    `
Every round runs each contestant once, in turn. A ratio is the median of the rounds' own ratios: compare ratios, not
times, between machines. It exits with 1 when a row misses what it must be: when even the best quarter of its rounds is
over it (✗; with ≈ only the median is). Nothing leaves the machine.

Examples: npm run bench -- --only warm worker --rounds 41 --json bench.json
          npm run bench -- --profile cold`,
  )
  .parse();
const options = program.opts<{ only?: string[]; quick?: true; rounds?: number; json?: string; profile?: string }>();
const [names, asked] = options.profile === undefined ? [all, options.only ?? []] : [compared, [options.profile]];
const unknown = asked.filter((name) => !names.includes(name));
if (unknown.length > 0) program.error(`There is no ${unknown.join(", ")}. Names: ${names.join(" ")}`, { exitCode: 2 });

const surroundings = await startSurroundings();
try {
  const races = racesOf(surroundings);
  if (options.profile === undefined) await measure(races, surroundings);
  else {
    const race = races.find(({ name }) => name === options.profile) as Race;
    process.stdout.write(await profile(race, surroundings, progress));
  }
} finally {
  surroundings.stop();
}

async function measure(races: readonly Race[], surroundings: Surroundings): Promise<void> {
  const { only, quick = false, json } = options;
  const chosen = races.filter(({ name, isLong }) => only?.includes(name) ?? !(quick && isLong));
  const rows: Row[] = [];
  for (const [index, race] of chosen.entries()) {
    const what = `${index + 1}/${chosen.length} ${race.rows[0]?.what}`;
    const rounds = options.rounds ?? (quick ? Math.ceil(race.rounds / 3) : race.rounds);
    const samples = await runRace(race, surroundings, {
      rounds,
      share: quick ? 0.3 : 1,
      onRound: (round) => progress(`${what}: round ${round} of ${rounds}`),
    }).catch((error: Error) => {
      process.stderr.write(`${what} failed: ${error.message}\n`);
      return {};
    });
    rows.push(...race.rows.map((row) => compare(row, samples)));
  }
  progress("");
  process.stdout.write(table(rows));
  if (json !== undefined) {
    const machine = { node: process.version, cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length };
    writeFileSync(json, `${JSON.stringify({ ...machine, rows }, undefined, 2)}\n`);
  }
  process.exitCode = exitCode(rows);
}

/** One line that overwrites itself in a terminal; elsewhere a line for each thing measured. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`);
  else if (/: round 0 /.test(text)) process.stderr.write(`${text.replace(/: round .*/, "")}\n`);
}
