import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { hasRealApp, keptApp, writeLocal } from "../../../lib/cli/state/local-keys.ts";

function stateFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test("the keys of this machine are made once, and kept where only this user reads them", (t) => {
  const folder = stateFolder(t);
  const file = join(folder, "local.json");
  writeFileSync(file, "{}", { mode: 0o644 });
  const made = keptApp(folder);
  writeLocal(folder, { url: "http://127.0.0.1:3000/webhook", ...made, kept: made });
  assert.deepEqual(keptApp(folder), made);
  // With a real app, whose keys are not written down; and with one whose pushes are not encrypted.
  writeLocal(folder, { url: "http://127.0.0.1:3000/webhook", kept: made });
  assert.deepEqual(keptApp(folder), made);
  writeLocal(folder, { ...made, encryptKey: null, kept: made });
  assert.deepEqual(keptApp(folder), made);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ["local.json"]);
});

for (const broken of ["", "{", "null", "[]", '{"kept":1}', '{"kept":{"appId":1}}', '"text"']) {
  test(`a file that holds ${JSON.stringify(broken)} is no reason not to start`, (t) => {
    const folder = stateFolder(t);
    writeFileSync(join(folder, "local.json"), broken);
    assert.match(keptApp(folder).appId, /^cli_[0-9a-f]{16}$/);
  });
}

for (const env of [{ ENCRYPT_KEY: "" }, { VERIFICATION_TOKEN: "x" }, { APP_ID: "x" }, { ALLOW_UNENCRYPTED: "true" }]) {
  test(`with ${Object.keys(env)} in the environment there is a real app`, () => {
    assert.ok(hasRealApp(env));
    assert.ok(!hasRealApp({}));
  });
}
