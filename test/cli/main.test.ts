import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { promisify } from "node:util";
import { command, projectFolder, temporaryRoot } from "./run.ts";

const { version, bin, scripts } = JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")) as {
  version: string;
  bin: { larkpost: string };
  scripts: Readonly<Record<string, string>>;
};
const help = (name: string) => ({ when: `${name} --help`, args: [name, "--help"], code: 0, says: /^Usage: larkpost/ });
const names = [
  ...["start", "chat", "simulate", "worker", "long-connection", "send", "new", "card", "types", "check"],
  ...["generate", "package", "deploy", "secrets", "events", "trace", "logs", "dead", "cost", "scale", "build"],
];

test("the bin is what npm calls, and prints its version; what Node compiles for it is kept", async () => {
  const env = { PATH: process.env["PATH"], NODE_DEBUG_NATIVE: "COMPILE_CACHE" };
  const args = [join(projectFolder, bin.larkpost), "--version"];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env });
  assert.equal(stdout, `${version}\n`);
  // Node strips the types of each file that is not in there, and loads what it does that with.
  assert.match(stderr, /cache .*file:.*\/lib\/cli\/main\.ts/);
  for (const name of names) assert.equal(scripts[name], `node ${bin.larkpost} ${name}`);
});

const endings: readonly { when: string; args: string[]; code: number; says: RegExp }[] = [
  { when: "the help of all", args: ["--help"], code: 0, says: /0 done, 1 failed or refused, 2 called wrongly/ },
  ...names.map(help),
  { when: "no command", args: [], code: 2, says: /^Usage: larkpost/ },
  {
    when: "an unknown command",
    args: ["strat"],
    code: 2,
    says: /^There is no command "strat"\. Did you mean "start"\?/,
  },
  {
    when: "a command of several without its option",
    args: ["dead", "drop", "x"],
    code: 2,
    says: /^Run "npm run dead -- drop --help" for options and examples\.$/m,
  },
  {
    when: "an option whose variable is not set",
    args: ["dead", "list", "--stage", ""],
    code: 2,
    says: /^--stage is empty\. If it comes from a variable of the shell, set that\n$/,
  },
  { when: "the same after =", args: ["start", "--state="], code: 2, says: /^--state is empty\. / },
  { when: "an empty id", args: ["trace", ""], code: 2, says: /^An argument is empty\. / },
  {
    when: "help for an unknown command",
    args: ["help", "sned"],
    code: 2,
    says: /^There is no command "sned"\. Did you mean "send"/,
  },
  {
    when: "help for an unknown part",
    args: ["dead", "help", "lst"],
    code: 2,
    says: /^There is no command "dead lst"\. Did you/,
  },
  { when: "a command that is near none", args: ["foo"], code: 2, says: /^There is no command "foo"\. Commands: / },
  {
    when: "an id where a command of several belongs",
    args: ["dead", "5e3702a84e847582be8db7fb73283c02"],
    code: 2,
    says: /^There is no command "dead 5e37\w+"\. Commands: list, show, redrive, run, drop\n$/,
  },
  { when: "an unknown option before a command", args: ["--bogus"], code: 2, says: /unknown option '--bogus'/ },
  ...[
    "start",
    "chat",
    "simulate",
    "worker",
    "long-connection",
    "send",
    "new",
    "types",
    "generate",
    "secrets",
    "build",
    "package",
  ].map((name) => ({
    when: `an unknown option of ${name}`,
    args: [name, "--bogus"],
    code: 2,
    says: /unknown option '--bogus'/,
  })),
  {
    when: "an unknown command of secrets",
    args: ["secrets", "sett"],
    code: 2,
    says: /^There is no command "secrets sett"\. Did you mean "set"\?/,
  },
  { when: "an argument that is missing", args: ["new"], code: 2, says: /missing required argument 'type'/ },
  {
    when: "a number of cost",
    args: ["cost", "--events", "1e"],
    code: 2,
    says: /argument '1e' is invalid\. It is a number/,
  },
  { when: "a front that there is none of", args: ["cost", "--front", "cdn"], code: 2, says: /choices are httpApi/ },
  { when: "no rate", args: ["scale"], code: 2, says: /required option '--rate <number>' not specified/ },
  ...[
    ["--rate", "0", /'0' is invalid\. It is a number above 0/],
    ["--minutes", "1441", /'1441' is invalid\. It is at most 1440/],
    ["--seed", "1.5", /'1\.5' is invalid\. It is a whole number/],
    ["--preset", "lagre", /choices are small, busy, large/],
    ["--quota", "concurency=5", /"concurency" is no quota\. Did you mean "concurrency"\?/],
    ["--quota", "concurrency", /'concurrency' is invalid\. It is a number above 0/],
  ].map(([option = "", value = "", says = /./]) => ({
    when: `${option} ${value} of scale`,
    args: ["scale", "--rate", "1", String(option), String(value)],
    code: 2,
    says: says as RegExp,
  })),
  {
    when: "a rate that holds",
    args: ["scale", "--rate", "20", "--minutes", "1"],
    code: 0,
    says: /^20 .*\n.*\n\nHolds: /,
  },
  {
    when: "a rate that breaks a preset",
    args: ["scale", "--rate", "2e4", "--minutes", "1", "--preset", "busy", "--front", "functionUrl"],
    code: 1,
    says: /functionUrl, with the preset busy\n(.*\n)*Breaks first: [\s\S]* limits\.\w+ +[\dnul,]+ → [\d,]+\n/,
  },
  { when: "an option's value that is wrong", args: ["start", "--port", "x"], code: 2, says: /Check --port\n$/ },
  ...[
    ["chat", "--wait", "12345678"],
    ["secrets", "set", "--stage", "x", "--overlap-hours", "12345"],
    ["send", "app_ticket", "--times", "12345678"],
    ["send", "app_ticket", "--repush", "--speed", "1.2345"],
  ].flatMap((args) =>
    [...args.slice(-1), "x1", "1x"].map((value) => ({
      when: `${value} as a number of ${args[0]}`,
      args: [...args.slice(0, -1), value],
      code: 2,
      says: new RegExp(`^Cannot .*"${value}"`),
    })),
  ),
  {
    when: "an option of osls that is mistyped",
    args: ["deploy", "--stage", "x", "--regoin", "eu-west-1"],
    code: 2,
    says: /unknown option '--regoin'\n\(Did you mean --region\?\)/,
  },
  ...["--package", "-p", "--package=y", "-p=y"].map((option) => ({
    when: `a packaged folder to deploy, ${option}`,
    args: ["deploy", "--stage", "x", option, ...(option.endsWith("=y") ? [] : ["y"])],
    code: 2,
    says: /^Cannot deploy a packaged folder/,
  })),
  ...[
    ["package", "prod"],
    ["package", "--", "--verbose", "--name=x", "prod"],
    ["package", "--", "--verbose", "prod"],
    ["package", "--", "--", "prod"],
    ...["deploy", "remove", "rollback"].map((name) => [name, "--stage", "dev", "prod"]),
  ].map((args) => ({
    when: `a word that is no option, ${args.join(" ")}`,
    args,
    code: 2,
    says: /^Cannot take "prod": it is no option\. Did you mean --stage prod\?\n$/,
  })),
  ...["--stage", "-s=prod", "--region", "--param=a=b", "-c", "--aws-profile"].map((option) => ({
    when: `${option} behind the second --`,
    args: ["deploy", "--stage", "dev", "--", option, "x"],
    code: 2,
    says: /^Cannot pass -\S+ on to osls\. Write it before the second --\n$/,
  })),
  { when: "something that is not found", args: ["types", "nothing-like-it"], code: 1, says: /^No type has/ },
  { when: "nobody to talk to", args: ["chat"], code: 1, says: /^Cannot chat: nothing listens/ },
];
for (const { when, args, code, says } of endings) {
  test(`exits with ${code} for ${when}`, async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    const ended = await command(args, { env: { LARKPOST_ROOT: root } });
    assert.match(ended.stdout + ended.stderr, says);
    assert.equal(ended.code, code);
  });
}

