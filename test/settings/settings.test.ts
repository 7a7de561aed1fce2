import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSecrets } from "../../lib/settings/app-secrets.ts";
import { wholeNumber } from "../../lib/settings/environment.ts";

test("stored secrets that are no JSON are refused with what to run, and not printed", () => {
  const message =
    'Cannot read the stored secrets: they are not JSON. Delete the parameter, and run "npm run secrets -- set"';
  for (const text of ["", "CANARY", '{"appId":'])
    assert.throws(() => parseSecrets(text), { name: "ConfigError", message });
});

test("a number is whole, above 0 and written plainly, or it is not taken", () => {
  assert.equal(wholeNumber({}, "N"), undefined);
  assert.equal(wholeNumber({ N: "" }, "N"), undefined);
  assert.equal(wholeNumber({ N: "12" }, "N"), 12);
  assert.equal(wholeNumber({ N: "999999999" }, "N"), 999_999_999);
  for (const N of ["0", "-1", "1.5", "1e3", "0x10", " 1", "1 ", "012", "1234567890", "x"]) {
    assert.throws(() => wholeNumber({ N }, "N"), { name: "ConfigError", message: /N is not a whole number/ }, N);
  }
});
