import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { allCommands, stalePages } from "../docs/command-line.ts";
import { alarmResources } from "../infra/alarms.js";
import { alarmThresholds, limits, optional } from "../infra/limits.js";
import { billsOf, toText } from "../lib/cli/cost/cost.ts";
import { use } from "../lib/cli/cost/model.ts";
import { type Lack, regions } from "../lib/cli/deploy/regions.ts";
import type { EventType } from "../lib/handler.ts";
import { verdictOf } from "../lib/open-api/verdicts.ts";
import { contextFor, withOpenApi } from "../lib/testing/context.ts";
import { toLine } from "../lib/trace/log.ts";
import { longConnection } from "./infra/connected.ts";
import { deployment } from "./infra/deployment.ts";
import { readPage, rowCells } from "./support/markdown.ts";
import { pageProjects, pairs } from "./support/pages.ts";
import { codeIsJudged, tscArguments } from "./support/types.ts";

const root = resolve(import.meta.dirname, "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const { scripts } = JSON.parse(read("package.json")) as { scripts: Readonly<Record<string, string>> };

const pages = new Map(pairs.flat().map((path) => [path, readPage(read(path))]));
const page = (path: string) => pages.get(path) ?? assert.fail(`There is no page ${path}`);

test("every page is there in both languages, with the same headings, code and tables", () => {
  const translated = pairs.slice(1).map(([, chinese]) => chinese);
  assert.deepEqual(globSync("docs/zh-CN/*.md", { cwd: root }).sort(), translated);
  for (const [english, chinese] of pairs) {
    const levels = (path: string) => page(path).headings.map(({ level }) => level);
    assert.deepEqual(levels(chinese), levels(english), `headings of ${chinese}`);
    assert.deepEqual(page(chinese).blocks, page(english).blocks, `code of ${chinese}`);
    assert.deepEqual(page(chinese).tables, page(english).tables, `tables of ${chinese}`);
  }
});

test("every row of a table has as many cells as its head", () => {
  for (const [path, { tables }] of pages) {
    for (const rows of tables) assert.deepEqual([...new Set(rows)], rows.slice(0, 1), `a table of ${path}`);
  }
});

test("bold text begins and ends where Markdown sees it: not with punctuation that touches a letter outside", () => {
  const wrong: string[] = [];
  for (const path of pages.keys()) {
    const prose = read(path).replaceAll(/^ *```[\s\S]*?^ *```$/gm, "");
    for (const [, before, bold = "", after] of prose.matchAll(
      /([\p{L}\p{N}])?\*\*([^*\n]+)\*\*(?=([\p{L}\p{N}])?)/gu,
    )) {
      const touches =
        (before !== undefined && /^[\p{P}`]/u.test(bold)) || (after !== undefined && /[\p{P}`]$/u.test(bold));
      if (touches) wrong.push(`${path}: ${bold}`);
    }
  }
  assert.deepEqual(wrong, []);
});

const invitations = [
  { readme: "README.md", folder: "docs" },
  { readme: "README.zh-CN.md", folder: "docs/zh-CN" },
];
for (const { readme, folder } of invitations) {
  test(`${readme} has at most 150 lines, and leads to every page of ${folder}`, () => {
    assert.ok(read(readme).trimEnd().split("\n").length <= 150);
    const missing = new Set(globSync(`${folder}/*.md`, { cwd: root }));
    for (const link of page(readme).links) missing.delete(link);
    assert.deepEqual([...missing], []);
  });
}

test("every link leads to a file and a heading that exist", () => {
  const broken: string[] = [];
  for (const [path, { links }] of pages) {
    for (const link of links) {
      if (/^https?:/.test(link)) continue;
      const [file = "", anchor] = decodeURIComponent(link).split("#");
      const target = file === "" ? path : relative(root, resolve(root, dirname(path), file));
      const headings = pages.get(target)?.headings ?? [];
      const isFound = anchor === undefined || headings.some((heading) => heading.anchor === anchor);
      if (!isFound || !existsSync(join(root, target))) broken.push(`${path}: ${link}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every file of the engine that is named in code font, and each in the tree of rooms, exists", () => {
  const wrong: string[] = [];
  for (const [path, { spans }] of pages) {
    const named = spans.filter((span) => /^(lib|infra|test|docs)\/[\w/.-]+$/.test(span));
    const files = path.endsWith("inside.md") ? [...named, ...filesOfTree(read(path))] : named;
    for (const file of files) {
      if (!existsSync(join(root, file))) wrong.push(`${path}: ${file}`);
    }
  }
  assert.deepEqual(wrong, []);
});

/** The paths in the drawing of the rooms: names at the margin, and those in `lib/` two columns further. */
function filesOfTree(markdown: string): string[] {
  const tree = /```text\n(functions\/[\s\S]*?)```/.exec(markdown)?.[1] ?? "";
  const lines = [...tree.matchAll(/^( *)([\w./-]+?)\/?(?: {2,}|$)/gm)];
  assert.ok(lines.length > 10, "the tree was found");
  return lines.map(([, indent = "", name = ""]) => (indent === "" ? name : `lib/${name}`));
}

test("every command in a sh block, and every npm or cp command in code font, exists with its options", async () => {
  const known = await allCommands();
  const wrong: string[] = [];
  for (const [path, { blocks, spans }] of pages) {
    const typed = blocks.filter(({ language }) => language === "sh").map(({ code }) => code);
    const named = spans.filter((span) => /^(\w+=\S+ )*(npm|cp) /.test(span));
    for (const line of [...typed, ...named].flatMap(commandLines)) {
      const fault = faultOf(line, known);
      if (fault !== undefined) wrong.push(`${path}: ${line}: ${fault}`);
    }
  }
  assert.deepEqual(wrong, []);
});

/** The commands of a block: without comments and settings before them, each part of a pipe or chain alone. */
function commandLines(code: string): string[] {
  return code
    .replaceAll("\\\n", " ")
    .split("\n")
    .map((line) => line.replace(/(^|\s)#.*$/, ""))
    .flatMap((line) => line.split(/&&|\||;/))
    .map((line) => line.trim().replace(/^(\w+=\S+\s+)+/, ""))
    .filter((line) => line !== "");
}

const shell = ["printf", "echo", "cd", "git"];

/** What of a command does not exist; `undefined` when all of it does. */
function faultOf(line: string, known: ReadonlyMap<string, Command>): string | undefined {
  const [program = "", ...words] = line.split(/\s+/);
  if (program === "npm") return faultOfNpm(words, known);
  const files = { cp: words[0], docker: words[words.indexOf("-f") + 1] };
  const file = program === "cp" || (program === "docker" && words.includes("-f")) ? files[program] : undefined;
  if (file !== undefined) return existsSync(join(root, file)) ? undefined : file;
  return shell.includes(program) || program === "docker" ? undefined : program;
}

function faultOfNpm(words: readonly string[], known: ReadonlyMap<string, Command>): string | undefined {
  const [verb = "", ...rest] = words.filter((word) => word !== "--silent" && word !== "…");
  if (verb === "ci" || verb === "install") return undefined;
  const [script, ...given] = verb === "run" ? rest : [verb, ...rest];
  if (script === undefined) return undefined;
  const source = scripts[script];
  if (source === undefined) return script;
  const separator = given.indexOf("--");
  if (separator !== 0) return given.length === 0 ? undefined : `${script} without "--" before ${given[0]}`;
  const name = /lib\/cli\/larkpost\.js (.+)$/.exec(source)?.[1];
  return name === undefined ? undefined : faultOfArguments(name, given.slice(1), known);
}

/** Options of osls that `package` and `deploy` pass on. */
const passedOn = ["--param", "--region"];

function faultOfArguments(name: string, args: readonly string[], known: ReadonlyMap<string, Command>) {
  let path = name;
  for (const [index, word] of args.entries()) {
    if (known.get(path)?.commands.length && !word.startsWith("-")) path += ` ${word}`;
    const command = known.get(path);
    if (command === undefined) return path;
    const [option = ""] = word.split("=");
    if (!option.startsWith("--") || option === "--help" || command.options.some(({ long }) => long === option))
      continue;
    if ((path !== "package" && path !== "deploy") || !passedOn.includes(option)) return `${path} ${option}`;
    const param = option === "--param" ? (args[index + 1]?.split("=")[0] ?? "") : undefined;
    if (param !== undefined && !read("serverless.yml").includes(`\n    ${param}: `)) return `--param ${param}`;
  }
  return undefined;
}

test("code with a file name compiles against the public faces, and so does every import", async (t) => {
  const { folder, remove } = await pageProjects();
  t.after(remove);
  // `npm test` has it compiled with the other types.
  if (process.env[codeIsJudged] === undefined) assert.deepEqual(compile(folder), []);

  await t.test("the poll on the page about lanes ends, with the answers that are beside it", async (t) => {
    const exportOf = async (file: string) =>
      ((await import(pathToFileURL(join(folder, "pages/docs-lanes-md", file)).href)) as { default: never }).default;
    const { handle, deferred: look }: Poll = await exportOf("functions/events/approval_instance.ts");
    const { event, context, deferred, deferredContext, logged } = contextFor("approval_instance" as EventType);
    const { context: calling, simulator } = await withOpenApi(t, context);
    simulator.setAnswers([await exportOf("test/simulated/drive.ts")]);
    await handle(event, calling);
    for (let looks = 0; looks < deferred.length && looks < 40; looks++) {
      await look(deferred[looks]?.payload, { ...deferredContext, request: calling.request });
    }
    assert.deepEqual(
      logged.map(({ message, fields }) => [message, fields]),
      [["The export is done", { looks: 3 }]],
    );
  });
});

interface Poll {
  readonly handle: (event: unknown, context: unknown) => Promise<void>;
  readonly deferred: (payload: unknown, context: unknown) => Promise<void>;
}

/** @returns The compiler's errors. */
function compile(folder: string): string[] {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const ran = spawnSync(process.execPath, [tsc, ...tscArguments([], [folder])], { cwd: folder, encoding: "utf8" });
  return `${ran.stdout}${ran.stderr}`.split("\n").filter((line) => line !== "");
}

test("every setting in .env.example is on the page of settings", () => {
  const names = [...read(".env.example").matchAll(/^# ?([A-Z_]+)=/gm)].map(([, name = ""]) => name);
  assert.ok(names.length > 5);
  const known = (name: string) => read("docs/settings.md").includes(`| \`${name}\` |`);
  // The last one is an example of a name that larkpost.config.js lists.
  assert.deepEqual(
    names.filter((name) => !known(name)),
    ["CRM_TOKEN"],
  );
});

test("the pages hold what --help and `npm run scale` print; `npm run docs` writes them", async () => {
  assert.deepEqual(
    (await stalePages()).map(({ file }) => file),
    [],
  );
});

test("the picture shows what the bot of the samples says", () => {
  assert.match(read("docs/picture/start.svg"), /bot said {5}You said: is pallet 17 on its way\?/);
});

for (const path of ["docs/settings.md", "docs/zh-CN/settings.md"]) {
  test(`${path} lists every number of infra/limits.js with its default`, () => {
    const rows = read(path)
      .split("\n")
      .filter((line) => /^\| `\w+` \| (null|\d+) \|/.test(line));
    const listed = rows
      .map(rowCells)
      .map(([name = "", value = ""]) => [name.slice(1, -1), JSON.parse(value) as unknown]);
    assert.deepEqual(Object.fromEntries(listed), { ...limits, ...optional, ...alarmThresholds });
  });
}

for (const path of ["docs/troubleshooting.md", "docs/zh-CN/troubleshooting.md"]) {
  test(`${path} lists every code that a call of the Open API is judged by, each with its group where it has one`, () => {
    const judged = read("lib/open-api/verdicts.ts").match(/\b\d{4,8}\b(?=[,\]\s])/g) ?? [];
    const rows = read(path)
      .split("\n")
      .filter((line) => /^\| \d/.test(line))
      .map(rowCells);
    const listed = new Set(rows.flatMap(([codes = ""]) => codes.match(/\d+/g) ?? []));
    assert.deepEqual(
      judged.filter((code) => !listed.has(code)),
      [],
    );
    const grouped = rows.filter((cells) => cells.length === 4);
    assert.ok(grouped.length > 10);
    for (const [codes = "", group = ""] of grouped) {
      const isOfTokens = /[(（]/.test(codes);
      for (const code of codes.match(/\d+/g) ?? []) {
        const verdict = verdictOf(400, Number(code), isOfTokens ? "/open-apis/auth/v3/" : "");
        assert.equal(/any other|其他/.test(group) ? "unknown" : group, verdict, `${codes} of ${path}`);
      }
    }
  });
}

const alarmsOf = (resources: object) =>
  (Object.values(resources) as { Type: string; Properties: AlarmProperties }[])
    .filter(({ Type }) => Type === "AWS::CloudWatch::Alarm")
    .map(({ Properties }) => Properties);
interface AlarmProperties {
  readonly AlarmName: string;
  readonly AlarmDescription: string;
  readonly Metrics?: readonly { readonly MetricStat?: object }[];
}

for (const path of ["docs/where-to-deploy.md", "docs/zh-CN/where-to-deploy.md"]) {
  test(`${path} says of each region what it lacks`, () => {
    const named = [...read(path).matchAll(/^\| [^|`]+ \| ((?:`[\w-]+`(?:, |、)?)+) \|/gm)].map(([, names = ""]) =>
      [...names.matchAll(/`([\w-]+)`/g)].map(([, name]) => name),
    );
    const lacking = (lack: Lack) => [...regions].filter(([, lacks]) => lacks.includes(lack)).map(([name]) => name);
    for (const [index, lack] of (
      ["function-urls", "json-logs", "public-api", "pollers", "event-counts"] as const
    ).entries()) {
      assert.deepEqual(named[index]?.sort(), lacking(lack).sort(), lack);
    }
  });
}

test("every command in an alarm's text exists, and names the stage and its region", async () => {
  const known = await allCommands();
  const texts = alarmsOf(alarmResources({ ...deployment, region: "eu-central-1" })).map(
    ({ AlarmDescription }) => AlarmDescription,
  );
  const commands = new Set(
    texts.flatMap((text) => [...text.matchAll(/"(npm run [^"]+)"|npm run/g)].map(([, one]) => one)),
  );
  assert.ok(commands.size > 3);
  for (const line of commands) {
    assert.ok(line !== undefined, "a command without quotes");
    assert.equal(faultOf(line, known), undefined, line);
    assert.match(line, / --stage prod --region eu-central-1( |$)/);
  }
});

/** What says which lines of the log somebody is to look at, by the heading of the alarm. */
function looks(markdown: string): [alarm: string, look: string, todo: string][] {
  const sections = markdown.matchAll(/^### `([\w-]+)`.*\n\n.+\n\n- \S+?[:：] ?(.+)\n- \S+?[:：] ?(.+)/gm);
  return [...sections].map(([, alarm = "", look = "", todo = ""]) => [alarm, look, todo]);
}

for (const path of ["docs/operate.md", "docs/zh-CN/operate.md"]) {
  test(`${path} says what to do for every alarm, and the command that shows the lines to look at`, () => {
    const alarms = [...alarmsOf(alarmResources(deployment)), ...alarmsOf(longConnection().Resources)];
    const sections = looks(read(path));
    assert.deepEqual(
      sections.map(([name]) => `larkpost-prod-${name}`).sort(),
      alarms.map(({ AlarmName }) => AlarmName).sort(),
    );
    // `npm run logs -- --failed` has warnings and errors alone.
    const quiet = [...read(path).matchAll(/^\| (`\w+`(?:(?:, |、)`\w+`)*) \| (?:info|debug) \|/gm)].flatMap(
      ([, names = ""]) => names.match(/\w+/g) ?? [],
    );
    assert.ok(quiet.includes("busy") && quiet.includes("started"));
    for (const [name, look, todo] of sections) {
      const commands = [...look.matchAll(/`((?:npm run|aws) [^`]+)`/g)].map(([, one = ""]) => one);
      assert.ok(commands.length > 0, `${name}: no command`);
      const isQuiet = quiet.some((stage) => look.includes(`\`${stage}\``));
      const showsAll = commands.some((one) => /^npm run (logs|trace) /.test(one) && !one.includes("--failed"));
      assert.ok(!isQuiet || showsAll, `${name}: a line of level info is named`);
      assert.ok(
        !todo.includes("rollback") || todo.includes(" --to "),
        `${name}: rollback without --to changes nothing`,
      );
    }
    const commandsOf = (markdown: string) =>
      looks(markdown).map((section) => section.join().match(/`(?:npm run|aws) [^`]+`/g));
    assert.deepEqual(commandsOf(read(path)), commandsOf(read("docs/operate.md")));
  });
}

test("the bill is what `npm run cost` prints, and within what is promised", () => {
  const options = {
    events: 1e6,
    handlerMs: 200,
    front: "functionUrl",
    dedupe: "required",
    region: "us-east-1",
  } as const;
  const [full, single] = billsOf(options, limits);
  const sumOf = (given: object, changed = limits) => billsOf({ ...options, ...given }, changed)[0]?.sum ?? Number.NaN;
  assert.ok(full !== undefined && single !== undefined);
  const off = sumOf({ dedupe: "off" });
  assert.ok(full.sum <= 2.6 && off <= 1.8, `${full.sum}, ${off}`);
  const httpApi = sumOf({ front: "httpApi" });
  const figure = (usd: number) => Math.abs(usd).toFixed(2);
  for (const [readme, guarantees, operate] of [
    ["README.md", "docs/guarantees.md", "docs/operate.md"],
    ["README.zh-CN.md", "docs/zh-CN/guarantees.md", "docs/zh-CN/operate.md"],
  ] as const) {
    assert.ok(read(guarantees).includes(`\n${toText(options, [full, single])}\n`), guarantees);
    assert.match(read(readme), new RegExp(`\\| [^|]*${figure(full.sum)}[^|]*${figure(httpApi)}[^|]* \\|`));
    for (const part of [figure(httpApi - full.sum), figure(off)])
      assert.match(read(guarantees), new RegExp(`[ $]${part}`));
    const levers = [...read(operate).matchAll(/^\| .* \| ([−+])\$?(\d\.\d\d)\b.*?(?:−\$?(\d\.\d\d)\b.*)?\|$/gm)];
    assert.deepEqual(
      levers.map(([, sign, ...numbers]) => [sign, ...numbers.filter((number) => number !== undefined)]),
      [
        ["−", figure(httpApi - full.sum)],
        ["−", figure(full.sum - off)],
        ["+", figure(single.sum - full.sum)],
        ["−", figure(full.handlers / 2), figure(single.handlers / 2)],
        ["−", figure(full.sum - sumOf({}, { ...limits, webhookMemoryMb: 256 }))],
        ["−", figure(full.sum - sumOf({ logSampleRate: 0.1 }))],
      ],
    );
  }
});

test("the bill counts log lines as they are", () => {
  const line = { id: "5e3702a84e847582be8db7fb73283c02", type: "im.message.receive_v1", app: "cli_9f27c4e81b6d40a5" };
  const given = { ...line, level: "info", ms: 100, requestId: "20251128203419A1B2C3D4E5F6A7B8C9D0" } as const;
  for (const stage of ["queued", "started", "handled"] as const) {
    const facts = stage === "queued" ? {} : { attempt: 1 };
    const bytes = JSON.stringify(toLine({ ...given, stage, facts })).length + 1 + 26;
    assert.ok(Math.abs(bytes - use.lineBytes[stage]) <= 2, `${stage}: ${bytes}`);
  }
});

test("the bill counts the metrics of the alarms", () => {
  const metrics = (front: (typeof deployment)["front"]) =>
    alarmsOf(alarmResources({ ...deployment, front }))
      .map(({ Metrics }) => Metrics?.filter(({ MetricStat }) => MetricStat !== undefined).length ?? 1)
      .reduce((sum, count) => sum + count, 0);
  const [usual, withUrls] = [metrics("httpApi"), metrics("functionUrl")];
  assert.ok(read("docs/guarantees.md").includes(`${usual} alarm metrics (${withUrls} with Function URLs)`));
  assert.match(read("docs/zh-CN/guarantees.md"), new RegExp(`${usual} 个告警指标（[^）]*${withUrls} 个）`));
});
