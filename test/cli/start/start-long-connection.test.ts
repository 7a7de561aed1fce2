// first: it runs npm start.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../../lib/clock.ts";
import { codes, jsonAnswer, platformConfig } from "../../../lib/simulator/long-connection/discovery.ts";
import { type LongConnectionServer, startLongConnectionServer } from "../../../lib/simulator/long-connection/server.ts";
import { writeConfig } from "../../infra/stack.ts";
import { eventText } from "../../support/events.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { temporaryProject } from "../../support/project.ts";
import { until } from "../../support/until.ts";
import { larkpost, projectFolder } from "../run.ts";

const appId = "cli_0123456789abcdef";
const appSecret = "an-app-secret-of-the-tests";
const eventHandler = `
import { onEvent } from "larkpost";
export default onEvent("im.message.receive_v1", () => {});
`;

describe("npm start -- --long-connection", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let platform: LongConnectionServer;
  const children: ChildProcess[] = [];
  const temporary = () => join(project.root, "tmp");
  const machine = () => ({
    ...nodeEnv,
    TMPDIR: temporary(),
    LARKPOST_ROOT: project.root,
  });
  const env = () => ({
    ...machine(),
    ...{ APP_ID: appId, APP_SECRET: appSecret, LARK_DOMAIN: platform.origin },
  });
  const args = ["start", "--long-connection", "--json", "--port", "0"];

  before(async () => {
    const apps = [{ appId, appSecret }];
    [project, platform] = await Promise.all([
      temporaryProject({ "im.message.receive_v1": eventHandler }),
      startLongConnectionServer({ apps, clock: systemClock, random: Math.random }),
    ]);
    mkdirSync(temporary());
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await platform.close();
    project.remove();
  });

  function start(settings: NodeJS.ProcessEnv = env()) {
    const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), ...args], {
      env: settings,
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (more: string) => {
        printed[name] += more;
      });
    }
    const lines = () => printed.stdout.split("\n").slice(0, -1);
    const told = (what: string) => lines().some((line) => line.includes(what));
    return { child, printed, lines, told, closed: once(child, "close") as Promise<[number | null, string | null]> };
  }

  test("L4: with a real app: an event over the connection runs its handler here, a doubt about a setting is said once, and it ends with 1 and one clear line when the platform refuses the app", async () => {
    const keys = { ENCRYPT_KEY: "an Encrypt Key of some length", VERIFICATION_TOKEN: "a short token" };
    platform.configure({ ...platformConfig, ReconnectNonce: 1 });
    const { printed, lines, told, closed } = start({ ...env(), ...keys, http_proxy: "http://127.0.0.1:9" });
    await until("a connection", () => platform.connections(appId).length === 1);
    const event = { message: { message_id: "om_1", chat_type: "p2p", message_type: "text", content: "{}" } };
    const text = eventText({ id: "from-afar", type: "im.message.receive_v1", app: appId, event });
    // Like the platform, push it again when a busy machine was too slow.
    await until("it is stored", async () => (await platform.deliver(text, { appId })).status === 200);
    await until("its run", () => told('"stage":"handled","id":"from-afar"'));
    await until("its start", () => told('"ready":true'));
    const doubts = lines().filter((line) => /shorter than|not used/.test(line));
    assert.deepEqual(doubts.map((line) => JSON.parse(line).notice).sort(), [
      "VERIFICATION_TOKEN is shorter than 16 characters. Check that it was copied whole",
      "http_proxy is set and not used: the platform is called over HTTPS. Set HTTPS_PROXY",
    ]);
    assert.ok(told(`the long connection goes to 127.0.0.1:`));
    platform.answerNext(jsonAnswer(200, { code: codes.wrongSecret, msg: "auth failed" }));
    platform.connections(appId)[0]?.drop();
    assert.deepEqual(await closed, [1, null]);
    assert.equal(
      printed.stderr,
      `Cannot connect: the platform answered 514, "auth failed": the app's id or secret is wrong. Check APP_ID and APP_SECRET\n`,
    );
  });

  test("without an app: send and chat go over the connection to a simulated platform", async () => {
    const { child, told, closed } = start(machine());
    const options = { root: project.root };
    await until("its start", () => told('"ready":true'));
    // Said before the connection stands, it waits for it.
    const sent = await until("a client", async () => {
      const ended = await larkpost(
        ["send", "im.message.receive_v1", "--via", "long-connection", "--event-id", "afar"],
        options,
      );
      return ended.code === 0 ? ended : undefined;
    });
    assert.match(sent.stdout, /^200 in [\d.]+ ms {2}im\.message\.receive_v1 {2}id afar/);
    await until("its run", () => told('"stage":"handled","id":"afar"'));
    const chat = await larkpost(["chat"], { ...options, input: "hello\n" });
    assert.equal(chat.code, 0);

    // One save breaks a file, another adds one: the one goes on as it was, the other is live.
    project.write("im.message.receive_v1", "export default 5;\n");
    project.write("im.chat.updated_v1", eventHandler.replace("im.message.receive_v1", "im.chat.updated_v1"));
    await until("the new file", () => told('"handlers":["im.chat.updated_v1","im.message.receive_v1"]'));
    await until("the fault", () => told('"lastGood":["functions/events/im.message.receive_v1.ts"]'));
    assert.ok(
      told('"file":"functions/events/im.message.receive_v1.ts","line":1,"message":"its default export is not onEvent'),
    );
    for (const type of ["im.message.receive_v1", "im.chat.updated_v1"]) {
      const { code } = await larkpost(
        ["send", type, "--via", "long-connection", "--event-id", `then-${type}`],
        options,
      );
      assert.equal(code, 0);
      await until("its run", () => told(`"stage":"handled","id":"then-${type}"`));
    }
    child.kill("SIGTERM");
    assert.deepEqual(await closed, [0, null]);

    const late = await larkpost(["send", "im.message.receive_v1", "--via", "long-connection"], options);
    assert.equal(late.code, 1);
    assert.match(late.stderr, /Cannot send over the long connection: the simulated Feishu has ended/);
    for (const [wrong, problem] of [
      [["--via", "pigeon"], /via "pigeon": there are webhook and long-connection/],
      [["--via", "long-connection", "--bad-signature"], /no address, no challenge and no signature/],
    ] as const) {
      const { code, stderr } = await larkpost(["send", "im.message.receive_v1", ...wrong], options);
      assert.equal(code, 2);
      assert.match(stderr, problem);
    }
  });

  test("what has started ends when the rest cannot", async () => {
    writeConfig(project.root, {
      resources: {
        Ledger: {
          Type: "AWS::DynamoDB::Table",
          Properties: {
            TableName: "ledger",
            AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
            KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
          },
        },
      },
    });
    // In a process of its own, each of these would keep it: processes, servers, connections, watchers, timers.
    const kept = () => Object.entries(Object.groupBy(process.getActiveResourcesInfo(), (kind) => kind));
    const before = new Map(kept().map(([kind, all = []]) => [kind, all.length]));
    const isNoMore = () => kept().every(([kind, all = []]) => all.length <= (before.get(kind) ?? 0));
    const { code, stderr } = await larkpost(args, { root: project.root });
    assert.equal(code, 1);
    await until("nothing is left of it", isNoMore, { withinMs: 5_000 });
    assert.match(stderr, /^Cannot create the table "Ledger" of larkpost\.config\.js: [^\n]+\n$/);
    writeConfig(project.root, {});
  });

  test("does not start at all with the app of a deployed stage", async () => {
    writeFileSync(join(project.root, "larkpost.stages.json"), JSON.stringify({ prod: { appId } }));
    const before = platform.discoveries;
    const { code, stdout, stderr } = await larkpost(args, { root: project.root, env: env() });
    assert.deepEqual([code, stdout, platform.discoveries], [1, "", before]);
    assert.match(
      stderr,
      /^Cannot start: "cli_0123456789abcdef" is the app of the deployed stage "prod"[^\n]+--force\n$/,
    );
    rmSync(join(project.root, "infra"), { recursive: true });
    symlinkSync(join(projectFolder, "infra"), join(project.root, "infra"), "dir");
  });
});
