import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../../lib/clock.ts";
import { codes, jsonAnswer, platformConfig } from "../../../lib/simulator/long-connection/discovery.ts";
import { type LongConnectionServer, startLongConnectionServer } from "../../../lib/simulator/long-connection/server.ts";
import { startContainer } from "../../support/aws.ts";
import { eventText } from "../../support/events.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { until } from "../../support/until.ts";
import { larkpost, projectFolder } from "../run.ts";

const appId = "cli_0123456789abcdef";
const appSecret = "an-app-secret-of-the-tests";
/** Its class has no `name` of its own. */
const failing = `
import { onCallback } from "larkpost";
class OutOfStock extends Error {}
export default onCallback("card.action.trigger", () => {
  throw new OutOfStock("a payload", { cause: new TypeError("a payload, too") });
});
`;
const click = {
  ...{ type: "card.action.trigger", app: appId },
  event: { operator: { open_id: "ou_1" }, token: "c-1", action: { tag: "button", value: {} } },
};

describe("npm run long-connection", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let services: Services;
  let platform: LongConnectionServer;
  const children: ChildProcess[] = [];
  const temporary = () => join(project.root, "tmp");
  const env = () => ({
    ...{ ...nodeEnv, ...services.env, TMPDIR: temporary(), LARKPOST_ROOT: project.root },
    ...{ APP_ID: appId, APP_SECRET: appSecret, LARK_DOMAIN: platform.origin },
  });

  before(async () => {
    const apps = [{ appId, appSecret }];
    [project, services, platform] = await Promise.all([
      temporaryProject({}, { "card.action.trigger": failing }),
      startServices(),
      startLongConnectionServer({ apps, clock: systemClock, random: Math.random }),
    ]);
    mkdirSync(temporary());
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all([services.stop(), platform.close()]);
    project.remove();
  });

  function start(args: readonly string[], settings: NodeJS.ProcessEnv = env()) {
    const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), "long-connection", ...args], {
      env: settings,
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
      });
    }
    return { child, printed, closed: once(child, "close") as Promise<[number | null, string | null]> };
  }

  test("connects, queues with a container's credentials, tells what happens, and ends with 0 when it is asked to", async (t) => {
    const container = await startContainer("local");
    t.after(container.stop);
    const { child, printed, closed } = start([], { ...env(), ...container.env });
    await until("a connection", () => platform.connections().length === 1);
    assert.equal((await platform.deliver(eventText({ id: "commanded", app: appId }), { appId })).status, 200);
    const [message] = await services.take(services.urls.eventsQueueUrl);
    assert.match(message?.Body ?? "", /commanded/);
    // A container's manager sends SIGTERM: the bundle's own tests do.
    child.kill("SIGINT");
    assert.deepEqual(await closed, [0, null]);
    assert.equal(printed.stderr, "");
    assert.match(
      printed.stdout,
      /^\d\d:\d\d:\d\d {2}connected[^\n]*\n\d\d:\d\d:\d\d {2}queued +test\.event {2}commanded/,
    );
  });

  test("L4: prints JSON with --json, and ends with 1 and one clear line when the platform refuses the app", async () => {
    platform.configure({ ...platformConfig, ReconnectNonce: 1 });
    const { printed, closed } = start(["--json"]);
    const [connection] = await until(
      "a connection",
      () => platform.connections().length === 1 && platform.connections(),
    );
    await until("its line", () => printed.stdout.includes("\n"));
    platform.answerNext(jsonAnswer(200, { code: codes.wrongSecret, msg: "auth failed" }));
    connection?.drop();
    assert.deepEqual(await closed, [1, null]);
    const stages = printed.stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { stage: string }).stage);
    assert.deepEqual(stages, ["connected", "disconnected", "misconfigured"]);
    assert.equal(
      printed.stderr,
      `Cannot connect: the platform answered 514, "auth failed": the app's id or secret is wrong. Check APP_ID and APP_SECRET\n`,
    );
  });

  test("says where a callback's handler failed, of which class and why, as text and as JSON", async () => {
    for (const args of [[], ["--json"]]) {
      const { child, printed, closed } = start(args);
      await until("a connection", () => platform.connections().length === 1);
      const text = eventText({ ...click, id: `a-click-of-a-long-id${args.length}` });
      const { status } = await platform.deliver(text, { appId });
      child.kill("SIGINT");
      assert.deepEqual([status, ...(await closed)], [200, 0, null]);
      assert.match(printed.stdout, /a-click-of-a-long-id/);
      assert.match(printed.stdout, /OutOfStock/);
      assert.match(printed.stdout, /functions\/callbacks\/card\.action\.trigger\.ts:5:9/);
      assert.match(printed.stdout, /TypeError/);
      assert.doesNotMatch(printed.stdout, /payload/);
    }
  });

  for (const name of ["APP_SECRET", "EVENTS_QUEUE_URL"]) {
    test(`ends with 1 and the name of the setting without ${name}`, async () => {
      const given = Object.fromEntries(Object.entries(env()).filter(([one]) => one !== name));
      const { code, stdout, stderr } = await larkpost(["long-connection"], { root: project.root, env: given });
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, new RegExp(`^Cannot [^\n]*${name} is not set[^\n]*\n$`));
    });
  }

  test("names all settings that are missing", async () => {
    const { APP_ID: _, APP_SECRET: __, LEDGER_TABLE: ___, ...given } = env();
    const { code, stderr } = await larkpost(["long-connection"], { root: project.root, env: given });
    assert.equal(code, 1);
    assert.match(stderr, /^Cannot start: APP_ID, APP_SECRET and LEDGER_TABLE are not set\. Put them into/);
  });

  test("reads .env, and refuses an option that it does not have with 2", async () => {
    writeFileSync(join(project.root, ".env"), "APP_ID=cli_wrong\n");
    const { APP_ID: _, ...given } = env();
    const before = platform.discoveries;
    const { code, stdout, stderr } = await larkpost(["long-connection"], { root: project.root, env: given });
    assert.deepEqual([code, stdout, platform.discoveries], [1, "", before]);
    assert.match(stderr, /^Cannot start: APP_ID is not "cli_" and 16/);
    writeFileSync(join(project.root, ".env"), "");
    const wrong = await larkpost(["long-connection", "--nothing"], { root: project.root, env: env() });
    assert.equal(wrong.code, 2);
    const help = await larkpost(["long-connection", "--help"], { root: project.root });
    assert.deepEqual([help.code, help.stderr], [0, ""]);
    for (const said of ["--json", "EVENTS_QUEUE_URL", "SECRETS_PARAMETER"]) {
      assert.ok(help.stdout.includes(said), said);
    }
  });
});
