import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { localApp, writeLocal } from "../../../lib/cli/state/local-keys.ts";

function stateFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test("the keys of this machine are made once, and kept where only this user reads them", (t) => {
  const folder = stateFolder(t);
  const file = join(folder, "local.json");
  writeFileSync(file, "{}", { mode: 0o644 });
  const made = localApp(folder, {});
  assert.ok(made !== undefined);
  writeLocal(folder, { url: "http://127.0.0.1:3000/webhook", ...made });
  assert.deepEqual(localApp(folder, {}), made);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ["local.json"]);
});

test("keys that were kept before there was a secret stay, and get one", (t) => {
  const folder = stateFolder(t);
  const kept = { encryptKey: "e".repeat(32), verificationToken: "v".repeat(32), appId: "cli_0123456789abcdef" };
  writeFileSync(join(folder, "local.json"), JSON.stringify({ url: "http://127.0.0.1:3000/webhook", ...kept }));
  const { appSecret, ...others } = localApp(folder, {}) ?? { appSecret: "" };
  assert.deepEqual(others, kept);
  assert.ok(appSecret.length >= 32);
});

for (const broken of ["", "{", "null", "[]", '{"encryptKey":1}', '"text"']) {
  test(`a file that holds ${JSON.stringify(broken)} is no reason not to start`, (t) => {
    const folder = stateFolder(t);
    writeFileSync(join(folder, "local.json"), broken);
    assert.match(localApp(folder, {})?.appId ?? "", /^cli_[0-9a-f]{16}$/);
  });
}

for (const env of [{ ENCRYPT_KEY: "" }, { VERIFICATION_TOKEN: "x" }, { APP_ID: "x" }, { ALLOW_UNENCRYPTED: "true" }]) {
  test(`with ${Object.keys(env)} in the environment there is a real app, and none is made up`, (t) => {
    assert.equal(localApp(stateFolder(t), env), undefined);
  });
}
