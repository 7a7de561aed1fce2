import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { check } from "../../../lib/cli/check/check.ts";
import { checkTypes } from "../../../lib/cli/check/compiler.ts";
import { projectText } from "../../../lib/cli/check/engine-parts.ts";
import { type Finding, sorted } from "../../../lib/cli/check/finding.ts";
import { checkReferences } from "../../../lib/cli/check/references.ts";
import { checkConfig, checkSettings } from "../../../lib/cli/check/settings.ts";
import { runScript } from "../../../lib/cli/script.ts";
import { temporaryProject } from "../../support/project.ts";
import { until } from "../../support/until.ts";
import { larkpost, temporaryRoot } from "../run.ts";

const engine = resolve(import.meta.dirname, "../../..");

const good = (type: string, top = "") => `import { onEvent } from "larkpost";
${top}
export default onEvent("${type}", async () => {});
`;

/** Handlers that cannot run or are not what their place says, and where that is to be said. */
const broken: Readonly<Record<string, { source: string; line: number; says: RegExp; isBroken?: boolean }>> = {
  "contact.user.created_v3": {
    source: good("contact.user.created_v3", "export const wrong: number = 'text';"),
    line: 2,
    says: /^Type 'string' is not assignable to type 'number'\. \(TS2322\)$/,
    isBroken: false,
  },
  "contact.user.updated_v3": {
    source: good("contact.user.updated_v3", "const n = ;"),
    line: 2,
    says: /^Expression expected\. \(TS1109\)$/,
  },
  "contact.user.deleted_v3": {
    source: good("contact.user.deleted_v3", 'console.log("reading"); throw new Error("CRM_URL is not set");'),
    line: 2,
    says: /^cannot be loaded: Error: CRM_URL is not set\. Correct it/,
  },
  "im.chat.updated_v1": {
    source: "export default 5;\n",
    line: 1,
    says: /^its default export is not onEvent\("im\.chat\.updated_v1", …\)/,
  },
  "im.chat.disbanded_v1": {
    source: good("im.chat.updated_v1"),
    line: 3,
    says: /^its default export is not onEvent\("im\.chat\.disbanded_v1", …\)/,
  },
  "contact.scope.updated_v3": {
    source: good("contact.scope.updated_v3", 'import { rate } from "../shared/missing.ts"; rate();'),
    line: 2,
    says: /^Cannot find module '\.\.\/shared\/missing\.ts' .*\. Create or install it, or correct the import/,
  },
  "drive.file.title_updated_v1": {
    source: good("drive.file.title_updated_v1", 'import { RetryLaterError } from "larkpost/errors"; RetryLaterError;'),
    line: 2,
    says: /^Cannot find module 'larkpost\/errors' .*\. Import from one of larkpost, larkpost\/aws, .*larkpost\/test$/,
  },
  "contact.department.created_v3": {
    source: good("contact.department.created_v3", "enum Size { Small }; void Size;"),
    line: 2,
    says: /\(TS1294\)\. Node only strips types: write an enum as a constant object$/,
  },
  "contact.department.updated_v3": {
    // Blocks its process as an endless loop would, without the CPU of one.
    source: good("contact.department.updated_v3", "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);"),
    line: 3,
    says: /^has not been loaded after 5 s: /,
  },
  "contact.department.deleted_v3": {
    source: good("contact.department.deleted_v3", "process.exit(3);"),
    line: 3,
    says: /^ended the process \(exit code 3\) while it was loaded/,
  },
  "contact.employee_type_enum.created_v3": {
    source: good("contact.employee_type_enum.created_v3", 'Promise.reject(new Error("not awaited"));'),
    line: 2,
    says: /^cannot be loaded: Error: not awaited/,
  },
  "contact.custom_attr_event.updated_v3": {
    source: good("contact.custom_attr_event.updated_v3", 'import { rates } from "../shared/lib/rates"; rates;'),
    line: 2,
    says: /^imports functions\/shared\/lib\/rates, which is not there\. Write its extension, \.ts$/,
  },
  "vc.meeting.meeting_started_v1": {
    source: good("vc.meeting.meeting_started_v1").replace("async () => {}", "async (data) => void data.event_id"),
    line: 3,
    says: /\(TS2339\)\. The handler's second argument, the context, has it: id$/,
    isBroken: false,
  },
  "calendar.calendar.changed_v4": {
    source: good("calendar.calendar.changed_v4", 'void (() => onEvent("im.chat.updatd_v1", () => {}));'),
    line: 2,
    says: /'EventType'\. \(TS2345\)\. Nearest: "im\.chat\.updated_v1", .*\. If the platform has it, declare its payload: /,
    isBroken: false,
  },
  "calendar.calendar.event.changed_v4": {
    source: good("calendar.calendar.event.changed_v4", 'void (() => onEvent("approval", () => {}));'),
    line: 2,
    says: /'EventType'\. \(TS2345\)\. Declare its payload: declare module "larkpost" /,
    isBroken: false,
  },
  "im.message.recieve_v1": {
    source: good("im.message.recieve_v1"),
    line: 1,
    says: /^"im\.message\.recieve_v1" is not in the catalogue\. Nearest: "im\.message\.receive_v1", /,
    isBroken: false,
  },
  default: {
    source: good("default"),
    line: 1,
    says: /^"default" is not in the catalogue\. Nearest: "_default"\. /,
    isBroken: false,
  },
  helper: {
    source: "export const add = (a: number, b: number) => a + b;\n",
    line: 1,
    says: /^is no handler, and "helper" is no type\..* Move code that handlers share to functions\/shared\/$/,
    isBroken: false,
  },
  "larkpost.smoke.ai": {
    source: good("larkpost.smoke.ai"),
    line: 1,
    says: /^would never run: larkpost\.smoke is reserved for "npm run smoke"\. Rename it$/,
    isBroken: false,
  },
  "im.message.message_read_v1 (1)": {
    source: good("im.message.message_read_v1"),
    line: 1,
    says: /^looks like a copy of im\.message\.message_read_v1\.ts\. Delete it$/,
    isBroken: false,
  },
};

