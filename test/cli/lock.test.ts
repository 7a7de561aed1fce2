import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { lockApp } from "../../lib/cli/lock.ts";
import { ConfigError } from "../../lib/errors.ts";
import { seeded } from "../support/random.ts";

const appId = "cli_0123456789abcdef";
/** Whoever is told "try" tries, and holds what it gets until it is told "release". */
const contender = join(import.meta.dirname, "../support/lock-contender.ts");

let folder: string;
const lockFile = () => join(folder, `larkpost-${appId}.lock`);
const leave = (content: object | string) =>
  writeFileSync(lockFile(), typeof content === "string" ? content : JSON.stringify(content));
const children: ChildProcess[] = [];

function start(): ChildProcess {
  const child = fork(contender, [folder, appId], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  children.push(child);
  return child;
}

type Answer = { won: true } | { refused: string };

async function ask(child: ChildProcess, what: "try" | "release"): Promise<Answer> {
  const answer = once(child, "message");
  child.send(what);
  return (await answer)[0] as Answer;
}

/** The id of a process that has been and is gone. */
async function deadPid(): Promise<number> {
  const child = start();
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
  return child.pid ?? 0;
}

describe("the lock of an app's long connection", () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "larkpost-lock-"));
  });
  beforeEach(() => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true });
  });
  after(() => {
    for (const child of children) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  test("is one process's; another one is refused, and told which process has it", async () => {
    const child = start();
    assert.deepEqual(await ask(child, "try"), { won: true });
    await assert.rejects(lockApp(appId, { folder }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, new RegExp(`^Cannot start: process ${child.pid} of this machine has the long`));
      assert.match(error.message, /since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC.*Stop it first/);
      assert.ok(error.message.includes(lockFile()));
      return true;
    });
    await ask(child, "release");
    (await lockApp(appId, { folder })).release();
  });

  test("is another for another app, and refuses the same process as well", async () => {
    const lock = await lockApp(appId, { folder });
    const other = await lockApp("cli_fedcba9876543210", { folder });
    await assert.rejects(lockApp(appId, { folder }), new RegExp(`process ${process.pid} of this machine`));
    lock.release();
    lock.release();
    assert.deepEqual(readdirSync(folder), ["larkpost-cli_fedcba9876543210.lock"]);
    other.release();
    assert.deepEqual(readdirSync(folder), []);
  });

  test("goes with a process that exits, and is taken over from one that was killed", async () => {
    const child = start();
    await ask(child, "try");
    child.disconnect();
    await once(child, "exit");
    assert.deepEqual(readdirSync(folder), []);
    const killed = start();
    await ask(killed, "try");
    killed.kill("SIGKILL");
    await once(killed, "exit");
    assert.ok(existsSync(lockFile()));
    (await lockApp(appId, { folder })).release();
  });

  const left: readonly [what: string, content: () => object | string | Promise<object>][] = [
    ["a process that is dead", async () => ({ pid: await deadPid(), startedAtMs: Date.now() })],
    ["this process's id in another life", () => ({ pid: process.pid, startedAtMs: Date.now() })],
    ["a process that ran before the machine was started", () => ({ pid: process.ppid, startedAtMs: 1_000 })],
    ["nobody who can be read", () => "{"],
    ["a file with nothing in it", () => ""],
    ["a process id of no process", () => ({ pid: -1, startedAtMs: Date.now() })],
  ];
  for (const [what, content] of left) {
    test(`is taken over from ${what}`, async () => {
      leave(await content());
      (await lockApp(appId, { folder })).release();
    });
  }

  test("is not taken from a live process, and does not stay in an id's way for ever", async () => {
    leave({ pid: process.ppid, startedAtMs: Date.now() });
    await assert.rejects(lockApp(appId, { folder }), new RegExp(`process ${process.ppid} of this machine`));
    // Somebody else is just removing what was left behind.
    leave("{");
    const guard = `${lockFile()}.removing`;
    mkdirSync(guard);
    // It has looked once when it first lets go.
    const waiting = lockApp(appId, { folder });
    rmdirSync(guard);
    (await waiting).release();
  });

  test("has exactly one winner, however many try at once and whatever was left behind", async () => {
    const random = seeded(20_261_121);
    const contenders = Array.from({ length: 4 }, start);
    const dead = await deadPid();
    for (let round = 0; round < 60; round++) {
      if (random.chance(0.7)) leave(random.chance(0.5) ? { pid: dead, startedAtMs: Date.now() - round } : "");
      const asked = contenders.filter(() => random.chance(0.8));
      const answers = await Promise.all(asked.map((child) => ask(child, "try")));
      const winners = asked.filter((_, index) => "won" in (answers[index] ?? {}));
      assert.equal(winners.length, Math.min(1, asked.length), `seed ${random.seed}, round ${round}`);
      for (const winner of winners) {
        for (const answer of answers) {
          if ("refused" in answer) assert.match(answer.refused, new RegExp(`^Cannot start: process ${winner.pid} `));
        }
        await ask(winner, "release");
      }
      rmSync(lockFile(), { force: true });
    }
    assert.deepEqual(readdirSync(folder), []);
  });
});
