import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { checkLedger, checkQueues, level, lockState } from "../../lib/local/state.ts";

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A ledger's folder, as the embedded DynamoDB leaves it. */
async function ledgerIn(folder: string): Promise<string> {
  const path = join(folder, "dynamodb");
  const database = level(path);
  await database.open();
  await database.close();
  return path;
}

test("a second runtime is told the process that has the folder, and may have it when that ends", (t) => {
  const folder = join(temporaryFolder(t), "new", "state");
  const unlock = lockState(folder);
  const said = `Cannot start: process ${process.pid} runs with the state folder ${folder} already. `;
  assert.throws(
    () => lockState(folder),
    ({ name, message }: Error) => name === "ConfigError" && message.startsWith(said) && /--state/.test(message),
  );
  unlock();
  lockState(folder)();

  // Another that has the lock, and has not said yet who it is.
  rmSync(join(folder, "lock.pid"));
  const other = new DatabaseSync(join(folder, "lock"));
  other.exec("BEGIN EXCLUSIVE");
  const anonymous = /^ConfigError: Cannot start: another process runs with the state folder /;
  assert.throws(() => lockState(folder), anonymous);
  writeFileSync(join(folder, "lock.pid"), "");
  assert.throws(() => lockState(folder), anonymous);
  other.close();
});

test("a state folder that is a file, or in one, is refused in one line that names it", (t) => {
  const file = join(temporaryFolder(t), "file");
  writeFileSync(file, "kept");
  for (const folder of [file, join(file, "state")]) {
    assert.throws(
      () => lockState(folder),
      ({ name, message }: Error) =>
        name === "ConfigError" &&
        message.startsWith(`Cannot start: the state folder ${folder} cannot be used: E`) &&
        /^.+--state.+$/.test(message),
    );
  }
  assert.equal(readFileSync(file, "utf8"), "kept");
});

test("damaged queues are moved aside and said to be; those that are well, or not there yet, stay", (t) => {
  const folder = temporaryFolder(t);
  const queues = join(folder, "sqs");
  assert.equal(checkQueues(queues), undefined);
  mkdirSync(queues);
  const file = join(queues, "fauxqs.db");
  const database = new DatabaseSync(file);
  database.exec("CREATE TABLE messages (body TEXT)");
  database.close();
  assert.equal(checkQueues(queues), undefined);
  assert.ok(existsSync(file));

  writeFileSync(file, "no database at all, but longer than the header that is looked at first".repeat(100));
  const notice = checkQueues(queues) ?? assert.fail("nothing was said");
  const [aside = ""] = readdirSync(folder).filter((name) => /^sqs\.damaged-\d{14}$/.test(name));
  const said = `${queues} is damaged (file is not a database) and was moved to ${join(folder, aside)}. The queues start`;
  assert.ok(notice.startsWith(said), notice);
  assert.deepEqual(readdirSync(folder), [aside]);
});

for (const [how, damage] of [
  ["its list of files is garbage", (path: string) => eachManifest(path, (file) => writeFileSync(file, "garbage"))],
  ["its list of files is gone", (path: string) => eachManifest(path, (file) => rmSync(file))],
] as const) {
  test(`a ledger is moved aside and said to be damaged when ${how}`, async (t) => {
    const folder = temporaryFolder(t);
    const path = await ledgerIn(folder);
    assert.equal(await checkLedger(path), undefined);
    damage(path);
    const notice = (await checkLedger(path)) ?? assert.fail("nothing was said");
    const [aside = ""] = readdirSync(folder);
    assert.match(aside, /^dynamodb\.damaged-\d{14}$/);
    assert.ok(notice.startsWith(`${path} is damaged (`), notice);
    assert.ok(notice.includes(`) and was moved to ${join(folder, aside)}. The ledger starts empty`), notice);
  });
}

test("a ledger that the last run's services still have is waited for, and never called damaged", async (t) => {
  const path = join(temporaryFolder(t), "dynamodb");
  const other = level(path);
  await other.open();
  await assert.rejects(checkLedger(path, 100), /dynamodb cannot be opened: .*lock/i);
  const checked = checkLedger(path);
  await other.close();
  assert.equal(await checked, undefined);
});

function eachManifest(path: string, change: (file: string) => void): void {
  for (const name of readdirSync(path)) if (name.startsWith("MANIFEST")) change(join(path, name));
}
