import assert from "node:assert/strict";
import fs, { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { engineModules, loadEnv, refuseUnset } from "../../lib/cli/project.ts";
import { type Change, mustPoll, watch } from "../../lib/cli/start/watch.ts";
import { oddName } from "../support/project.ts";
import { until } from "../support/until.ts";

function folder(t: TestContext): string {
  const root = mkdtempSync(join(tmpdir(), oddName));
  t.after(() => rmSync(root, { recursive: true }));
  return root;
}

const names = ["TEST_FIRST", "TEST_QUOTED", "TEST_GIVEN"] as const;
const text = 'TEST_FIRST=one\r\nTEST_QUOTED="two words"\r\nTEST_GIVEN=file\r\n';
const encodings = {
  "UTF-8": Buffer.from(text),
  "UTF-8 with a byte order mark": Buffer.from(`\ufeff${text}`),
  "UTF-16, as PowerShell 5 writes it": Buffer.from(`\ufeff${text}`, "utf16le"),
};
for (const [encoding, bytes] of Object.entries(encodings)) {
  test(`a .env with CRLF in ${encoding} is read, and the environment comes first`, (t) => {
    const root = folder(t);
    writeFileSync(join(root, ".env"), bytes);
    t.after(() => {
      for (const name of names) delete process.env[name];
    });
    process.env["TEST_GIVEN"] = "environment";
    loadEnv(root);
    assert.deepEqual(
      names.map((name) => process.env[name]),
      ["one", "two words", "environment"],
    );
  });
}

test("a .env that is a folder is refused by its name", (t) => {
  const root = folder(t);
  mkdirSync(join(root, ".env"));
  const message = `Cannot read ${join(root, ".env")}: it is a folder`;
  assert.throws(() => loadEnv(root), { name: "ConfigError", message });
});

test("names two settings that are missing, and leaves one to who reads it", () => {
  refuseUnset("start", ["TEST_FIRST"]);
  assert.throws(() => refuseUnset("start", ["TEST_FIRST", "PATH", "TEST_QUOTED"]), {
    name: "ConfigError",
    message: "Cannot start: TEST_FIRST and TEST_QUOTED are not set. Put them into the environment or into .env",
  });
});

test("the engine's modules are those of its own folder, not of one with the same folders below another", () => {
  const path = join(import.meta.dirname, "../../lib/handler.ts");
  assert.match(path, engineModules);
  assert.doesNotMatch(join("/elsewhere", path), engineModules);
});

test("files are compared where the file system tells of no change, and only there", () => {
  // WSL 2's /mnt/c, Docker Desktop's shared folders, VirtualBox's, NFS, SMB 1 and 2.
  for (const type of [0x01021997, 0x65735546, 0x786f4256, 0x6969, 0x517b, 0xff534d42, 0xfe534d42]) {
    assert.ok(mustPoll(type), type.toString(16));
  }
  // ext4, tmpfs, overlay, Btrfs, XFS; APFS of macOS; Windows has none.
  for (const type of [0xef53, 0x01021994, 0x794c7630, 0x9123683e, 0x58465342, 0x1a, 0]) {
    assert.ok(!mustPoll(type), type.toString(16));
  }
});

for (const usePolling of [false, true]) {
  test(`a changed handler is told of ${usePolling ? "by comparing files" : "by the file system's events"}`, async (t) => {
    const timers: NodeJS.Timeout[] = [];
    // Before the folder is removed: hooks run in the order of their calls.
    t.after(() => timers.forEach(clearInterval));
    const root = folder(t);
    const file = "functions/events/im.message.receive_v1.ts";
    mkdirSync(join(root, "functions/events"), { recursive: true });
    writeFileSync(join(root, file), "one\r\n");
    const events = t.mock.method(fs, "watch");
    syncBuiltinESMExports();
    const first = new Map<string, Change["kind"]>();
    const toldOf = (path: string) => until(path, () => first.get(path));
    const watcher = watch(
      root,
      async (changes) => {
        for (const { path, kind } of changes) if (!first.has(path)) first.set(path, kind);
      },
      { usePolling },
    );
    t.after(() => watcher.close());
    // The first look at the files is over at an unknown time, so the file changes until that is noticed.
    timers.push(setInterval(() => appendFileSync(join(root, file), "// more\r\n"), 50));
    assert.equal(await toldOf(file), "changed");
    // An editor creates a file, and writes it a little later.
    const added = "functions/events/contact.user.created_v3.ts";
    timers.push(setInterval(() => appendFileSync(join(root, added), "// more\r\n"), 15));
    assert.equal(await toldOf(added), "added");
    // What a handler imports from elsewhere, once it is known; also when it comes back.
    const outside = "src/tax.mts";
    mkdirSync(join(root, "src"));
    writeFileSync(join(root, outside), "one");
    watcher.add([file, outside]);
    const touch = () => {
      rmSync(join(root, outside), { force: true });
      writeFileSync(join(root, outside), "more");
    };
    timers.push(setInterval(touch, 50));
    await toldOf(outside);
    assert.equal(events.mock.callCount() === 0, usePolling);
    events.mock.restore();
    syncBuiltinESMExports();
  });
}
