import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { queueUrl } from "../../../lib/local/sqs.ts";
import { writeConfig } from "../../infra/stack.ts";
import { startContainer } from "../../support/aws.ts";
import { appId, eventBody } from "../../support/events.ts";
import { type Call, type Faults, startFaults } from "../../support/faults.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { temporaryProject } from "../../support/project.ts";
import { type Services, startServices } from "../../support/services.ts";
import { until } from "../../support/until.ts";
import { larkpost, projectFolder } from "../run.ts";

/** Writes its runs into a file. A slow one counts up in a second file, and ends when a third is there. */
const handler = `
import { appendFileSync, existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { onEvent } from "larkpost";
export default onEvent("im.message.receive_v1", async ({ message: { content } }, { id }) => {
  appendFileSync(process.env.RUNS, id + " " + process.env.MAX_ATTEMPTS + "\\n");
  if (content === "fails") throw new Error("a handler's fault");
  while (content === "slow" && !existsSync(process.env.RUNS + ".go")) {
    appendFileSync(process.env.RUNS + ".ticks", ".");
    await setTimeout(10);
  }
});
`;
const accessKeyId = "a-key-of-the-container";

describe("npm run worker", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let services: Services;
  let faults: Faults;
  const children: ChildProcess[] = [];
  let container: Awaited<ReturnType<typeof startContainer>>;
  let env: Record<string, string>;

  before(async () => {
    [project, services] = await Promise.all([
      temporaryProject({ "im.message.receive_v1": handler }),
      startServices({ visibilityTimeoutSeconds: 360 }),
    ]);
    // A stop waits for the last poll.
    const rewrite = ({ action, body }: Call) => (action === "ReceiveMessage" ? { ...body, WaitTimeSeconds: 1 } : body);
    faults = await startFaults(services.exchangeSqs, rewrite);
    container = await startContainer(accessKeyId);
    writeConfig(project.root, { lanes: { ai: { types: ["im.message.receive_v1"], attempts: 3 } } });
    const Attributes = { VisibilityTimeout: "360" };
    await services.callSqs("CreateQueue", { QueueName: "events-ai", Attributes });
    env = {
      ...services.env,
      AWS_ENDPOINT_URL_SQS: faults.endpoint,
      EVENTS_QUEUE_URL: queueUrl(faults.endpoint, "events"),
      APP_ID: appId,
      APP_SECRET: "an-app-secret-of-the-tests",
      RUNS: join(project.root, "runs"),
      LARKPOST_ROOT: project.root,
    };
    writeFileSync(join(project.root, "runs"), "");
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    container.stop();
    await faults.stop();
    await services.stop();
    project.remove();
  });

  const runs = () => readFileSync(join(project.root, "runs"), "utf8").trim().split("\n");
  const queued = (lane = "") => services.count(services.urls.eventsQueueUrl + lane);
  async function send(id: string, { content = "", lane = "" } = {}) {
    const event = { message: { message_id: id, content } };
    const MessageBody = eventBody({ id, type: "im.message.receive_v1", event });
    await services.callSqs("SendMessage", { QueueUrl: services.urls.eventsQueueUrl + lane, MessageBody });
  }

  async function start(args: readonly string[], given: Readonly<Record<string, string>> = {}) {
    const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), "worker", ...args], {
      env: { ...nodeEnv, ...env, ...given },
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
    const closed = once(child, "close") as Promise<[number | null, string | null]>;
    const reached = (stage: string, id: string) =>
      until(`${id} ${stage}`, () => lines.some((line) => line.includes(stage) && line.includes(id)));
    await until("it is ready", () => lines.length > 0);
    return { child, lines, closed, reached };
  }

  test("runs each event of its lane once and alone by what came of it, with a container's credentials, and ends what runs", async () => {
    const calls: Call[] = [];
    const unwatch = faults.watch((call) => void calls.push(call));
    const { child, lines, closed, reached } = await start(["--json", "--lane", "ai"], container.env);
    const ready = { ready: true, queue: `${env["EVENTS_QUEUE_URL"]}-ai`, handlers: ["im.message.receive_v1"] };
    assert.deepEqual(JSON.parse(lines[0] ?? ""), ready);
    await send("of no lane");
    for (const id of ["first", "second"]) await send(id, { lane: "-ai" });
    await send("failing", { content: "fails", lane: "-ai" });
    await send("slow", { content: "slow", lane: "-ai" });
    for (const id of ["first", "second"]) await reached("handled", id);
    await reached("failed", "failing");
    await reached("started", "slow");
    child.kill("SIGTERM");
    const polls = calls.filter(({ action }) => action === "ReceiveMessage");
    assert.ok(polls.every(({ body }) => body["WaitTimeSeconds"] === 5));
    await faults.quiet();
    const ticks = () => readFileSync(`${env["RUNS"]}.ticks`).length;
    const before = ticks();
    await until("it runs on after the last poll", () => ticks() > before + 20, { withinMs: 20_000 });
    writeFileSync(`${env["RUNS"]}.go`, "");
    await reached("handled", "slow");
    assert.deepEqual(await closed, [0, null]);
    unwatch();
    assert.deepEqual(runs().sort(), ["failing 3", "first 3", "second 3", "slow 3"]);
    assert.equal(await queued("-ai"), 1, "the event that failed comes back");
    assert.ok(calls.every(({ authorization }) => authorization.includes(accessKeyId)));
    await services.callSqs("PurgeQueue", { QueueUrl: services.urls.eventsQueueUrl });
  });

  test("killed between a run and its deletion, gets the event again, and does not run it again", async () => {
    faults.inject("DeleteMessageBatch", { kind: "stall" });
    const deletion = Promise.withResolvers<Call>();
    const unwatch = faults.watch((call) => call.action === "DeleteMessageBatch" && deletion.resolve(call));
    const killed = await start(["--json"], { LOG_LEVEL: "warn" });
    await send("once");
    const { body } = await deletion.promise;
    killed.child.kill("SIGKILL");
    assert.deepEqual(await killed.closed, [null, "SIGKILL"]);
    assert.equal(killed.lines.length, 1, "a run is no warning");
    unwatch();
    faults.reset();
    // The dead process's last poll would still receive the message.
    await faults.quiet();
    assert.equal(await queued(), 1);
    const [{ ReceiptHandle } = {}] = body["Entries"] as { ReceiptHandle?: string }[];
    const shown = { QueueUrl: services.urls.eventsQueueUrl, ReceiptHandle, VisibilityTimeout: 0 };
    await services.callSqs("ChangeMessageVisibility", shown);

    const { child, lines, closed, reached } = await start([]);
    assert.equal(lines[0], `Ready: receives from ${env["EVENTS_QUEUE_URL"]}, for im.message.receive_v1`);
    await reached("duplicate", "once");
    await send("a-failing-event-of-a-long-id", { content: "fails" });
    await reached("failed", "a-failing-event-of-a-long-id");
    const place = () => lines.some((line) => /^ {10}at functions\/events\/im\.message\.receive_v1\.ts:7:/.test(line));
    await until("its place", place);
    await services.callSqs("PurgeQueue", { QueueUrl: services.urls.eventsQueueUrl });
    await until("its deletion", async () => (await queued()) === 0);
    assert.equal(runs().filter((line) => line === "once 10").length, 1);
    child.kill("SIGINT");
    assert.deepEqual(await closed, [0, null]);
  });

  test("ends with 1 and one clear line when it cannot work as the function would", async () => {
    const fails = async (given: Record<string, string>, says: RegExp) => {
      const all = { ...env, ...given };
      const { code, stdout, stderr } = await larkpost(["worker"], { root: project.root, env: all });
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, says);
    };
    const { code, stderr } = await larkpost(["worker", "--lane", "aj"], { root: project.root, env });
    assert.equal(code, 2);
    assert.match(stderr, /^Cannot start: larkpost\.config\.js has no lane "aj"\. [^\n]+ Did you mean "ai"\?\n/);
    await fails({ LEDGER_TABLE: "", APP_ID: "" }, /^Cannot start: APP_ID and LEDGER_TABLE are not set\. [^\n]+\n$/);
    await fails({ DEAD_LETTER_QUEUE_URL: "" }, /^Cannot start: DEAD_LETTER_QUEUE_URL [^\n]+\n$/);
    await fails(
      { EVENTS_QUEUE_URL: queueUrl(faults.endpoint, "nowhere") },
      /^Cannot start: the events queue does not answer: [^\n]+[^.\n]\. Check EVENTS_QUEUE_URL, AWS_REGION, [^\n]+\n$/,
    );
    await fails(
      { EVENTS_QUEUE_URL: queueUrl(faults.endpoint, "quarantine") },
      /^Cannot start: the events queue shows a message again after 30 s, while its handler may run for 60 s\. [^\n]+\n$/,
    );
    // The process of the handlers finds this.
    await fails({ LARK_DOMAIN: "nowhere" }, /^Cannot start: LARK_DOMAIN [^\n]+\n$/);
    const hasEnded = () => !process.getActiveResourcesInfo().includes("ProcessWrap");
    await until("that process has ended", hasEnded, { withinMs: 5_000 });
  });
});