describe("npm run check", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let ended: Awaited<ReturnType<typeof larkpost>>;
  let findings: readonly Finding[];
  const of = (file: string) => findings.filter((finding) => finding.file === file);

  before(async () => {
    const sources = Object.entries(broken).map(([name, { source }]) => [name, source]);
    project = await temporaryProject(
      {
        ...Object.fromEntries(sources),
        // A type of the project's own, and a helper that breaks the file that loads it.
        "warehouse.pallet.moved_v1": `${good("warehouse.pallet.moved_v1")}declare module "larkpost" {
  interface EventTypes { "warehouse.pallet.moved_v1": { pallet: number } }
}
`,
        "im.chat.member.bot.added_v1": good(
          "im.chat.member.bot.added_v1",
          'import { readFileSync } from "node:fs";\nexport const text = () => readFileSync(new URL("none.txt", import.meta.url));',
        ),
        "im.message.message_read_v1": good("im.message.message_read_v1", 'import "../shared/lib/rates.ts";'),
        "im.message.recalled_v1": good("im.message.recalled_v1", 'import "../shared/lib/rates.ts";'),
      },
      { "im.message.reaction.created_v1": good("im.message.reaction.created_v1") },
    );
    const write = (path: string, text: string) =>
      writeFileSync(join(project.root, path), text, text.startsWith("\ufeff") ? "utf16le" : "utf8");
    for (const folder of ["shared/lib", "events/sub"]) {
      mkdirSync(join(project.root, "functions", folder), { recursive: true });
    }
    write("functions/events.gen.ts", "export const events = {};\n");
    write("functions/shared/lib/rates.ts", 'export const rates: unknown = JSON.parse("{");\n');
    write("functions/events/sub/url.preview.get.ts", good("url.preview.get"));
    write("functions/events/drive.file.edit_v1.js", good("drive.file.edit_v1"));
    write("functions/events/im.chat.member.user.added_v1.js", "module.exports = async (data) => data;\n");
    write("functions/events/im.chat.disbanded_v1.js", good("im.chat.disbanded_v1"));
    write("functions/im.chat.member.user.deleted_v1.ts", good("im.chat.member.user.deleted_v1"));
    write("functions/shared/message.ts", "export const message = 1;\n");
    write("functions/shared/approval.ts", good("im.chat.disbanded_v1"));
    write("functions/events/message.js", "export const message = 1;\n");
    write("functions/shared/im.chat.disbanded_v1.ts", good("im.chat.disbanded_v1"));
    write("functions/events/notes.js.md", good("drive.file.edit_v1"));
    write("functions/events/neon.js", "neonEvent();\n");
    symlinkSync("somebody@host.1", join(project.root, "functions/events/.#im.chat.updated_v1.ts"));
    const options = { extends: join(engine, "functions/tsconfig.json"), include: ["."] };
    write("functions/tsconfig.json", JSON.stringify(options));
    write(
      "larkpost.config.js",
      'import { defineConfig } from "larkpost/config";\nexport default defineConfig({\n  limits: {\n' +
        '    workerTimeoutSecond: 5,\n    batchSize: "3",\n  },\n  secrets: ["crm_token"],\n});\n',
    );
    // As PowerShell's `>` writes it.
    write(
      ".env",
      "\ufeffENCRYP_KE=a-key-of-this-test\nVERIFICATION_TOKEN= \nAPP_ID=cli_1\n# LOG_LEVEL=info\nLOG_LEVEL=verbose\n" +
        "MINE= 1\n# MINE= \nHTTP_PROXY=http://127.0.0.1:9\nNCRYP_KE=three letters less\nPXYT=two letters changed\n" +
        'log_levle=info\nhttps_proxy=http://127.0.0.1:9\nlark_domain=lark\nPORT: 8080\nNOTE\nKEY="1\nPORT 1\n2"\n' +
        "X=1\n# it's\nA=`one\ntwo` # three\nCALLBACK_DEADLINE_MS=2#3\nMINE=ab#cd\nHOLD_SECONDS=60 # s\nHEALTH_PORT=#\nLANES='#'\n" +
        "NO_PROXY='a\nHTTPS_PROXY='b'\nMINE='1\n2'\n",
    );
    ended = await larkpost(["check", "--json"], { root: project.root });
    ({ findings } = JSON.parse(ended.stdout) as { findings: Finding[] });
  });
  after(() => project.remove());

  test("exits with 1 and tells all faults at once, by file and line", async () => {
    assert.equal(ended.code, 1, ended.stderr);
    assert.equal(ended.stderr, "");
    const { ok, handlers } = JSON.parse(ended.stdout) as { ok: boolean; handlers: number };
    assert.deepEqual({ ok, handlers }, { ok: false, handlers: Object.keys(broken).length + 5 });
  });

  test("what would fail once it is deployed is told beside what fails here", () => {
    assert.match(
      of("functions/events/im.chat.member.bot.added_v1.ts")[0]?.message ?? "",
      /^reads none\.txt, which is not there\. Add it, or correct its name$/,
    );
    assert.match(of("functions/events.gen.ts")[0]?.message ?? "", /^does not list what .* Run "npm run generate"$/);
  });

  for (const [name, { line, says, isBroken = true }] of Object.entries(broken)) {
    test(`a handler file: ${name}`, () => {
      const found = of(`functions/events/${name}.ts`);
      const [first] = found;
      assert.ok(first !== undefined, "nothing was found");
      assert.equal(first.line, line);
      assert.match(first.message, says);
      assert.equal(first.isBroken === true, isBroken);
      // What cannot be loaded for a reason that is told already is not told again.
      assert.equal(found.filter(({ part }) => part === "loading").length, first.part === "loading" ? 1 : 0);
    });
  }

  test("a handler's output while it was loaded is shown", () => {
    assert.equal(of("functions/events/contact.user.deleted_v3.ts")[0]?.output, "reading\n");
  });

  test("a fault in shared code is told once, at its place, with the handlers that load it", () => {
    const [finding, ...others] = of("functions/shared/lib/rates.ts");
    assert.deepEqual(others, []);
    assert.equal(finding?.line, 1);
    assert.match(
      finding.message,
      /^cannot be loaded: SyntaxError: .* \(loaded by functions\/events\/im\.message\.message_read_v1\.ts and 1 more\)$/,
    );
  });

  test("types of the project's own pass", () => {
    assert.deepEqual(of("functions/events/warehouse.pallet.moved_v1.ts"), []);
  });

  test("what is in the wrong folder or ignored is told", () => {
    assert.match(
      of("functions/callbacks/im.message.reaction.created_v1.ts")[0]?.message ?? "",
      /^is in the wrong folder: /,
    );
    assert.match(of("functions/events/sub/url.preview.get.ts")[0]?.message ?? "", /^is ignored: it is in a sub-folder/);
    assert.match(of("functions/events/drive.file.edit_v1.js")[0]?.message ?? "", /^is ignored: it is not a \.ts file/);
    for (const [file, message] of [
      [
        "events/im.chat.member.user.added_v1.js",
        /^is ignored: it is not a \.ts file\. Make it functions\/events\/[\w.]+\.ts$/,
      ],
      [
        "events/im.chat.disbanded_v1.js",
        /^is ignored: it is not a \.ts file\. Delete it: there is functions\/events\//,
      ],
      ["im.chat.member.user.deleted_v1.ts", /^is ignored: it is in another folder\. Make it functions\/events\/im\./],
    ] as const) {
      assert.match(of(`functions/${file}`)[0]?.message ?? "", message);
    }
    for (const name of [
      "shared/message.ts",
      "shared/approval.ts",
      "events/message.js",
      "shared/im.chat.disbanded_v1.ts",
    ])
      assert.deepEqual(of(`functions/${name}`), []);
    const [, compilers] = of("functions/events/contact.custom_attr_event.updated_v3.ts");
    assert.match(compilers?.message ?? "", /Did you mean '\.\.\/shared\/lib\/rates\.ts'\? \(TS2835\)$/);
    for (const name of ["notes.js.md", "neon.js"]) assert.deepEqual(of(`functions/events/${name}`), []);
  });

  test("larkpost.config.js: each mistake at its line", () => {
    assert.deepEqual(
      of("larkpost.config.js").map(({ line, message }) => `${line} ${message.slice(0, 34)}`),
      [
        '4 "workerTimeoutSecond" is not a lim',
        '5 limits.batchSize is "3", not a who',
        '7 secrets has "crm_token". A name ha',
      ],
    );
  });

  test("settings: a name that is nearly ours, a value that swallows the next line, what a real app needs", () => {
    const said = of(".env").map(({ line, message }) => `${line ?? "-"} ${message}`);
    for (const expected of [
      /^1 ENCRYP_KE is no setting\. Did you mean ENCRYPT_KEY\?$/,
      /^2 VERIFICATION_TOKEN has white space alone, and Node then reads the next line/,
      /^3 APP_ID is not set/,
      /^5 LOG_LEVEL is "verbose"\. It is one of debug, info, warn, error$/,
      /^- APP_SECRET is not set/,
      /^- ENCRYPT_KEY is not set/,
      /^13 lark_domain is no setting\. Did you mean LARK_DOMAIN\?$/,
      /^14 is not read\. Write it as PORT=…$/,
      /^15 is not read: it has no =, and is no comment\. Write it as NAME=value, or remove it$/,
      /^23 CALLBACK_DEADLINE_MS ends at the "#": Node takes what follows for a comment\. Put the value in quotes$/,
      /^28 NO_PROXY has no closing quote, so Node reads another value than is meant\. Close it$/,
    ]) {
      assert.ok(
        said.some((line) => expected.test(line)),
        `${expected}\n${said.join("\n")}`,
      );
    }
    assert.equal(said.length, 11, said.join("\n"));
  });
});

