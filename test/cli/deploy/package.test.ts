// first: it bundles and packages.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Zip } from "../../../lib/cli/deploy/package.ts";
import { oslsEnv } from "../../infra/stack.ts";
import { temporaryProject } from "../../support/project.ts";
import { command } from "../run.ts";

const projectFolder = resolve(import.meta.dirname, "../../..");
const handler = `import { onEvent } from "larkpost";
export default onEvent("im.message.receive_v1", async () => {});
`;
const appId = "cli_0123456789abcdef";

/** Runs a command in a process of its own, with none of this machine's credentials. */
async function larkpost(name: "package" | "deploy", args: readonly string[], root: string, env = {}) {
  const child = spawn(process.execPath, [join(projectFolder, "lib/cli/larkpost.js"), name, ...args], {
    env: { ...oslsEnv, HOME: root, LARKPOST_ROOT: root, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text: string) => {
      output[name] += text;
    });
  }
  const { promise, resolve: done, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject);
  child.once("close", done);
  return { code: await promise, ...output };
}

/** With the line endings of Windows in all that a user edits. */
async function project() {
  const made = await temporaryProject({ "im.message.receive_v1": toCrlf(handler) });
  for (const file of ["serverless.yml", "functions/callback.ts", "larkpost.config.js"]) {
    writeFileSync(join(made.root, file), toCrlf(readFileSync(join(projectFolder, file), "utf8")));
  }
  return made;
}

function toCrlf(text: string): string {
  return text.replaceAll("\n", "\r\n");
}

/** A project whose functions are one line each, for what is said of a deployment: there is nothing to bundle. */
async function smallProject() {
  const made = await project();
  for (const name of ["webhook", "callback", "worker"]) {
    writeFileSync(join(made.root, `functions/${name}.ts`), "export const handler = async () => {};\n");
  }
  return made;
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

  before(async () => {
    made = await project();
    const { code, stdout, stderr } = await larkpost("package", ["--stage", "prod", "--json"], made.root);
    assert.equal(code, 0, stderr);
    printed = JSON.parse(stdout) as typeof printed;
  });
  after(() => made.remove());

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
    const { code, stdout, stderr } = await larkpost(
      "package",
      ["--stage", "prod", "--package", "again", "--param", "front=functionUrl"],
      made.root,
    );
    assert.equal(code, 0, stderr);
    assert.match(readFileSync(join(made.root, "again", printed.template), "utf8"), /AWS::Lambda::Url/);
    for (const [name, content] of contents(join(made.root, "again")))
      assert.ok(content.equals(first.get(name) ?? Buffer.of()));
    for (const { name, sha256 } of printed.zips) assert.ok(stdout.includes(`again/${name}`) && stdout.includes(sha256));
    assert.ok(stdout.includes(`again/${printed.template}`));
  });
});

test("npm run deploy refuses an app's id that serverless.yml leaves empty, before anything leaves the machine", async (t) => {
  const made = await smallProject();
  t.after(() => made.remove());
  const file = join(made.root, "serverless.yml");
  writeFileSync(file, readFileSync(file, "utf8").replace(/appId: .*/, "appId: ''"));
  const { code, stdout, stderr } = await larkpost("deploy", ["--stage", "prod"], made.root);
  assert.equal(code, 1);
  const output = stdout + stderr;
  assert.match(output, /Cannot deploy: APP_ID is not set\. Copy it from the developer console \(cli_…\)/);
  assert.doesNotMatch(output, /credentials|Deploying/);
});