test("without its packages, the command line and what npm runs before the tests say what to run, and nothing else", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  // As npm's scripts find it in a new clone, on this Node or on an older one.
  const folder = join(root, "lib/cli");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(root, "package.json"), '{ "type": "module" }');
  for (const file of ["check-node.js", "larkpost.js"]) {
    cpSync(join(projectFolder, "lib/cli", file), join(folder, file));
    const ended = promisify(execFile)(process.execPath, [join(folder, file)], { env: {} });
    await assert.rejects(ended, {
      code: 1,
      stdout: "",
      stderr: 'Cannot run: the packages are not installed. Run "npm ci" first\n',
    });
  }
});

test("ends without a word when its reader has read enough, as with | head and 2>&1 | head", async () => {
  const run = (args: string[]) =>
    spawn(process.execPath, [join(projectFolder, bin.larkpost), ...args], { stdio: ["ignore", "pipe", "pipe"] });
  // Of what is called wrongly, the help of all commands is the longest, and takes a second: it loads them.
  const [child, wrong] = [run(["types"]), run(["--bogus"])];
  child.stdout.destroy();
  wrong.stderr.destroy();
  const ends = [text(child.stderr), once(child, "close"), once(wrong, "exit")] as const;
  const [stderr, [code], [codeOfWrong]] = await Promise.all(ends);
  assert.deepEqual([stderr, code, codeOfWrong], ["", 0, 2]);
});