test("what the compiler says of a list is left out where the handler file has a finding of its own", () => {
  const file = "functions/events.gen.ts";
  const said = (message: string): Finding => ({ part: "types", file, line: 3, message });
  const own = (name: string, part: Finding["part"]): Finding => ({
    part,
    file: `functions/events/${name}.ts`,
    message: "…",
  });
  const mismatch = said(`Type '() => Promise<typeof import("./events/im.chat.updated_v1.ts")>' is not assignable to …`);
  const unknown = said(
    "Object literal may only specify known properties, and 'helper' does not exist in type 'EventList'.",
  );
  const quoted = said(
    `Object literal may only specify known properties, and '"a.b_v1"' does not exist in type 'EventList'.`,
  );
  const all = [mismatch, unknown, quoted];
  assert.deepEqual(sorted(all), all);
  const others = [own("im.chat.updated_v1", "loading"), own("helper", "files"), own("a.b_v1", "files")];
  assert.deepEqual(new Set(sorted([...all, ...others])), new Set(others));
  const theirs = [own("im.chat.updated_v1", "types"), own("chat.updated_v1", "files"), own("b_v1", "files")];
  assert.deepEqual(new Set(sorted([...all, ...theirs])), new Set([...all, ...theirs]));
});

test("a secret that a real app may do without and a lost line of .env are warnings: check passes", async (t) => {
  const { root, remove } = await temporaryProject({});
  t.after(remove);
  // Nothing is compiled without a tsconfig.json, and hardly anything bundled.
  for (const name of ["callback", "worker"]) writeFileSync(join(root, `functions/${name}.ts`), "export {};\n");
  const app = `APP_ID=cli_0123456789abcdef\nENCRYPT_KEY=${"e".repeat(32)}\nVERIFICATION_TOKEN=${"v".repeat(32)}`;
  writeFileSync(join(root, ".env"), `${app}\nlost\n`);
  const warnings = `! .env  APP_SECRET is not set. Copy it from the developer console: handlers call the Open API with it
! .env:4  is not read: it has no =, and is no comment. Write it as NAME=value, or remove it`;
  const { code, stdout } = await larkpost(["check"], { root });
  assert.deepEqual([code, stdout], [0, `${warnings}\n✔ 0 handlers\n`]);
});

