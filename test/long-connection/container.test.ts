import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { dirname, join, relative, resolve, sep } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { healthCheck } from "../../infra/long-connection.js";
import { queueUrl } from "../../lib/local/sqs.ts";
import { serveHealth } from "../../lib/long-connection/health.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { assertCallbackFailure, failing, previewText, writeHelper } from "../functions/failures.ts";
import { startContainer } from "../support/aws.ts";
import { type Faults, firstTry, startFaults } from "../support/faults.ts";
import {
  appSecret,
  collectingPorts,
  type PlatformEnd,
  startClient,
  startPlatformEnd,
} from "../support/long-connection.ts";
import { nodeEnv } from "../support/node-env.ts";
import { fixtureApp, freeFolder } from "../support/project.ts";
import { appId, v2Text } from "../support/push.ts";
import { type Services, startServices } from "../support/services.ts";
import { until } from "../support/until.ts";

const root = resolve(import.meta.dirname, "../..");

/** Each instruction and what it says, lines that go on put together. */
const instructions = readFileSync(join(root, "Containerfile"), "utf8")
  .replaceAll("\\\n", " ")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => ({ name: line.split(" ", 1)[0] ?? "", says: line.slice(line.indexOf(" ")).trim() }));
const named = (name: string) => instructions.filter((one) => one.name === name).map(({ says }) => says);
/** What the build stage takes from the project. */
const sources = named("COPY")
  .filter((says) => !says.startsWith("--from"))
  .flatMap((says) => says.split(" ").slice(0, -1));

/** All but what the user has in the folders of `functions/`. */
function isEngine(path: string): boolean {
  const [first, ...rest] = relative(root, path).split(sep);
  return first !== "functions" || rest.length < 2;
}

describe("the Containerfile", () => {
  test("builds on the Node that everything runs on, from the lock file, with the project's own build", () => {
    const major = process.versions.node.split(".", 1)[0];
    assert.deepEqual(
      named("FROM").map((says) => /node:(\d+)-slim/.exec(says)?.[1]),
      [major, major],
    );
    assert.deepEqual(named("RUN"), ["npm ci", "npm run build"]);
  });

  test("copies what is there, and what .dockerignore lets through", () => {
    const allowed = readFileSync(join(root, ".dockerignore"), "utf8").split("\n");
    assert.ok(allowed.includes("*"));
    for (const source of sources) {
      assert.ok(existsSync(join(root, source)), source);
      assert.ok(allowed.includes(`!${source}`), source);
    }
    assert.ok(sources.includes("package-lock.json") && !sources.includes("."));
  });

  test("ends with the process's bundle alone, under a user without rights, asked for its health", () => {
    const last = instructions.slice(instructions.findLastIndex(({ name }) => name === "FROM"));
    assert.deepEqual(
      last.map(({ name }) => name),
      ["FROM", "ENV", "WORKDIR", "COPY", "USER", "HEALTHCHECK", "CMD"],
    );
    assert.match(last[3]?.says ?? "", /^--from=build \S*\/dist\/long-connection dist\/long-connection$/);
    assert.equal(last[4]?.says, "node");
    const check = /CMD (\[.*\])$/.exec(last[5]?.says ?? "")?.[1] ?? "[]";
    assert.deepEqual(JSON.parse(check), ["node", "-e", healthCheck]);
    assert.deepEqual(JSON.parse(last[6]?.says ?? ""), ["node", "dist/long-connection/index.mjs"]);
  });
});

/** What is installed, with nothing in the official SDK: no handler here calls `lark()`, and its 6 MB are most of the build. */
function linkPackages(folder: string): void {
  const sdk = "@larksuiteoapi/node-sdk";
  const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { dependencies: object };
  for (const name of Object.keys(dependencies)) {
    const link = join(folder, name);
    mkdirSync(dirname(link), { recursive: true });
    if (name !== sdk) symlinkSync(join(root, "node_modules", name), link, "dir");
  }
  mkdirSync(join(folder, sdk));
  writeFileSync(join(folder, sdk, "index.js"), "");
}