test("where there is no project, new, check, start and secrets say so and write nothing, and status finds no code", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  for (const args of [["new", "contact.user.created_v3"], ["check"], ["start"], ["secrets", "show", "--stage", "x"]]) {
    const { code, stderr } = await command(args, { env: {}, cwd: root });
    assert.match(stderr, /^There is no project: neither /);
    assert.equal(code, 1);
  }
  const { stdout } = await command(["status"], { env: {}, cwd: root });
  assert.match(stdout, /^ {2}Code {7}none in this folder$/m);
  assert.deepEqual(readdirSync(root), []);
});

test("refuses an option that npm has taken, and no other that npm knows", async () => {
  const run = async (args: string[], env: NodeJS.ProcessEnv) => {
    const npm_lifecycle_event = args[0];
    const { code, stderr } = await command(args, { env: { npm_lifecycle_event, ...env } });
    return { code, taken: /^npm has taken .*\n$/.exec(stderr)?.[0] };
  };
  const taken = (start: string, option: string) => ({
    code: 2,
    taken: `npm has taken ${option}. Write it after --: npm run ${start} ${option} …\n`,
  });
  const other = { npm_config_yes: "true", npm_config_json: "false", npm_config_package: "x", npm_config_send: "true" };
  const refusals = await Promise.all([
    run(["deploy", "--stage", "prod"], { npm_config_dry_run: "true" }),
    run(["deploy", "--stage", "prod", "--front"], { npm_config_probe: "" }),
    run(["dead", "list"], { npm_config_json: "true" }),
    run(["dead", "list", "--json", "--state", "none"], { ...other, npm_config_json: "true" }),
    run(["dead", "list", "--state", "none"], { ...other, npm_lifecycle_event: "mine", npm_config_state: "true" }),
    run(["cost", "--frozen"], { npm_config_probe: "" }),
  ]);
  const [one, two, three, ...none] = refusals;
  assert.deepEqual(
    [one, two, three],
    [taken("deploy --", "--dry-run"), taken("deploy --", "--no-probe"), taken("dead -- list", "--json")],
  );
  assert.deepEqual(
    none.map((each) => each.taken),
    [undefined, undefined, undefined],
  );
});

for (const file of ["test/bench/main.ts", "test/soak.ts", "test/runtime-client.ts"]) {
  test(`${file} ends as every command does: 2 for an unknown option, 0 for its version`, async () => {
    const run = (option: string) => command([option], { script: join(projectFolder, file), env: {} });
    assert.deepEqual(await run("--bogus"), { code: 2, stdout: "", stderr: "error: unknown option '--bogus'\n" });
    assert.deepEqual(await run("--version"), { code: 0, stdout: `${version}\n`, stderr: "" });
  });
}