test("a secret that is read from process.env is found: it is there on this machine alone", async (t) => {
  const top =
    'import { token } from "../shared/token.ts";\n// process.env.CRM_TOKEN\nvoid [token, process.env.CRM_URL];';
  const { root, remove } = await temporaryProject({ "im.chat.updated_v1": good("im.chat.updated_v1", top) });
  t.after(remove);
  for (const name of ["callback", "worker"]) writeFileSync(join(root, `functions/${name}.ts`), "export {};\n");
  mkdirSync(join(root, "functions/shared"));
  const shared = "const { CRM_TOKEN } = process.env;\nexport const token = CRM_TOKEN ?? process.env.CRM_TOKEN;\n";
  writeFileSync(join(root, "functions/shared/token.ts"), shared);
  const config = 'export default { environment: { CRM_URL: "https://crm.example" }, secrets: ["CRM_TOKEN"] };\n';
  writeFileSync(join(root, "larkpost.config.js"), config);
  const { findings } = await check(root);
  const message = "reads CRM_TOKEN from process.env, where it is on this machine alone. Read context.secrets.CRM_TOKEN";
  const found = (line: number) => ({ part: "bundle", file: "functions/shared/token.ts", line, message });
  assert.deepEqual(
    findings.filter(({ part }) => part !== "settings"),
    [found(1), found(2)],
  );
});

