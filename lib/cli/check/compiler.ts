import { existsSync, globSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { posix, within } from "../project.ts";
import { runScript } from "../script.ts";
import type { Finding } from "./finding.ts";

/**
 * What the compiler says of the project's functions. One syntax error makes it silent about all types, so then it is
 * asked again without the files that have one.
 */
export async function checkTypes(
  root: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Finding[]> {
  const config = ["functions/tsconfig.json", "tsconfig.json"].find((file) => existsSync(join(root, file)));
  if (config === undefined) return [];
  const findings = await compile(root, join(root, config), signal);
  const unreadable = new Set(findings.filter(({ message }) => isSyntax.test(message)).map(({ file }) => file));
  if (unreadable.size === 0) return findings;
  // The lists and the entries import every handler, so they would bring the broken files along.
  const files = globSync("functions/*/**/*.ts", { cwd: root })
    .map(posix)
    .filter((file) => !unreadable.has(file));
  if (files.length === 0) return findings;
  const partial = join(root, "node_modules/.cache/larkpost/tsconfig.json");
  mkdirSync(dirname(partial), { recursive: true });
  const paths = files.map((file) => join(root, file));
  writeFileSync(partial, JSON.stringify({ extends: join(root, config), files: paths, include: [] }));
  const rest = await compile(root, partial, signal);
  return [...findings, ...rest.filter(({ file }) => !unreadable.has(file))];
}

/** TS10xx and TS11xx are about syntax; TS1294 is the option that keeps to what Node strips. */
const isSyntax = /\(TS1[01]\d\d\)/;
/** With these, Node cannot load the file either: its syntax, an enum, a module that is not there. */
const isFatal = /^TS(1[01]\d\d|1294|2307|2882)$/;

async function compile(root: string, config: string, signal: AbortSignal | undefined): Promise<Finding[]> {
  const require = createRequire(join(root, "package.json"));
  const packageFile = require.resolve("typescript/package.json");
  const { bin } = require(packageFile) as { bin: { tsc: string } };
  const tsc = join(dirname(packageFile), bin.tsc);
  const args = ["--noEmit", "--pretty", "false", "--project", config];
  const { code, output } = await runScript(tsc, args, { root, isQuiet: true, signal });
  if (code === 0 || signal?.aborted === true) return [];
  const findings = findingsIn(root, output);
  if (findings.length > 0) return findings;
  const shown = within(root, config);
  return [{ part: "types", file: shown, message: `the compiler failed: ${output.trim().slice(0, 2_000)}` }];
}

/** `functions/events/x.ts(12,7): error TS2322: …`, with lines that go on. */
function findingsIn(root: string, output: string): Finding[] {
  const findings: (Finding & { message: string })[] = [];
  for (const line of output.split(/\r?\n/)) {
    const [, path, at, column, code, message] = /^(.+)\((\d+),(\d+)\): error (TS\d+): (.*)/.exec(line) ?? [];
    if (path !== undefined) {
      const file = within(root, join(root, path));
      const isBroken = isFatal.test(code ?? "");
      findings.push({
        part: "types",
        file,
        line: Number(at),
        column: Number(column),
        message: `${withExtension(join(root, path), message)} (${code})${cure(message)}`,
        isBroken,
      });
    } else if (/^\s+\S/.test(line)) {
      const last = findings.at(-1);
      if (last !== undefined) last.message += `\n${line.trim()}`;
    } else if (/^error TS/.test(line)) {
      findings.push({ part: "types", file: "functions/tsconfig.json", message: line });
    }
  }
  return findings;
}

/** The compiler means the compiled file, and Node runs this one. */
function withExtension(importer: string, message = ""): string {
  return message.replace(/(Did you mean '(\..+)\.)js'\?$/, (whole, start, name) =>
    existsSync(join(dirname(importer), `${name}.ts`)) ? `${start}ts'?` : whole,
  );
}

/** The compiler does not know what the platform has, and what Node strips. */
function cure(message = ""): string {
  if (message.includes("parameter of type 'EventType'")) {
    return '. Declare its payload: declare module "larkpost" { interface EventTypes { … } }; npm run new writes that';
  }
  if (message.startsWith("Cannot find module")) {
    return ". Create or install it, or correct the import, in which capital letters count";
  }
  return message.includes("'erasableSyntaxOnly'") ? ". Node only strips types: write an enum as a constant object" : "";
}
