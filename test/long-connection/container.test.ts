import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve, sep } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { healthCheck } from "../../infra/long-connection.js";
import { systemClock } from "../../lib/clock.ts";
import { type LongConnectionServer, startLongConnectionServer } from "../../lib/simulator/long-connection/server.ts";
import { assertCallbackFailure, failing, previewText, writeHelper } from "../functions/failures.ts";
import { eventText } from "../support/events.ts";
import { fixtureApp, freeFolder } from "../support/project.ts";
import { type Services, startServices } from "../support/services.ts";
import { until } from "../support/until.ts";

const root = resolve(import.meta.dirname, "../..");
const appId = "cli_00000000000000dd";
const appSecret = "an-app-secret-of-the-container";

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

describe("the bundle that it starts", () => {
  const folder = freeFolder("container");
  let services: Services;
  let server: LongConnectionServer;
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
    symlinkSync(join(root, "node_modules"), join(folder, "build/node_modules"), "dir");
    const apps = [{ appId, appSecret }];
    const building = promisify(execFile)(process.execPath, ["lib/cli/main.ts", "build"], {
      cwd: join(folder, "build"),
      env: {
        PATH: process.env["PATH"],
        GOGC: process.env["GOGC"],
        NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(tmpdir(), "larkpost-compile-cache"),
      },
    });
    [services, server] = await Promise.all([
      startServices(),
      startLongConnectionServer({ apps, clock: systemClock, random: Math.random }),
      building,
    ]);
    // As the last stage has it: the bundle, and no package.
    cpSync(join(folder, "build/dist/long-connection"), join(folder, "run/dist/long-connection"), { recursive: true });
  });
  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await Promise.all([services.stop(), server.close()]);
    rmSync(folder, { recursive: true, force: true });
  });

  function start(env: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, ["dist/long-connection/index.mjs"], {
      cwd: join(folder, "run"),
      env: { ...services.env, APP_ID: appId, LARK_DOMAIN: server.origin, ...env },
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
      ...{ child, lines, complaints: () => complaints },
      exited: once(child, "close") as Promise<[number | null, string | null]>,
    };
  }

  test("connects, stores an event before it is acknowledged, logs where a handler failed, and leaves with 0 when it is asked to", async () => {
    const { child, lines, exited } = start({ APP_SECRET: appSecret });
    await until("a connection", () => server.connections().length === 1);
    const result = await server.deliver(eventText({ id: "boxed", type: "im.message.receive_v1", app: appId }), {
      appId,
    });
    assert.equal(result.status, 200, result.problem);
    const [message] = await services.take(services.urls.eventsQueueUrl);
    assert.match(message?.Body ?? "", /boxed/);
    // A handler that throws is logged with its place in the source, although the image holds no source.
    await server.deliver(previewText("plain", appId), { appId });
    const failed = await until("the failed callback", () => lines.find(({ stage }) => stage === "failed"));
    assertCallbackFailure(failed, join(folder, "build"));
    child.kill("SIGTERM");
    assert.deepEqual(await exited, [0, null]);
    const stages = lines.map(({ stage }) => stage);
    assert.deepEqual(stages.slice(0, 2), ["connected", "queued"]);
  });

  const refusals = [
    {
      when: "the platform refuses the secret",
      given: { APP_SECRET: "CANARY-SECRET-1b2c3d" },
      says: /the app's id or secret is wrong\. Check APP_ID and APP_SECRET$/,
      calls: 1,
    },
    {
      when: "the app's id has no shape that the platform gives",
      given: { APP_ID: "cli_short", APP_SECRET: appSecret },
      says: /^Cannot start: APP_ID /,
      calls: 0,
    },
  ];
  for (const { when, given, says, calls } of refusals) {
    test(`L4: ends within 5 s with exit code 1 and one clear line when ${when}`, async () => {
      const before = server.discoveries;
      const startMs = performance.now();
      const { lines, complaints, exited } = start({ ...given, LOG_LEVEL: "debug" });
      assert.deepEqual(await exited, [1, null]);
      assert.ok(performance.now() - startMs < 5_000);
      const [line, ...others] = lines;
      assert.deepEqual(others, []);
      assert.deepEqual([line?.["level"], line?.["stage"]], ["error", "misconfigured"]);
      assert.match(String(line?.["message"]), says);
      assert.ok(!`${JSON.stringify(lines)}${complaints()}`.includes("CANARY"));
      assert.equal(server.discoveries - before, calls);
    });
  }
});
