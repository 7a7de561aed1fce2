// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFileSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Zip } from "../../../lib/cli/deploy/package.ts";
import { oslsEnv } from "../../infra/stack.ts";
import { temporaryProject } from "../../support/project.ts";
import { shareOsls } from "../../support/shared-osls.ts";
import { command } from "../run.ts";

const projectFolder = resolve(import.meta.dirname, "../../..");
const handler = `import { onEvent } from "larkpost";
export default onEvent("im.message.receive_v1", async () => {});
`;

/** The handlers' list alone: with the engine's worker, a bundle takes a second. */
const worker = `import { events } from "./events.gen.ts";
export const handler = async () => Object.keys(events);
`;

/** With the line endings of Windows in all that a user edits. */
async function project() {
  const made = await temporaryProject({ "im.message.receive_v1": toCrlf(handler) });
  for (const file of ["serverless.yml", "larkpost.config.js"]) {
    writeFileSync(join(made.root, file), toCrlf(readFileSync(join(projectFolder, file), "utf8")));
  }
  writeFileSync(join(made.root, "functions/worker.ts"), toCrlf(worker));
  writeFileSync(join(made.root, "functions/callback.ts"), "export const handler = async () => {};\n");
  return { ...made, osls: shareOsls(made.root) };
}

function toCrlf(text: string): string {
  return text.replaceAll("\n", "\r\n");
}

/** Names in a zip, from its central directory. */
function namesIn(zip: Buffer): string[] {
  const names: string[] = [];
  for (let at = zip.indexOf("PK\x01\x02", 0, "latin1"); at >= 0; at = zip.indexOf("PK\x01\x02", at + 46, "latin1")) {
    names.push(zip.toString("utf8", at + 46, at + 46 + zip.readUInt16LE(at + 28)));
  }
  return names;
}