test("package refuses what check finds in the code, and start what it finds in this machine's settings", async (t) => {
  const { root, remove } = await temporaryProject({ "im.chat.updated_v1": "export default 5;\n" });
  t.after(remove);
  writeFileSync(join(root, ".env"), "APP_ID=cli_1\nLOG_LEVEL=verbose\n");
  const said = async () => (await larkpost(["start", "--port", "0"], { root })).stderr.split("\n");
  const [first, ...faults] = await said();
  assert.equal(first, "Cannot start. Fix this first:");
  assert.deepEqual(
    faults.map((line) => line.slice(0, 34)),
    [
      "✖ .env  VERIFICATION_TOKEN is not ",
      "✖ .env  ENCRYPT_KEY is not set. Co",
      '✖ .env:1  APP_ID is not "cli_" and',
      '✖ .env:2  LOG_LEVEL is "verbose". ',
      "",
    ],
  );
  writeFileSync(join(root, "larkpost.config.js"), "export default { tag: {} };\n");
  const { code, stdout, stderr } = await larkpost(["package"], { root, env: { APP_ID: "cli_0123456789abcdef" } });
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.equal(
    stderr,
    `Cannot package. Fix this first:
✖ functions/events/im.chat.updated_v1.ts:1  its default export is not onEvent("im.chat.updated_v1", …). Check the file's name and type
✖ larkpost.config.js:1  "tag" is not a member. Did you mean "tags"?
`,
  );
  assert.deepEqual(await said(), [
    "Cannot start. Fix this first:",
    '✖ larkpost.config.js:1  "tag" is not a member. Did you mean "tags"?',
    "",
  ]);
  // In another project, since this process would not load the same file again.
  const other = await temporaryProject({});
  t.after(other.remove);
  writeFileSync(join(other.root, "larkpost.config.js"), "export default {\n  limits: {{\n");
  const unread = await larkpost(["start", "--port", "0"], { root: other.root });
  assert.equal(
    unread.stderr.split("\n")[1],
    "✖ larkpost.config.js:2  cannot be read: SyntaxError: Unexpected token '{'",
  );
});