test("card shows a card and each of its faults with its place, and exits with 1 if Feishu refuses it", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  const elements = [
    { tag: "markdown", content: "Pallet 17" },
    { tag: "note", elements: [] },
  ];
  const faulty = { schema: "2.0", config: { wide_screen_mode: true }, body: { elements } };
  const file = join(root, "card.json");
  const check = async (card: unknown, ...args: string[]) => {
    writeFileSync(file, JSON.stringify(card));
    return command(["card", file, ...args], { env: { LARKPOST_ROOT: root } });
  };
  const { code, stdout } = await check(faulty);
  const pages = "    https://open.feishu.cn/document/feishu-cards";
  assert.equal(code, 1);
  assert.equal(
    stdout,
    `│ Pallet 17
✖ 200861 ROOT -> body -> elements -> [1](tag: note)  cards of schema V2 no longer support this capability: unsupported tag note
${pages}/card-json-v2-breaking-changes-release-notes
! ROOT -> config  version 2.0 has no wide_screen_mode in config
${pages}/card-json-v2-structure
`,
  );
  const right = await check({ msg_type: "interactive", content: JSON.stringify({ elements: [] }) }, "--json");
  assert.deepEqual([right.code, JSON.parse(right.stdout)], [0, { faults: [], warnings: [] }]);
  const none = await check([]);
  assert.deepEqual([none.code, none.stderr], [2, `Cannot read ${file}: it is JSON, but not an object\n`]);
  const missing = await command(["card", `${file}.no`], { env: { LARKPOST_ROOT: root } });
  assert.deepEqual([missing.code, missing.stderr], [2, `Cannot read ${file}.no: there is no such file\n`]);
  writeFileSync(file, "\ufeff{");
  assert.match(
    (await command(["card", file], { env: { LARKPOST_ROOT: root } })).stderr,
    /: it is not JSON \(.*position 1/,
  );
  for (const around of [
    { toast: { content: "Done" }, card: { type: "raw", data: faulty } },
    { msg_type: "interactive", card: faulty },
  ]) {
    assert.equal((await check(around)).stdout, stdout);
  }
  writeFileSync(file, `{"elements":${"[".repeat(20_000)}${"]".repeat(20_000)}}`);
  const input = JSON.stringify(faulty);
  const read = async (from: string) => command(["card", from], { env: { LARKPOST_ROOT: root }, input });
  assert.equal((await read("-")).stdout, stdout);
  assert.match((await read(file)).stdout, /^✖ 200621 ROOT {2}.*: not an object of JSON\n/);
  assert.match((await read(root)).stderr, /^Cannot read .*: it cannot be opened \(EISDIR\)\n$/);
});

test("cost prints the bill of the project's own limits", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  writeFileSync(join(root, "larkpost.config.js"), "export default { limits: { batchSize: 5 } };\n");
  const { stdout } = await command(["cost", "--events", "2e6", "--json"], { env: { LARKPOST_ROOT: root } });
  const { bills, ...asked } = JSON.parse(stdout) as { bills: { batch: number; parts: Record<string, number> }[] };
  assert.deepEqual(asked, {
    ...{ events: 2e6, handlerMs: 200, front: "httpApi", dedupe: "required", region: "us-east-1" },
    ...{ prices: "2026-11-28", currency: "USD" },
  });
  assert.deepEqual(
    bills.map(({ batch, parts }) => [
      batch,
      parts["HTTP API: requests"],
      parts["SQS: send, receive, delete"]?.toFixed(3),
    ]),
    [
      [5, 2, "1.120"],
      [1, 2, "2.400"],
    ],
  );
});

test("scale simulates the project's own limits, with the quotas that it is told", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  writeFileSync(join(root, "larkpost.config.js"), 'export default { preset: "busy", limits: { routeBurst: 7 } };\n');
  const args = ["scale", "--rate", "30", "--minutes", "1", "--quota", "concurrency=9", "parameterReads=8", "--json"];
  const { stdout, code } = await command(args, { env: { LARKPOST_ROOT: root } });
  const { now, quota, quotas } = JSON.parse(stdout) as {
    now: { limits: { name: string; limit: number }[]; holds: boolean; cost: number; events: number };
    quota: object;
    quotas: string;
  };
  const limitOf = (name: string) => now.limits.find((one) => one.name === name)?.limit;
  assert.deepEqual(quota, { concurrency: 9, parameterReads: 8 });
  assert.equal(quotas, "2026-11-28");
  assert.deepEqual(["route", "mapping", "concurrency", "parameters"].map(limitOf), [2_000, 50, 9, 8]);
  assert.equal(code, now.holds ? 0 : 1);
  assert.ok(now.events > 1_500 && now.cost > 0);
});

test("the project is the nearest folder upwards with a serverless.yml, else the current one", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  const inner = join(root, "functions/events");
  mkdirSync(inner, { recursive: true });
  writeFileSync(join(inner, "app_ticket.ts"), "");
  const isSeen = async () => {
    const { stdout } = await command(["types", "app_ticket", "--json"], { env: {}, cwd: inner });
    return (JSON.parse(stdout) as { hasHandler: boolean }[])[0]?.hasHandler;
  };
  assert.equal(await isSeen(), false);
  writeFileSync(join(root, "serverless.yml"), "");
  assert.equal(await isSeen(), true);
});
