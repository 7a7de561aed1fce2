import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { inspect } from "node:util";
import { awsClient } from "../../lib/aws/client.ts";
import { extraSecrets } from "../../lib/aws/extra-secrets.ts";
import { ConfigError } from "../../lib/errors.ts";
import { clientTo } from "../support/aws.ts";
import { type Store, startStore } from "../support/ssm.ts";
import { recordTrace } from "../support/trace.ts";

const parameter = "/larkpost/test/extra";
const canary = "CANARY-of-the-crm-token";
const trace = recordTrace();
const nobody = clientTo("http://127.0.0.1:1");

/** What reading a member throws. */
function failureOf(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail("it did not throw");
}

test("come from the environment on a developer's machine, and one that is not there says so when it is read", async () => {
  const secrets = await extraSecrets(
    { EXTRA_SECRETS: "CRM_TOKEN,OTHER,EMPTY", CRM_TOKEN: canary, EMPTY: "", HOME: "/" },
    nobody,
  ).current();
  assert.equal(secrets["CRM_TOKEN"], canary);
  for (const name of ["OTHER", "EMPTY"]) {
    assert.equal(
      failureOf(() => secrets[name]),
      `Cannot read the secret "${name}": it is not set. Put it into .env, and start again`,
    );
  }
  const unlisted =
    /^Cannot read the secret "HOME": larkpost\.config\.js did not list it under secrets when this process started$/;
  assert.match(
    failureOf(() => secrets["HOME"]),
    unlisted,
  );
  const none = await extraSecrets({ HOME: "/" }, nobody).current();
  assert.match(
    failureOf(() => none["HOME"]),
    unlisted,
  );
});

test("are not printed, copied or serialised with the context", async () => {
  const secrets = await extraSecrets({ EXTRA_SECRETS: "CRM_TOKEN", CRM_TOKEN: canary }, nobody).current();
  const context = { id: "1", secrets };
  for (const text of [inspect(context, { depth: 9 }), JSON.stringify(context), `${secrets}`, inspect({ ...secrets })]) {
    assert.ok(!text.includes(canary), text);
  }
});

describe("a parameter of SSM", () => {
  let store: Store;
  const set = (value: unknown) => store.put(parameter, typeof value === "string" ? value : JSON.stringify(value));
  const open = () =>
    extraSecrets({ EXTRA_SECRETS: "CRM_TOKEN,OTHER", EXTRA_SECRETS_PARAMETER: parameter }, awsClient());
  before(async () => {
    store = await startStore();
    Object.assign(process.env, store.env);
  });
  beforeEach(() => {
    store.become("up");
    store.calls.length = 0;
    trace.entries.length = 0;
  });
  after(() => store.stop());

  test("is read once, before the first event", async () => {
    set({ CRM_TOKEN: canary, OTHER: "other", GONE: "no longer listed" });
    const extra = open();
    await extra.load();
    await extra.current();
    const calls = store.calls.length;
    assert.ok(calls > 0 && store.asked() <= 1, "one read, though its first try may be lost on a busy machine");
    for (const _ of [1, 2]) {
      const secrets = await extra.current();
      assert.deepEqual([secrets["CRM_TOKEN"], secrets["OTHER"]], [canary, "other"]);
      assert.match(
        failureOf(() => secrets["GONE"]),
        /did not list it/,
      );
    }
    assert.deepEqual([store.calls.length, trace.stages()], [calls, []]);
  });

  for (const [what, value] of [
    ["has no such name", { OTHER: "other" }],
    ["does not exist", undefined],
  ] as const) {
    test(`that ${what} leaves the others readable, and one line tells the command`, async () => {
      store.put(parameter, value && JSON.stringify(value));
      const secrets = await open().current();
      if (value !== undefined) assert.equal(secrets["OTHER"], "other");
      const command = 'Run "npm run secrets -- set" with --extra and its name';
      assert.equal(
        failureOf(() => secrets["CRM_TOKEN"]),
        `Cannot read the secret "CRM_TOKEN": ${parameter} does not have it. ${command}`,
      );
      assert.deepEqual(trace.stages(), ["misconfigured"]);
      assert.match(String(trace.entries[0]?.facts?.["message"]), /^\/larkpost\/test\/extra does not have CRM_TOKEN/);
    });
  }

  for (const value of ["no JSON", [1], { CRM_TOKEN: 5 }, "null"]) {
    test(`that holds ${JSON.stringify(value)} fails whoever reads a secret, and is told`, async () => {
      set(value);
      const secrets = await open().current();
      assert.match(
        failureOf(() => secrets["CRM_TOKEN"]),
        /^Cannot read \/larkpost\/test\/extra: it is not JSON of texts/,
      );
      assert.deepEqual(trace.stages(), ["misconfigured"]);
    });
  }

  test("that cannot be read fails whoever reads a secret, and nobody else; later it is read again", async () => {
    set({ CRM_TOKEN: canary });
    store.become("failing");
    const extra = open();
    const secrets = await extra.current();
    assert.equal(secrets["then"], undefined);
    assert.throws(() => secrets["CRM_TOKEN"], { name: "InternalServerError" });
    store.become("up");
    assert.equal((await extra.current())["CRM_TOKEN"], canary);
  });
});
