import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { webhookConfig } from "../../../lib/aws/config.ts";
import { prepareLongConnection, randomKeys } from "../../../lib/cli/start/long-connection-process.ts";
import { recordStage } from "../../../lib/cli/state/stages.ts";
import { systemClock } from "../../../lib/clock.ts";
import { ConfigError } from "../../../lib/errors.ts";
import { type LongConnectionServer, startLongConnectionServer } from "../../../lib/simulator/long-connection/server.ts";
import { eventText } from "../../support/events.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { until } from "../../support/until.ts";

const appId = "cli_0123456789abcdef";
const appSecret = "an-app-secret-of-the-tests";
/** JavaScript: of another TypeScript than the run before had, Node would strip the types. */
const cardHandler = (answer: string) => `
import { onCallback } from "larkpost";
export default onCallback("card.action.trigger", async () => ({ toast: { content: "${answer}" } }));
`;
const click = eventText({
  ...{ id: "click", type: "card.action.trigger", app: appId },
  event: { operator: { open_id: "ou_1" }, token: "c-1", action: { tag: "button", value: {} } },
});

describe("the long connection of npm start", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let services: Services;
  let platform: LongConnectionServer;
  const notices: string[] = [];
  const lines: Record<string, unknown>[] = [];
  const output = {
    onLine: (line: Record<string, unknown>) => lines.push(line),
    onNotice: (notice: string) => notices.push(notice),
  };
  /** A real app's settings, as far as a test can have them. */
  const real = () => ({ APP_ID: appId, APP_SECRET: appSecret, LARK_DOMAIN: platform.origin });
  const functionsEnv = (env = {}) => ({ ...nodeEnv, ...services.env, ...env });
  const prepare = (options: Partial<Parameters<typeof prepareLongConnection>[0]> = {}) =>
    prepareLongConnection({ root: project.root, env: {}, isSimulated: false, force: false, ...options });

  before(async () => {
    const apps = [{ appId, appSecret }];
    [project, services, platform] = await Promise.all([
      temporaryProject({}, { "card.action.trigger": 'export { default } from "../card.js";\n' }),
      startServices(),
      startLongConnectionServer({ apps, clock: systemClock, random: Math.random }),
    ]);
    writeFileSync(join(project.root, "functions/card.js"), cardHandler("one"));
  });
  after(async () => {
    await Promise.all([services.stop(), platform.close()]);
    project.remove();
  });

  /** What a click shows. Where a busy machine was too slow for its deadline, a person would click again. */
  const toastOf = () =>
    until("a click is answered by its handler", async () => {
      const { body } = await platform.deliver(click.replace("click", `click-${Math.random()}`), { appId });
      const { content, type } = (JSON.parse(body || "{}") as { toast?: Partial<Record<string, string>> }).toast ?? {};
      return type !== "error" && content;
    });

  test("dials the platform with the app's id and secret: events are queued, callbacks answered, changed code is live, and it lets go", async (t) => {
    const connection = await prepare({ env: real() });
    t.after(connection.stop);
    assert.match(connection.target, new RegExp(`^127\\.0\\.0\\.1:\\d+ as "${appId}"$`));
    await connection.start({ env: functionsEnv(real()), ...output });
    assert.equal(platform.connections(appId).length, 1);
    const event = eventText({ id: "dialled", app: appId });
    // Like the platform, push it again when a busy machine was too slow.
    await until("it is stored", async () => (await platform.deliver(event, { appId })).status === 200);
    const [message] = await services.take(services.urls.eventsQueueUrl);
    assert.match(message?.Body ?? "", /dialled/);
    assert.equal(await toastOf(), "one");
    writeFileSync(join(project.root, "functions/card.js"), cardHandler("two"));
    await connection.reload();
    assert.equal(await toastOf(), "two");
    assert.deepEqual(notices, []);
    assert.ok(lines.some(({ stage }) => stage === "connected"));
    await connection.stop();
    await until("no connection", () => platform.connections(appId).length === 0);
  });

  test("L4: says why when the platform refuses the app", async () => {
    const root = join(project.root, "refused");
    mkdirSync(join(root, "functions"), { recursive: true });
    const trace = JSON.stringify(new URL("../../../lib/trace/trace.ts", import.meta.url).href);
    // What the real one does, without its start.
    writeFileSync(
      join(root, "functions/long-connection.ts"),
      `import { publish } from ${trace};
      publish({ stage: "misconfigured", level: "error", facts: { message: "Cannot connect: refused" } });
      process.exit(1);`,
    );
    const connection = await prepare({ root, env: real() });
    await assert.rejects(connection.start({ env: functionsEnv(real()), ...output }), {
      name: "LongConnectionError",
      message: "Cannot connect: refused",
    });
  });

  for (const [name, env, says] of [
    ["the app's secret", { APP_ID: appId }, /APP_SECRET is not set/],
    ["the app's id", { APP_SECRET: appSecret }, /APP_ID is not set/],
    ["an id of the platform's", { APP_ID: "cli_x", APP_SECRET: appSecret }, /APP_ID is not "cli_" and 16/],
    ["a domain of the platform's", { ...{ APP_ID: appId, APP_SECRET: appSecret }, LARK_DOMAIN: "x" }, /LARK_DOMAIN/],
  ] as const) {
    test(`wants ${name} before anything is started`, async () => {
      await assert.rejects(prepare({ env }), says);
    });
  }

  describe("keeps its hands off a deployed stage's app", () => {
    const root = mkdtempSync(join(tmpdir(), "larkpost-stages-"));
    const file = join(root, "larkpost.stages.json");
    after(() => rmSync(root, { recursive: true, force: true }));
    const env = { APP_ID: appId, APP_SECRET: appSecret };

    test("refuses, says which stage it is, and does as told with --force", async () => {
      recordStage("prod", appId, root);
      recordStage("dev", "cli_fedcba9876543210", root);
      await assert.rejects(prepare({ env, root }), (error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, /"cli_0123456789abcdef" is the app of the deployed stage "prod".*or pass --force$/);
        return true;
      });
      await (await prepare({ env, root, force: true })).stop();
    });

    test("lets an app pass that no stage has, and one of this machine alone", async () => {
      writeFileSync(file, JSON.stringify({ prod: { appId: "cli_fedcba9876543210" } }));
      await (await prepare({ env, root })).stop();
      const ofThisMachine = await prepare({ isSimulated: true, env, root });
      assert.equal(ofThisMachine.target, "a simulator on this machine");
      await ofThisMachine.stop();
    });

    for (const text of ["{", "[]", "null", "3", '{"prod":"cli_0123456789abcdef"}', '{"prod":{}}', '{"prod":null}']) {
      test(`does not take what it cannot read for "none": ${text}`, async () => {
        writeFileSync(file, text);
        await assert.rejects(prepare({ env, root }), /^ConfigError: Cannot read larkpost\.stages\.json/);
        assert.throws(() => recordStage("prod", appId, root), /Cannot read larkpost\.stages\.json/);
        assert.equal(readFileSync(file, "utf8"), text);
      });
    }
  });

  test("a real app needs neither Encrypt Key nor Verification Token, and keeps those it has", () => {
    const url = "http://127.0.0.1/events";
    const queues = { EVENTS_QUEUE_URL: url, QUARANTINE_QUEUE_URL: url };
    const made = randomKeys({ APP_ID: appId });
    assert.deepEqual(webhookConfig({ APP_ID: appId, ...made, ...queues }).warnings, []);
    assert.notDeepEqual(randomKeys({ APP_ID: appId }), made);
    assert.deepEqual(randomKeys({ APP_ID: appId, ENCRYPT_KEY: "" }), {});
    assert.deepEqual(randomKeys({ APP_ID: appId, SECRETS_PARAMETER: "/x" }), {});
    assert.deepEqual(randomKeys({}), {});
  });
});