for (const [line, says] of [
  ["PORT=abc", 'the port "abc" is not a number from 0 to 65535. Check PORT'],
  ["PORT=99999", 'the port "99999" is not a number from 0 to 65535. Check PORT'],
  ["NODE_TLS_REJECT_UNAUTHORIZED=0", "NODE_TLS_REJECT_UNAUTHORIZED is 0, so any host could pose as AWS. Remove it"],
  ["MAX_DEFERRALS=many", "MAX_DEFERRALS is not a whole number above 0"],
  ["DEFER_FOR_SECONDS=0", "DEFER_FOR_SECONDS is not a whole number above 0"],
] as const) {
  test(`start refuses ${line} with its line, and so does check`, async (t) => {
    const { root, remove } = await temporaryProject({});
    t.after(remove);
    writeFileSync(join(root, ".env"), `LOG_LEVEL=info\n${line}\n`);
    assert.deepEqual(checkSettings(root, Object.fromEntries([line.split("=")]), undefined), [
      { part: "settings", file: ".env", line: 2, message: says },
    ]);
    const { code, stderr } = await larkpost(["start"], { root });
    assert.deepEqual({ code, stderr }, { code: 1, stderr: `Cannot start. Fix this first:\n✖ .env:2  ${says}\n` });
  });
}

test("a resource by a name of Larkpost's is found before anything is packaged", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  const source = 'export default {\n  resources: { LedgerTable: { Type: "AWS::SQS::Queue" } },\n};\n';
  writeFileSync(join(root, "larkpost.config.js"), source);
  const message = "resources.LedgerTable has a name that Larkpost uses. Choose another name";
  const { findings } = await checkConfig(root);
  assert.partialDeepStrictEqual(findings, [{ file: "larkpost.config.js", line: 2, message }]);
  assert.equal(findings.length, 1);
});