describe("npm run deploy, with a stand-in for osls", () => {
  let made: Awaited<ReturnType<typeof smallProject>>;
  const deploy = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
    command(["deploy", ...args], { env: { HOME: made.root, LARKPOST_ROOT: made.root, APP_ID: appId, ...env } });
  const calls = () =>
    readFileSync(join(made.root, "calls"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as string[]);

  before(async () => {
    made = await smallProject();
    unlinkSync(join(made.root, "node_modules"));
    const bin = join(made.root, "node_modules/osls/bin");
    mkdirSync(bin, { recursive: true });
    writeFileSync(
      join(bin, "serverless.js"),
      `const [command, ...args] = process.argv.slice(2);
require("node:fs").appendFileSync("calls", JSON.stringify([command, ...args]) + "\\n");
if (command === "info") console.log(process.env.INFO ?? "");
else process.exitCode = Number(process.env.EXIT ?? 0);
`,
    );
  });
  after(() => made.remove());

  test("long-connection --stage takes from the stack what is not set, and says what it does not find", async () => {
    const outputs = [
      `  AppId: ${appId}`,
      "  EventsQueueUrl: https://sqs.example/events",
      "  QuarantineQueueUrl: https://sqs.example/quarantine",
      "  LedgerTableName: larkpost-prod-ledger",
    ];
    const connect = (info: readonly string[]) => {
      const env = { HOME: made.root, LARKPOST_ROOT: made.root, INFO: info.join("\n"), HEALTH_PORT: "70000" };
      return command(["long-connection", "--stage", "prod", "--region", "eu-west-1"], { env });
    };
    const [complete, older] = [await connect(outputs), await connect(outputs.slice(0, 3))];
    // The last setting that is read: all others were found.
    assert.equal(complete.stderr, "Cannot start: HEALTH_PORT is not a port\n");
    assert.match(
      older.stderr,
      /^Cannot start: the stage "prod" in eu-west-1 does not say its LEDGER_TABLE\. Run "npx osls/,
    );
    assert.deepEqual(calls()[0], ["info", "--verbose", "--stage", "prod", "--region", "eu-west-1"]);
    unlinkSync(join(made.root, "calls"));
  });

  test("asks for the stage, and for the app's id, before it bundles", async () => {
    const asked = await deploy([]);
    assert.equal(asked.code, 2);
    assert.match(asked.stderr, /required option '--stage <stage>' not specified/);
    const others = [
      ["--param", "appId="],
      ["--param", "front=functionUrl"],
      ["--param", "xappId=1"],
      ["--param", "a-c=1"],
    ];
    for (const args of [[], ...others]) {
      const { code, stdout, stderr } = await deploy(["--stage", "prod", ...args], { APP_ID: "" });
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, /^Cannot deploy: APP_ID is not set\. Copy it from the developer console \(cli_…\)/);
    }
    for (const name of ["dist", "calls"]) assert.equal(existsSync(join(made.root, name)), false, name);
  });

  test("prints both addresses of the deployed stack, and what to paste where", async () => {
    rmSync(join(made.root, "calls"), { force: true });
    const host = "https://a1b2c3.execute-api.ap-southeast-1.amazonaws.com";
    const addresses = `  RequestAddress: ${host}/webhook\n  CallbackAddress: ${host}/callback\n  AppId: ${appId}`;
    const { code, stdout, stderr } = await deploy(
      [
        ...["--stage", "prod", "--param", "front=functionUrl", "--param", `appId=${appId}`, "--region=ap-northeast-1"],
      ].concat(["-c", "other.yml", "--aws-profile", "x", "--", "--force"]),
      { APP_ID: "", INFO: `\u001b[90mStack Outputs:\u001b[39m\n  HttpApiUrl: https://x\n${addresses}\n  More: y` },
    );
    assert.equal(code, 0, stderr);
    for (const expected of [
      `Request address   ${host}/webhook`,
      `Callback address  ${host}/callback`,
      "Event configuration > Request URL: paste the request address",
      "Callback configuration > Request URL: paste the callback address",
      "Encrypt Key",
      "Verification Token",
      "npm run secrets -- set --stage prod --region ap-northeast-1",
    ]) {
      assert.ok(stdout.includes(expected), expected);
    }
    const which = ["--region", "ap-northeast-1", "--config", "other.yml", "--aws-profile", "x"];
    const shared = [...which, "--param", "front=functionUrl", "--param", `appId=${appId}`];
    assert.deepEqual(calls(), [
      ["deploy", "--stage", "prod", ...shared, "--force"],
      ["info", "--verbose", "--stage", "prod", ...shared],
    ]);
  });

  test("says so when it cannot read the addresses, though it has deployed", async () => {
    const INFO = "Stack Outputs:\n  RequestAddress: https://x.example/webhook";
    const { code, stdout, stderr } = await deploy(["--stage", "prod"], { INFO });
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.match(
      stderr,
      /^Deployed\. Cannot read the addresses and the app: run "npx osls info --verbose --stage prod"/,
    );
  });

  const recorded = () => JSON.parse(readFileSync(join(made.root, "larkpost.stages.json"), "utf8")) as unknown;
  const infoFor = (app: string) => ({
    INFO: `  RequestAddress: https://x.example/webhook\n  CallbackAddress: https://x.example/callback\n  AppId: ${app}`,
  });

  test("records the app of each stage, and says to commit that, once", async () => {
    rmSync(join(made.root, "larkpost.stages.json"), { force: true });
    const other = "cli_fedcba9876543210";
    const said = async (stage: string, app: string) => {
      const { code, stdout, stderr } = await deploy(["--stage", stage], infoFor(app));
      assert.equal(code, 0, stderr);
      return /larkpost\.stages\.json now has the app of "(\w+)"\. Commit it/.exec(stdout)?.[1];
    };
    assert.equal(await said("prod", appId), "prod");
    assert.equal(await said("dev", other), "dev");
    assert.equal(await said("prod", appId), undefined);
    assert.deepEqual(recorded(), { dev: { appId: other }, prod: { appId } });
    // The second app of a stage takes the place of the first.
    assert.equal(await said("dev", appId), "dev");
    assert.deepEqual(recorded(), { dev: { appId }, prod: { appId } });
  });

  test("records nothing of a deployment that failed", async () => {
    rmSync(join(made.root, "larkpost.stages.json"), { force: true });
    const { code } = await deploy(["--stage", "prod"], { ...infoFor(appId), EXIT: "3" });
    assert.equal(code, 1);
    assert.equal(existsSync(join(made.root, "larkpost.stages.json")), false);
  });

  test("passes a failure of osls on, and asks for no address", async () => {
    rmSync(join(made.root, "calls"), { force: true });
    const { code, stdout } = await deploy(["--stage", "prod"], { EXIT: "3" });
    assert.equal(code, 1);
    assert.equal(stdout, "");
    assert.equal(calls().length, 1);
  });
});
