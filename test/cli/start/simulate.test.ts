import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { parseEnv } from "node:util";
import { listenOnLoopback } from "../../../lib/simulator/loopback.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { until } from "../../support/until.ts";
import { env, larkpost, larkpostProcess, projectFolder, secrets, startReceiver, temporaryRoot } from "../run.ts";

describe("npm run simulate", () => {
  const { root, remove } = temporaryRoot();
  const children: ChildProcess[] = [];
  let receiver: Awaited<ReturnType<typeof startReceiver>>;
  before(async () => {
    receiver = await startReceiver();
  });
  // One that a failed test left behind would let no other start.
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });
  after(async () => {
    await receiver.stop();
    remove();
  });

  async function start(args: readonly string[] = [], settings: Readonly<Record<string, string>> = {}) {
    const child = spawn(process.execPath, [join(projectFolder, "lib/cli/main.ts"), "simulate", ...args], {
      env: { ...nodeEnv, LARKPOST_ROOT: root, NO_COLOR: "1", ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.push(child);
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
      });
    }
    const closed = once(child, "close") as Promise<[number | null, string | null]>;
    await until("its settings", () => {
      assert.equal(child.exitCode, null, printed.stderr);
      return printed.stdout.includes("LARK_DOMAIN");
    });
    return {
      printed,
      settings: parseEnv(printed.stdout),
      stop: () => {
        child.kill("SIGTERM");
        return closed;
      },
    };
  }

  test("prints a client's settings, one a line, keeps the app for the next time, and lets no second one in", async () => {
    const first = await start();
    assert.match(
      first.printed.stdout,
      /^LARK_DOMAIN=http:\/\/127\.0\.0\.1:\d+\nAPP_ID=cli_[0-9a-f]{16}\nAPP_SECRET=\S{32}\n$/,
    );
    const { LARK_DOMAIN = "", ...app } = first.settings;
    const path = "/open-apis/auth/v3/tenant_access_token/internal";
    const body = JSON.stringify({ app_id: app["APP_ID"], app_secret: app["APP_SECRET"] });
    const answer = await fetch(LARK_DOMAIN + path, { method: "POST", body });
    assert.equal(((await answer.json()) as { code: number }).code, 0);
    const page = await fetch(LARK_DOMAIN + path, { method: "POST", body, headers: { origin: "http://page.example" } });
    assert.equal(page.status, 403);

    const second = await larkpost(["simulate"], { root });
    assert.equal(second.code, 1);
    assert.match(second.stderr, /^Cannot start: .* runs with the state folder/);
    // Without a client, nothing is delivered, over the long connection that it is sent by.
    const { code, stdout } = await larkpost(["send", "im.message.receive_v1"], { root });
    assert.equal(code, 1);
    assert.match(stdout, /^none in \d+ ms {2}im\.message\.receive_v1 .* no client is connected\n$/);
    assert.deepEqual(await first.stop(), [0, null]);

    // With an address to push to, it makes the keys of pushes too.
    const port = new URL(LARK_DOMAIN).port;
    const before = process.listeners("SIGTERM");
    const again = larkpost(["simulate", "--port", port, "--push-to", receiver.url], { root });
    const stop = await until("its listener", () =>
      process.listeners("SIGTERM").find((listener) => !before.includes(listener)),
    );
    stop("SIGTERM");
    const { code: ended, stdout: printed } = await again;
    const { ENCRYPT_KEY, VERIFICATION_TOKEN, ...others } = parseEnv(printed);
    assert.deepEqual([ended, others], [0, { LARK_DOMAIN, ...app }]);
    assert.ok(ENCRYPT_KEY && VERIFICATION_TOKEN, printed);
  });

  test("pushes both kinds to an address, where send and chat reach it as well, with the environment's keys", async () => {
    const { printed, settings, stop } = await start(["--push-to", receiver.url], env);
    assert.deepEqual(Object.keys(settings), ["APP_ID", "APP_SECRET", "LARK_DOMAIN"]);
    assert.equal(settings["APP_ID"], secrets.appId);
    for (const type of ["im.message.receive_v1", "card.action.trigger"]) {
      // PORT is the receiver's own setting.
      const sent = await larkpost(["send", type], { root, env: { ...env, PORT: "1" } });
      assert.equal(sent.code, 0, sent.stderr + sent.stdout);
    }
    const chat = await larkpostProcess(["chat", "--wait", "1"], { root, input: "hello\n" });
    assert.deepEqual([chat.code, chat.stdout], [0, "you › hello\n"]);
    assert.deepEqual(
      receiver.received.map(({ path, envelope }) => [path, envelope?.kind]),
      [
        ["/webhook", "event"],
        ["/webhook", "callback"],
        ["/webhook", "event"],
      ],
    );
    assert.match(printed.stderr, /^200 in \d+ ms {2}im\.message\.receive_v1 {2}id \S+ {2}\{\}\n$/);
    assert.deepEqual(await stop(), [0, null]);
  });

  test("encrypts nothing, and prints JSON", async (t) => {
    const plain = await startReceiver({ isPlain: true });
    t.after(plain.stop);
    const { APP_ID, VERIFICATION_TOKEN } = env;
    const given = { APP_ID, VERIFICATION_TOKEN, APP_SECRET: "CANARY-of-the-environment", ALLOW_UNENCRYPTED: "true" };
    const { printed, stop } = await start(["--push-to", plain.url, "--json"], given);
    const { ready, LARK_DOMAIN: _, ...settings } = JSON.parse(printed.stdout);
    assert.deepEqual([ready, settings], [true, { APP_ID }]);
    const { APP_SECRET: __, ...receivers } = given;
    assert.equal((await larkpost(["send", "im.message.receive_v1"], { root, env: receivers })).code, 0);
    assert.equal((await larkpost(["chat", "--wait", "1"], { root, input: "hello\n", env: receivers })).code, 0);
    assert.deepEqual(
      plain.received.map(({ envelope }) => envelope?.kind),
      ["event", "event"],
    );
    await stop();
    const [, line = ""] = printed.stdout.split("\n");
    assert.partialDeepStrictEqual(JSON.parse(line), { type: "im.message.receive_v1", status: 200, delivered: true });
    assert.ok(!printed.stdout.includes("CANARY"));
  });

  test("refuses what is no address, and a port that is taken", async (t) => {
    const wrong = await larkpost(["simulate", "--push-to", "localhost:3000"], { root });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^Cannot push to "localhost:3000": it is not an http\(s\) URL\. Check --push-to\n$/);
    const server = createServer();
    const port = await listenOnLoopback(server);
    t.after(() => server.close());
    const taken = await larkpost(["simulate", "--port", String(port)], { root });
    assert.equal(taken.code, 1);
    assert.equal(taken.stderr, `Cannot start: the port ${port} is in use. Choose another with --port\n`);
  });
});
