import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { find, nearestText } from "../../simulator/catalogue.ts";
import { engineRoot, posix, within } from "../project.ts";
import { runScript } from "../script.ts";
import type { Finding } from "./finding.ts";

/**
 * What the compiler says of the project's functions. One syntax error makes it silent about all types, so beside the run
 * that takes seconds another one looks for those alone. If there are some, the first is ended, and one takes its place
 * without the files that have them.
 */
export async function checkTypes(
  root: string,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<Finding[]> {
  const name = ["functions/tsconfig.json", "tsconfig.json"].find((file) => existsSync(join(root, file)));
  if (name === undefined) return [];
  const config = join(root, name);
  const silent = new AbortController();
  const readSyntax = async () => {
    const found = await compile(root, config, { options: syntaxAlone, signal });
    const faults = found.filter(({ message }) => isSyntax.test(message));
    if (faults.length > 0) silent.abort();
    return faults;
  };
  const signals = [silent.signal, signal].filter((each) => each !== undefined);
  const [faults, findings] = await Promise.all([
    readSyntax(),
    compile(root, config, { signal: AbortSignal.any(signals) }),
  ]);
  return faults.length === 0 ? findings : [...faults, ...(await compileOthers(root, config, { faults, signal }))];
}

/** Judges the syntax of the files that the configuration includes. Imports are not followed, since no types are judged. */
const syntaxAlone = ["--noResolve", "--noLib", "--types", ""];
/** TS10xx and TS11xx are about syntax; TS1294 is the option that keeps to what Node strips. */
const isSyntax = /\(TS1[01]\d\d\)/;

/** What the compiler says of the files without faults. */
async function compileOthers(
  root: string,
  config: string,
  { faults, signal }: { faults: readonly Finding[]; signal: AbortSignal | undefined },
): Promise<Finding[]> {
  const unreadable = new Set(faults.map(({ file }) => file));
  // The lists and the entries import every handler, so they would bring the broken files along.
  const files = globSync("functions/*/**/*.ts", { cwd: root })
    .map(posix)
    .filter((file) => !unreadable.has(file));
  if (files.length === 0) return [];
  const partial = join(root, "node_modules/.cache/larkpost/tsconfig.json");
  mkdirSync(dirname(partial), { recursive: true });
  const paths = files.map((file) => join(root, file));
  writeFileSync(partial, JSON.stringify({ extends: config, files: paths, include: [] }));
  const found = await compile(root, partial, { signal });
  return found.filter(({ file }) => !unreadable.has(file));
}

/** With these, Node cannot load the file either: its syntax, an enum, a module that is not there. */
const isFatal = /^TS(1[01]\d\d|1294|2307|2882)$/;

async function compile(
  root: string,
  config: string,
  { options = [], signal }: { options?: readonly string[]; signal: AbortSignal | undefined },
): Promise<Finding[]> {
  const require = createRequire(join(root, "package.json"));
  let packageFile: string;
  try {
    packageFile = require.resolve("typescript/package.json");
  } catch {
    const message = 'typescript is not installed, so no type can be checked. Run "npm ci", without --omit=dev';
    return [{ part: "types", file: "package.json", message }];
  }
  const { bin } = require(packageFile) as { bin: { tsc: string } };
  const tsc = join(dirname(packageFile), bin.tsc);
  const args = ["--noEmit", "--pretty", "false", "--project", config, ...options];
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

/** What the official SDK puts into the event, and where it is here. */
const ofContext = new Map([
  ["event_id", "id"],
  ["uuid", "id"],
  ["event_type", "type"],
  ["tenant_key", "tenant"],
  ["app_id", "app"],
  ["create_time", "createdAtMs"],
  ["ts", "createdAtMs"],
]);

/** The compiler does not know what the platform has, and what Node strips. */
function cure(message = ""): string {
  const [, type] = /^Argument of type '"(.*?)"' is not .* parameter of type 'EventType'/.exec(message) ?? [];
  if (type !== undefined) {
    const declaration = 'declare module "larkpost" { interface EventTypes { … } }; npm run new writes that';
    const verb = find(type) === undefined ? `${nearestText(type, 3)}. If the platform has it, declare` : ". Declare";
    return `${verb} its payload: ${declaration}`;
  }
  const [, member = ""] = /^Property '(\w+)' does not exist on type '.*\bEnvelopeV[12]\b/s.exec(message) ?? [];
  const known = ofContext.get(member);
  if (known !== undefined) return `. The handler's second argument, the context, has it: ${known}`;
  if (message.startsWith("Cannot find module 'larkpost/")) {
    const { exports } = JSON.parse(readFileSync(join(engineRoot, "package.json"), "utf8")) as { exports: object };
    const names = Object.keys(exports).map((face) => face.replace(".", "larkpost"));
    return `. Import from one of ${names.join(", ")}`;
  }
  if (message.startsWith("Cannot find module")) {
    return ". Create or install it, or correct the import, in which capital letters count";
  }
  return message.includes("'erasableSyntaxOnly'") ? ". Node only strips types: write an enum as a constant object" : "";
}
