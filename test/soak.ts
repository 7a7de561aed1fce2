import { styleText } from "node:util";
import { InvalidArgumentError } from "commander";
import { script } from "./support/script.ts";

const paint = (style: "green" | "red" | "dim", text: string) => styleText(style, text, { stream: process.stdout });

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("It is a whole number above 0.");
  return Number(text);
}

const program = script("soak")
  .description("run rows of the reliability catalogue with their full figures; npm test runs a sample of each")
  .option("--row <id...>", "rows to run, by id; all of them without it")
  .option("--seed <n>", "the same seed gives the same run", wholeNumber, Math.floor(Math.random() * 1_000_000) + 1)
  .option(
    "--cases, --events <n>",
    "another number of cases than the full figure; events, in the row FAULTS",
    wholeNumber,
  )
  .option("--list", "list the rows and their figures")
  .addHelpText("after", "\nExample: npm run soak -- --row V8 --seed 42")
  .parse();
const options = program.opts<{ row?: string[]; seed: number; events?: number; list?: boolean }>();
// Loaded here: what runs rows takes a second, and is in the way of --help.
const [
  { rows: sampled },
  { slowCallbackRows },
  { coldRows },
  { faultRows },
  { longConnectionSoakRows },
  { runtimeRows },
  { scaleRows },
  { signatureRows },
] = await Promise.all([
  import("./rows/all.ts"),
  import("./rows/callback.ts"),
  import("./rows/cold.ts"),
  import("./rows/faults.ts"),
  import("./rows/long-connection.ts"),
  import("./rows/runtime.ts"),
  import("./rows/scale.ts"),
  import("./rows/signature.ts"),
]);
const rows = [
  ...sampled,
  ...slowCallbackRows,
  ...runtimeRows,
  ...longConnectionSoakRows,
  ...coldRows,
  ...faultRows,
  ...scaleRows,
  ...signatureRows,
];

if (options.list === true) {
  for (const { id, title, full, sample } of rows) {
    console.log(`${id.padEnd(6)} ${String(full).padStart(9)}  ${title} (sample ${sample})`);
  }
} else {
  const asked = options.row?.map((id) => id.toUpperCase());
  const chosen = asked === undefined ? rows : rows.filter(({ id }) => asked.includes(id));
  const unknown = asked?.filter((id) => !rows.some((row) => row.id === id)) ?? [];
  if (unknown.length > 0) {
    program.error(`There is no row ${unknown.join(", ")}. Rows: ${rows.map(({ id }) => id).join(" ")}`, {
      exitCode: 2,
    });
  }
  let failures = 0;
  for (const row of chosen) {
    const n = options.events ?? row.full;
    const startMs = performance.now();
    let toldMs = startMs;
    const progress = (done: number) => {
      if (performance.now() - toldMs < (process.stdout.isTTY ? 250 : 10_000)) return;
      toldMs = performance.now();
      const text = `${row.id}  ${done} of ${n}`;
      process.stdout.write(process.stdout.isTTY ? `\r${paint("dim", text)}` : `${text}\n`);
    };
    try {
      const said = await row.run({ n, seed: options.seed, progress });
      console.log(
        `${process.stdout.isTTY ? "\r" : ""}${paint("green", "holds")}  ${row.id}  ${row.title}: ${n} cases, seed ${options.seed}, ${seconds(startMs)}`,
      );
      if (said) console.log(`       ${said}`);
    } catch (error) {
      failures++;
      console.log(
        `${process.stdout.isTTY ? "\r" : ""}${paint("red", "fails")}  ${row.id}  ${row.title}: seed ${options.seed}, ${seconds(startMs)}`,
      );
      console.error(error);
    }
  }
  process.exit(failures === 0 ? 0 : 1);
}

function seconds(startMs: number): string {
  return `${((performance.now() - startMs) / 1000).toFixed(1)} s`;
}