describe("npm run package", () => {
  let made: Awaited<ReturnType<typeof project>>;
  let printed: { stage: string; folder: string; zips: Zip[]; template: string };
  const zips = ["callback.zip", "webhook.zip", "worker.zip"];
  const contents = (folder: string) => new Map(zips.map((name) => [name, readFileSync(join(folder, name))]));

  /** With none of this machine's credentials. */
  const env = () => ({ ...oslsEnv, HOME: made.root, LARKPOST_ROOT: made.root });

  before(async () => {
    made = await project();
    const { stdout, stderr } = await command(["package", "--stage", "prod", "--json"], { env: env() });
    assert.equal(stderr, "");
    printed = JSON.parse(stdout) as typeof printed;
  });
  after(() => {
    made.osls.stop();
    made.remove();
  });

  test("writes a zip per function, says its size and SHA-256, and names the template", () => {
    assert.equal(printed.stage, "prod");
    assert.deepEqual(
      printed.zips.map(({ name }) => name),
      zips,
    );
    for (const { file, bytes, sha256 } of printed.zips) {
      const content = readFileSync(file);
      assert.equal(content.length, bytes);
      assert.equal(createHash("sha256").update(content).digest("hex"), sha256);
    }
    const template = JSON.parse(readFileSync(join(printed.folder, printed.template), "utf8")) as object;
    assert.ok("Resources" in template);
  });

  test("R1: the webhook's zip has at most 200 KB", () => {
    const bytes = printed.zips.find(({ name }) => name === "webhook.zip")?.bytes ?? Infinity;
    assert.ok(bytes <= 200 * 1024, `${bytes} bytes`);
  });

  test("a zip holds the function's own bundle, with the places of handlers and no source map, and nothing else", () => {
    for (const [zip, content] of contents(printed.folder)) {
      const folder = `dist/${zip.replace(".zip", "")}/`;
      const names = namesIn(content);
      assert.ok(names.includes(`${folder}index.mjs`));
      assert.equal(names.includes(`${folder}places.json`), zip !== "webhook.zip");
      assert.deepEqual(
        names.filter((name) => !name.startsWith(folder) || !/\.mjs$|\/places\.json$/.test(name)),
        [],
      );
    }
  });

  test("Y5: the same sources give the same zips, whatever the files' times", async () => {
    const first = contents(printed.folder);
    for (const file of ["functions/webhook.ts", "functions/events/im.message.receive_v1.ts", "serverless.yml"]) {
      utimesSync(join(made.root, file), 1_000_000_000, 1_000_000_000);
    }
    const args = ["package", "--stage", "prod", "--package", "again", "--param", "front=functionUrl"];
    const { code, stdout, stderr } = await command(args, { env: env() });
    assert.equal(code, 0, stderr);
    assert.match(readFileSync(join(made.root, "again", printed.template), "utf8"), /AWS::Lambda::Url/);
    for (const [name, content] of contents(join(made.root, "again")))
      assert.ok(content.equals(first.get(name) ?? Buffer.of()));
    for (const { name, sha256 } of printed.zips) assert.ok(stdout.includes(`again/${name}`) && stdout.includes(sha256));
    assert.ok(stdout.includes(`again/${printed.template}`));
  });

  test("what refers to nothing is refused with the nearest name, and what the stack has is found", async () => {
    const Resource = [
      { "Fn::GetAtt": ["OrderTable", "Arn"] },
      { "Fn::GetAtt": "EventQueue.Arn" },
      { "Fn::Sub": `\${OrdersTabl.Arn}/index/*` },
      { "Fn::Sub": [`\${mine}\${OrdersTable.Arn}\${AWS::Region}\${!literal}`, { mine: { Ref: "Else\\where" } }] },
      { "Fn::GetAtt": ["EventsQueue", "Arn"] },
    ];
    const Resources = {
      OrdersTable: { Type: "AWS::DynamoDB::Table", DependsOn: ["LedgerTabel", "LedgerTable"] },
      Policy: { Type: "AWS::IAM::ManagedPolicy", Properties: { PolicyDocument: { Statement: [{ Resource }] } } },
    };
    const Metadata = { Ref: "What CloudFormation does not read" };
    // Under `resources`, the last key.
    appendFileSync(join(made.root, "serverless.yml"), `  - ${JSON.stringify({ Resources, Metadata })}\n`);
    // As where `statements` name it.
    appendFileSync(join(made.root, "larkpost.config.js"), '\n// OrderTable\r\nexport const used = ["EventQueue"];');
    const lines = (file: string) => readFileSync(join(made.root, file), "utf8").split("\n").length;
    const yml = lines("serverless.yml") - 1;
    const { code, stdout, stderr } = await command(["package", "--package", "third", "--param", "fron=none"], {
      env: env(),
    });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.equal(
      stderr,
      `Cannot package. Fix this first:
✖ --param fron  serverless.yml has no such parameter, so nothing would take it. Did you mean "front"?
✖ larkpost.config.js:${lines("larkpost.config.js")}  refers to "EventQueue", which is no resource of the stack. Did you mean "EventsQueue"?
✖ serverless.yml:${yml}  refers to "LedgerTabel", which is no resource of the stack. Did you mean "LedgerTable"?
✖ serverless.yml:${yml}  refers to "OrderTable", which is no resource of the stack. Did you mean "OrdersTable"?
✖ serverless.yml:${yml}  refers to "OrdersTabl", which is no resource of the stack. Did you mean "OrdersTable"?
✖ the template  refers to "Else\\where", which is no resource of the stack. Check larkpost.config.js and serverless.yml
`,
    );
    // A macro may make any of them.
    appendFileSync(join(made.root, "serverless.yml"), '  - { Transform: "AWS::LanguageExtensions" }\n');
    const expanded = await command(["package", "--package", "fourth"], { env: env() });
    assert.deepEqual([expanded.code, expanded.stderr], [0, ""]);
  });
});