// Real processes, and real time: they wait more than they work, so they run side by side.
describe("the bundle that it starts", { concurrency: true }, () => {
  const folder = freeFolder("container");
  let services: Services;
  let container: Awaited<ReturnType<typeof startContainer>>;
  let faults: Faults;
  const children: ChildProcess[] = [];

  before(async () => {
    // As the build stage has it: what is copied, and what is installed.
    for (const source of sources) {
      const isFolder = statSync(join(root, source)).isDirectory();
      cpSync(join(root, source), join(folder, "build", source), { recursive: isFolder, filter: isEngine });
    }
    cpSync(fixtureApp, join(folder, "build/functions"), { recursive: true });
    for (const [type, source] of Object.entries(failing.callbacks)) {
      writeFileSync(join(folder, `build/functions/callbacks/${type}.ts`), source);
    }
    writeHelper(join(folder, "build"));
    // The image takes one of the four bundles. The others are built from a line each.
    for (const name of ["webhook", "callback", "worker"]) {
      writeFileSync(join(folder, `build/functions/${name}.ts`), "export const handler = async () => {};\n");
    }
    linkPackages(join(folder, "build/node_modules"));
    // Known before the build: where that fails, what runs is stopped.
    [services, container] = await Promise.all([startServices(), startContainer("local")]);
    await promisify(execFile)(process.execPath, ["lib/cli/main.ts", "build"], {
      cwd: join(folder, "build"),
      env: nodeEnv,
    });
    faults = await startFaults(services.endpoints.sqs);
    // As the last stage has it: the bundle, and no package.
    cpSync(join(folder, "build/dist/long-connection"), join(folder, "run/dist/long-connection"), { recursive: true });
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await faults?.stop();
    container?.stop();
    await services?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  function start({ origin }: PlatformEnd, env: Readonly<Record<string, string>>) {
    const queues = {
      EVENTS_QUEUE_URL: queueUrl(faults.endpoint, "events"),
      QUARANTINE_QUEUE_URL: queueUrl(faults.endpoint, "quarantine"),
    };
    const child = spawn(process.execPath, ["dist/long-connection/index.mjs"], {
      cwd: join(folder, "run"),
      env: {
        ...services.env,
        ...container.env,
        ...queues,
        APP_ID: appId,
        LARK_DOMAIN: origin,
        LOG_LEVEL: "debug",
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    const lines: Record<string, unknown>[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
    let complaints = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      complaints += text;
    });
    return {
      ...{ child, lines },
      text: () => `${JSON.stringify(lines)}${complaints}`,
      exited: once(child, "close") as Promise<[number | null, string | null]>,
    };
  }

  test("says on its machine whether it is connected, logs where a handler failed, tells no secret, and stopped amid a store finishes it", async (t) => {
    const server = await startPlatformEnd({ config: { PingInterval: 1, ReconnectNonce: 1 } });
    t.after(() => server.close());
    const port = await freePort();
    const { child, lines, text, exited } = start(server, { APP_SECRET: appSecret, HEALTH_PORT: String(port) });
    const health = () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        ({ status }) => status,
        () => undefined,
      );
    await until("the process is connected", () => lines.some(({ stage }) => stage === "connected"));
    assert.equal(await health(), 200);
    const boxed = v2Text({ header: { event_id: "boxed" } });
    // Like the platform, push it again when a busy machine was too slow.
    await until("it is stored", async () => (await server.deliver(boxed, { appId })).status === 200);
    const [message] = await services.take(services.urls.eventsQueueUrl);
    assert.match(message?.Body ?? "", /boxed/);
    // A handler that throws is logged with its place in the source, although the image holds no source.
    assert.equal((await server.deliver(previewText("plain", appId), { appId, deadlineMs: 60_000 })).status, 200);
    const failed = await until("the failed callback", () => lines.find(({ stage }) => stage === "failed"));
    assertCallbackFailure(failed, join(folder, "build"));
    server.connections()[0]?.drop();
    await until("it says that it is not connected", async () => (await health()) === 503);
    await until("it is connected again", async () => (await health()) === 200, { everyMs: 50 });

    // The first try of the store is never answered; amid it the signal comes, and the second try does.
    faults.inject("SendMessage", { kind: "stall" }, firstTry);
    const unwatch = faults.watch(({ attempt }) => void (attempt === 1 && child.kill("SIGTERM")));
    const amidst = v2Text({ header: { event_id: "amid" } });
    assert.equal((await server.deliver(amidst, { appId, deadlineMs: 60_000 })).status, 200);
    unwatch();
    assert.deepEqual(await exited, [0, null]);
    const [amid, ...more] = await services.take(services.urls.eventsQueueUrl);
    assert.match(amid?.Body ?? "", /amid/);
    assert.deepEqual(more, []);
    // A push that was answered too late says so.
    const loud = lines.filter(({ level, stage }) => level !== "debug" && stage !== "unavailable");
    assert.deepEqual(
      loud.filter(({ level }) => level === "error"),
      [failed],
    );
    const told = loud.map(({ stage }) => stage);
    assert.deepEqual(told.slice(0, 2), ["connected", "queued"]);
    for (const mark of [appSecret, "ticket", "ws://", "hello"]) assert.ok(!text().includes(mark), mark);
  });

  test("loads the official client in a chunk of its own, and not when it starts", () => {
    const bundle = join(folder, "run/dist/long-connection");
    const startsWith = new Set(["index.mjs"]);
    for (const file of startsWith) {
      const imports = readFileSync(join(bundle, file), "utf8").matchAll(/\b(?:from|import) ?"\.\/([^"]+)"/g);
      for (const [, path = ""] of imports) startsWith.add(join(dirname(file), path));
    }
    const chunks = readdirSync(join(bundle, "chunks")).map((name) => join("chunks", name));
    const client = chunks.find((path) => /official-client-.*\.mjs$/.test(path)) ?? assert.fail();
    assert.ok(startsWith.size > 1 && !startsWith.has(client));
    assert.match(readFileSync(join(bundle, client), "utf8"), /larkMarketAccessToken/);
  });

  test("L4: ends at once with exit code 1 and one clear line when the platform refuses the secret", async (t) => {
    const server = await startPlatformEnd();
    t.after(() => server.close());
    const startMs = performance.now();
    const { child, lines, text, exited } = start(server, { APP_SECRET: "CANARY-SECRET-1b2c3d" });
    const toldMs = once(child.stdout, "data").then(() => performance.now());
    assert.deepEqual(await exited, [1, null]);
    // On a busy machine its start takes long as well.
    const endMs = performance.now() - (await toldMs);
    assert.ok(endMs < (await toldMs) - startMs, `it ended ${endMs} ms after its line`);
    const [line, ...others] = lines;
    assert.deepEqual(others, []);
    assert.deepEqual([line?.["level"], line?.["stage"]], ["error", "misconfigured"]);
    assert.match(String(line?.["message"]), /the app's id or secret is wrong\. Check APP_ID and APP_SECRET$/);
    assert.ok(!text().includes("CANARY"));
    assert.equal(server.discoveries, 1);
  });

  test("cannot say how it is on a port that is taken, and says so in a clear line", async (t) => {
    const server = createServer();
    const port = await listenOnLoopback(server);
    t.after(() => server.close());
    await assert.rejects(
      serveHealth(port, () => true),
      {
        ...{ name: "ConfigError", message: `Cannot start: HEALTH_PORT ${port} cannot be listened on (EADDRINUSE)` },
      },
    );
  });

  test("L3: a connection that has gone silent is replaced within the ping interval and 10 s of real time", async (t) => {
    const server = await startPlatformEnd({ config: { PingInterval: 1 } });
    t.after(() => server.close());
    const client = startClient(t, { origin: server.origin, ports: collectingPorts().ports, random: () => 0.5 });
    await client.connected();
    const connection = await until("the platform sees it", () => server.connections()[0]);
    await until("two pings", () => connection.received.length >= 2);
    const startMs = performance.now();
    connection.blackhole();
    const isReplaced = () => server.connections().length === 2 && client.isConnected;
    await until("another one stands", isReplaced, { everyMs: 100 });
    const tookMs = performance.now() - startMs;
    assert.ok(tookMs <= 11_000, `it took ${Math.round(tookMs)} ms`);
    connection.drop();
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listenOnLoopback(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}