test("check tells what larkpost.config.js refers to in vain, and leaves to the template what serverless.yml may add", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  const source = `export default {
  // OrderTable, EventQueue
  statements: [
    { Effect: "Allow", Action: ["a:B"], Resource: [{ "Fn::GetAtt": ["OrderTable", "Arn"] }, { "Fn::GetAtt": "Written.Arn" }] },
    { Effect: "Allow", Action: ["a:B"], Resource: [{ "Fn::GetAtt": ["WebhookLambdaFunction", "Arn"] }, { Ref: "EventQueue" }] },
    { Effect: "Allow", Action: ["a:B"], Resource: [{ "Fn::Sub": "\${param:x}\${AWS::Region}" }, { Ref: "\${param:x}" }] },
  ],
  resources: {
    OrdersTable: { Type: "AWS::SQS::Queue", DependsOn: ["LedgerTable", "OrdersTabl"] },
  },
};
`;
  writeFileSync(join(root, "larkpost.config.js"), source);
  writeFileSync(join(root, "serverless.yml"), "resources:\n  - Resources: { Written: { Type: AWS::SQS::Queue } }\n");
  const { project } = await checkConfig(root);
  assert.ok(project);
  const { findings } = await check(root);
  assert.equal(findings.filter(({ part }) => part === "deployment").length, 3);
  const said = () => checkReferences(root, project).map(({ file, line, message }) => `${file}:${line} ${message}`);
  const no = (name: string) => `refers to "${name}", which is no resource of the stack. Did you mean`;
  assert.deepEqual(said(), [
    `larkpost.config.js:9 ${no("OrdersTabl")} "OrdersTable"?`,
    `larkpost.config.js:4 ${no("OrderTable")} "OrdersTable"?`,
    `larkpost.config.js:5 ${no("EventQueue")} "EventsQueue"?`,
  ]);
  for (const more of ["plugins: [one]\n", '  - { Transform: "x" }\n', `  - \${file(more.yml)}\n`]) {
    writeFileSync(join(root, "serverless.yml"), `resources:\n${more}`);
    assert.deepEqual(said(), []);
  }
  const yml = readFileSync(join(engine, "serverless.yml"), "utf8");
  for (const text of [yml, projectText(yml)]) {
    writeFileSync(join(root, "serverless.yml"), text);
    assert.ok(said().length > 2);
  }
});

test("a mistake is placed behind the names that lead to it, and in no comment", async (t) => {
  const { root, remove } = temporaryRoot();
  t.after(remove);
  const table = (name: string, keys: string) => `    ${name}: {
      Type: "AWS::DynamoDB::Table",
      Properties: {
        KeySchema: ${keys},
        AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
      },
    },
`;
  const keys = '[{ AttributeName: "id", KeyType: "HASH" }]';
  const tables = `${table("First", keys)}${table("Other", "{}")}`;
  writeFileSync(
    join(root, "larkpost.config.js"),
    `// resources\nexport default {\n  resources: {\n${tables}  },\n};\n`,
  );
  const { findings } = await checkConfig(root);
  assert.deepEqual(
    findings.map(({ line, message }) => `${line} ${message}`),
    ["14 resources.Other.Properties.KeySchema is {}, not a list"],
  );
});

test("a project without the compiler is told to install it", async (t) => {
  const { root, remove } = await temporaryProject({});
  t.after(remove);
  unlinkSync(join(root, "node_modules"));
  writeFileSync(join(root, "tsconfig.json"), "{}");
  const message = 'typescript is not installed, so no type can be checked. Run "npm ci", without --omit=dev';
  assert.deepEqual(await checkTypes(root), [{ part: "types", file: "package.json", message }]);
});

test("a check of types that is out of date ends at once, though the compiler takes no SIGTERM", async (t) => {
  const { root, remove } = await temporaryProject({});
  t.after(remove);
  const script = join(root, "compiler.mjs");
  writeFileSync(
    script,
    'import { writeFileSync } from "node:fs"; process.on("SIGTERM", () => {}); setTimeout(() => {}, 60_000);' +
      'writeFileSync("began", "");',
  );
  const stop = new AbortController();
  const ended = runScript(script, [], { root, isQuiet: true, signal: stop.signal });
  await until("the script has begun", () => existsSync(join(root, "began")));
  const startMs = performance.now();
  stop.abort();
  assert.equal((await ended).code, 1);
  assert.ok(performance.now() - startMs < 30_000);
});
