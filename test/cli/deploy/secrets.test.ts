import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { type AppSecrets, parseSecrets } from "../../../lib/settings/app-secrets.ts";
import { startStore, throughputArn } from "../../support/ssm.ts";
import { command, commandProcess } from "../run.ts";

const hourMs = 3_600_000;
const parameter = "/larkpost/prod/app";
const appId = "cli_0123456789abcdef";
/** Nothing of these may ever be printed. */
const canary = "CANARY";
const key = (name: string) => `${canary}-key-${name}-0123456789`;
const token = (name: string) => `${canary}-token-${name}-0123456789`;
const keyring = { APP_ID: appId, ENCRYPT_KEY: key("a"), VERIFICATION_TOKEN: token("a") };

/** The key and the token of before, as the command would have stored them. */
const before = { appId, encryptKeys: [{ value: key("a") }], verificationTokens: [{ value: token("a") }] };

type Env = Readonly<Record<string, string | undefined>>;

/** A store with `value` in it, and the command bound to it in an empty folder, so that no one's .env is read. */
async function setUp(t: TestContext, value?: object | string) {
  const store = await startStore();
  if (value !== undefined) store.put(parameter, typeof value === "string" ? value : JSON.stringify(value));
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  writeFileSync(join(folder, "serverless.yml"), "service: larkpost\n");
  t.after(async () => {
    await store.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const ended = async (start: typeof command, args: readonly string[], env: Env) => {
    const settings = { HOME: folder, AWS_EC2_METADATA_DISABLED: "true", ...store.env, ...env };
    const found = await start(["secrets", ...args], { cwd: folder, env: settings });
    const all = found.stdout + found.stderr;
    assert.ok(!all.includes(canary), `a secret was printed: ${all}`);
    return found;
  };
  const run = (args: readonly string[], env: Env) => ended(command, args, env);
  return {
    store,
    folder,
    set: (env: Env = {}, ...args: string[]) => run(["set", "--stage", "prod", ...args], { ...keyring, ...env }),
    show: (...args: string[]) => run(["show", "--stage", "prod", ...args], {}),
    run,
    /** As {@link run}, of a project that lists further secrets. */
    extra(args: readonly string[], env: Env = {}) {
      const config = `export default { secrets: ["CRM_TOKEN", "MAIL_PASSWORD"] };`;
      writeFileSync(join(folder, "larkpost.config.js"), config);
      return run([...args, "--stage", "prod"], env);
    },
    /** As {@link set}, where somebody types. Nothing of the keys is in the environment. */
    type: (lines: readonly string[], args: readonly string[] = [], env: Env = {}) =>
      ended(
        (given, settings) => command(given, { ...settings, input: lines.join(""), isTyped: true }),
        [...["set", "--stage", "prod", "--prompt", ...args]],
        env,
      ),
    /** The same, in a process of its own. */
    runProcess: (args: readonly string[], env: Env) => ended(commandProcess, args, env),
    /** What is stored, as the function will read it. */
    stored(): Omit<AppSecrets, "warnings"> {
      const { type, value } = store.parameters.get(parameter) ?? {};
      assert.equal(type, "SecureString");
      const { warnings: _, appSecret, ...secrets } = parseSecrets(value ?? "");
      return appSecret === undefined ? secrets : { ...secrets, appSecret };
    },
  };
}

/** One line for a person: no stack, no object. */
function assertSaid(stderr: string, pattern: RegExp): void {
  assert.match(stderr, pattern);
  assert.match(stderr, /^[^\n]+\n$/);
}

describe("secrets", { concurrency: 4 }, () => {
  const extraParameter = "/larkpost/prod/extra";

  test("set --extra: stores one beside the others, from the environment or .env, and touches no key", async (t) => {
    const { store, folder, extra } = await setUp(t);
    const first = await extra(["set", "--extra", "CRM_TOKEN", "--kms-key", "alias/ours"], { CRM_TOKEN: `${canary}-1` });
    assert.deepEqual([first.code, first.stderr], [0, ""]);
    assert.match(
      first.stdout,
      /^Stored CRM_TOKEN in \/larkpost\/prod\/extra\. Running functions use it within 5 minutes/,
    );
    assert.equal(store.parameters.get(extraParameter)?.keyId, "alias/ours");
    writeFileSync(join(folder, ".env"), `MAIL_PASSWORD=${canary}-2\n`);
    assert.equal((await extra(["set", "--extra", "MAIL_PASSWORD"])).code, 0);
    // As much as SSM takes.
    const most = canary.padEnd(4_096 - `{"CRM_TOKEN":"","MAIL_PASSWORD":"${canary}-2"}`.length, "-1");
    assert.equal((await extra(["set", "--extra", "CRM_TOKEN"], { CRM_TOKEN: most })).code, 0);
    const again = await extra(["set", "--extra", "CRM_TOKEN", "--json"], { CRM_TOKEN: `${canary}-3` });
    const names = ["CRM_TOKEN", "MAIL_PASSWORD"];
    assert.deepEqual(JSON.parse(again.stdout), { parameter: extraParameter, stored: names });
    const { type, value } = store.parameters.get(extraParameter) ?? {};
    assert.equal(type, "SecureString");
    assert.deepEqual(JSON.parse(value ?? ""), { CRM_TOKEN: `${canary}-3`, MAIL_PASSWORD: `${canary}-2` });
    assert.deepEqual([...store.parameters.keys()], [extraParameter]);
  });

  for (const { when, name = "CRM_TOKEN", value, stored, code, says } of [
    { when: "no such name is listed", name: "CRM_TOKN", value: canary, code: 2, says: /Did you mean "CRM_TOKEN"\?$/ },
    {
      when: "it is not set",
      code: 1,
      says: /^Cannot store: CRM_TOKEN is not set\. Put it into the environment or into/,
    },
    { when: "it ends with a line break", value: `${canary}\n`, code: 1, says: /begins or ends with white space/ },
    { when: "it is too long", value: canary + "x".repeat(4_075), code: 1, says: /more than SSM's 4096 bytes$/ },
    {
      when: "what is stored is something else",
      value: canary,
      stored: "[1]",
      code: 1,
      says: /it is not JSON of texts/,
    },
  ] as { when: string; name?: string; value?: string; stored?: string; code: number; says: RegExp }[]) {
    test(`set --extra: stores nothing when ${when}`, async (t) => {
      const { store, extra } = await setUp(t);
      store.put(extraParameter, stored);
      const ended = await extra(["set", "--extra", name], { [name]: value });
      assert.deepEqual([ended.code, ended.stdout], [code, ""]);
      assert.match(ended.stderr.trimEnd(), says);
      assert.equal(store.parameters.get(extraParameter)?.value, stored);
    });
  }

  test("show: lists further secrets by name, stored or not", async (t) => {
    const { store, extra } = await setUp(t, before);
    store.put(extraParameter, JSON.stringify({ CRM_TOKEN: canary, OLD: canary }));
    const text = await extra(["show"]);
    assert.match(text.stdout, /^ {2}CRM_TOKEN +stored in \/larkpost\/prod\/extra\n {2}OLD +stored/m);
    assert.match(text.stdout, /^ {2}MAIL_PASSWORD +not stored: set it with --extra MAIL_PASSWORD$/m);
    const json = JSON.parse((await extra(["show", "--json"])).stdout);
    const names = { stored: ["CRM_TOKEN", "OLD"], missing: ["MAIL_PASSWORD"] };
    assert.deepEqual(json.extra, { parameter: extraParameter, ...names });
  });

  test("set: stores the keys of the environment as a SecureString, and prints no value", async (t) => {
    const { store, runProcess, stored } = await setUp(t);
    const env = { ...keyring, APP_SECRET: `${canary}-app-secret` };
    const { code, stdout, stderr } = await runProcess(["set", "--stage", "prod"], env);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual([...store.parameters.keys()], [parameter]);
    assert.deepEqual(stored(), {
      appId,
      appSecret: `${canary}-app-secret`,
      encryptKeys: [{ value: key("a") }],
      verificationTokens: [{ value: token("a") }],
    });
    assert.match(stdout, /^Stored \/larkpost\/prod\/app\n/);
    assert.match(stdout, new RegExp(`Encrypt Key +${key("a").length} characters, current`));
    assert.match(stdout, new RegExp(`Verification Token +${token("a").length} characters, current`));
  });

  test("set, K3: keeps a replaced key for 8 hours beside the new one, and the token as it was", async (t) => {
    const { set, stored } = await setUp(t, before);
    const beforeMs = Date.now();
    const { code, stdout } = await set({ ENCRYPT_KEY: key("b") });
    const afterMs = Date.now();
    assert.equal(code, 0);
    assert.match(stdout, /^Replaced /);
    const { encryptKeys, verificationTokens } = stored();
    assert.deepEqual(
      encryptKeys.map(({ value }) => value),
      [key("b"), key("a")],
    );
    const [{ notAfter: current } = {}, { notAfter = 0 } = {}] = encryptKeys;
    assert.equal(current, undefined);
    assert.ok(notAfter >= beforeMs + 8 * hourMs && notAfter <= afterMs + 8 * hourMs, String(notAfter));
    assert.deepEqual(verificationTokens, [{ value: token("a") }]);
  });

  test("set, K5: keeps a replaced token likewise, for as long as it is told", async (t) => {
    const { set, stored } = await setUp(t, before);
    const beforeMs = Date.now();
    assert.equal((await set({ VERIFICATION_TOKEN: token("b") }, "--overlap-hours", "2")).code, 0);
    const { encryptKeys, verificationTokens } = stored();
    assert.deepEqual(encryptKeys, [{ value: key("a") }]);
    const [current, previous] = verificationTokens;
    assert.deepEqual(current, { value: token("b") });
    assert.equal(previous?.value, token("a"));
    const { notAfter = 0 } = previous;
    assert.ok(notAfter >= beforeMs + 2 * hourMs && notAfter <= Date.now() + 2 * hourMs, String(notAfter));
  });

  const previous = { notAfter: Date.now() + hourMs };
  for (const [when, value] of [
    ["", before],
    [
      ", nor when what was replaced ends",
      {
        appId,
        encryptKeys: [{ value: key("a") }, { value: key("b"), ...previous }],
        verificationTokens: [{ value: token("a") }, { value: token("b"), ...previous }],
      },
    ],
  ] as const) {
    test(`set: the same values again do not change which are current${when}`, async (t) => {
      const { set, stored } = await setUp(t, value);
      assert.equal((await set()).code, 0);
      assert.deepEqual(stored(), value);
    });
  }

  test("set: the key of before again makes that one current, and ends the other", async (t) => {
    const notAfter = Date.now() + hourMs;
    const { set, stored } = await setUp(t, {
      ...before,
      encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter }],
    });
    assert.equal((await set()).code, 0);
    const [current, previous, ...more] = stored().encryptKeys;
    assert.deepEqual([current, previous?.value, more], [{ value: key("a") }, key("b"), []]);
    assert.ok((previous?.notAfter ?? 0) > notAfter);
  });

  test("set: --overlap-hours 0 ends what was replaced now, and what ended before is not kept", async (t) => {
    const ended = { value: key("ended"), notAfter: Date.now() - 1 };
    const { set, stored } = await setUp(t, { ...before, verificationTokens: [{ value: token("a") }, ended] });
    assert.equal((await set({ ENCRYPT_KEY: key("b") }, "--overlap-hours", "0")).code, 0);
    assert.deepEqual(stored(), { ...before, encryptKeys: [{ value: key("b") }] });
  });

  test("set: keeps the app's secret when an empty one is given", async (t) => {
    const { set, stored } = await setUp(t, { ...before, appSecret: `${canary}-app-secret` });
    assert.equal((await set({ APP_SECRET: "" })).code, 0);
    assert.equal(stored().appSecret, `${canary}-app-secret`);
  });

  test("set, C-40: refuses the keys of another app, whose own would stay valid for this one", async (t) => {
    const { set, stored } = await setUp(t, before);
    const { code, stderr } = await set({ APP_ID: "cli_another0000000", ENCRYPT_KEY: key("b") });
    assert.equal(code, 1);
    assertSaid(stderr, /^Cannot store the keys: \/larkpost\/prod\/app holds those of "cli_0123456789abcdef"/);
    assert.deepEqual(stored(), before);
  });

  test("set: reads .env as well, and the environment before it", async (t) => {
    const { folder, run, stored } = await setUp(t);
    const lines = { ...keyring, ENCRYPT_KEY: key("of-the-file") };
    const text = Object.entries(lines).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(join(folder, ".env"), text.join(""));
    assert.equal((await run(["set", "--stage", "prod"], { VERIFICATION_TOKEN: token("of-the-shell") })).code, 0);
    assert.deepEqual(stored().encryptKeys, [{ value: key("of-the-file") }]);
    assert.deepEqual(stored().verificationTokens, [{ value: token("of-the-shell") }]);
  });

  test("set: encrypts with a customer key when told to, and warns of a short key", async (t) => {
    const { store, set } = await setUp(t);
    const { code, stderr } = await set({ ENCRYPT_KEY: `${canary}-short` }, "--kms-key", "alias/of-ours");
    assert.equal(code, 0);
    assert.equal(store.parameters.get(parameter)?.keyId, "alias/of-ours");
    assert.equal(stderr, "Warning: ENCRYPT_KEY is shorter than 16 characters. Check that it was copied whole\n");
  });

  for (const [name, value] of [
    ["APP_ID", undefined],
    ["ENCRYPT_KEY", undefined],
    ["ENCRYPT_KEY", `${canary}-ended-by-a-line-break\n`],
    ["VERIFICATION_TOKEN", ""],
  ] as const) {
    test(`set, K4: refuses ${value === undefined ? "a missing" : "an unusable"} ${name}, and asks for nothing`, async (t) => {
      const { store, set } = await setUp(t);
      const { code, stdout, stderr } = await set({ [name]: value });
      assert.deepEqual([code, stdout], [1, ""]);
      assertSaid(stderr, new RegExp(`^Cannot store: ${name} `));
      assert.equal(store.calls.length, 0);
    });
  }

  test("set: names all settings that are missing", async (t) => {
    const { set } = await setUp(t);
    const { code, stderr } = await set({ APP_ID: undefined, ENCRYPT_KEY: "", VERIFICATION_TOKEN: undefined });
    assert.equal(code, 1);
    assertSaid(stderr, /^Cannot store: APP_ID, ENCRYPT_KEY and VERIFICATION_TOKEN are not set\. Put them into/);
  });

  for (const [what, line, said] of [
    ["is cut at a #", `ENCRYPT_KEY=${key("b")}#${key("c")}`, /\.env:2 {2}ENCRYPT_KEY ends at the "#"/],
    ["has no closing quote", `ENCRYPT_KEY="${key("b")}`, /\.env:2 {2}ENCRYPT_KEY has no closing quote/],
    ["has a colon for its =", `ENCRYPT_KEY: ${key("b")}`, /\.env:2 {2}is not read\. Write it as ENCRYPT_KEY=…/],
    ["is read as another's value", `A.B= \n\nENCRYPT_KEY=${key("b")}`, /\.env:2 {2}A\.B has white space alone/],
  ] as const) {
    test(`set: stores nothing when a line of .env ${what}, unless the environment has that key`, async (t) => {
      const { store, set, folder } = await setUp(t);
      writeFileSync(join(folder, ".env"), `APP_ID=${appId}\n${line}\n`);
      const refused = await set({ ENCRYPT_KEY: undefined });
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, said);
      assert.equal(store.parameters.has(parameter), false);
      assert.equal((await set()).code, 0);
    });
  }

  test("set: takes a .env whose lines look wrong and are read as they should be", async (t) => {
    const { store, set, folder } = await setUp(t);
    const lines = [`ENCRYPT_KEY: ${key("c")}`, `ENCRYPT_KEY=${key("b")}`, 'NOTE="', "APP_ID=a#b", '"', "APP_SECRET= "];
    writeFileSync(join(folder, ".env"), lines.join("\n"));
    const { code, stderr } = await set({ ENCRYPT_KEY: undefined });
    assert.equal(code, 0, stderr);
    assert.ok(store.parameters.get(parameter)?.value.includes(key("b")));
  });

  test("set --extra: stores nothing when its line of .env is cut at a #", async (t) => {
    const { store, extra, folder } = await setUp(t);
    writeFileSync(join(folder, ".env"), `CRM_TOKEN=${canary}#${canary}\n`);
    const refused = await extra(["set", "--extra", "CRM_TOKEN"]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /\.env:1 {2}CRM_TOKEN ends at the "#"/);
    assert.equal(store.parameters.has("/larkpost/prod/extra"), false);
  });

  test("set: exits with 2 when it is not told which stage, and asks for nothing", async (t) => {
    const { store, run } = await setUp(t);
    const { code, stdout } = await run(["set"], keyring);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.equal(store.calls.length, 0);
  });

  const overlap = {
    ...before,
    encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter: Date.now() + hourMs }],
    verificationTokens: [{ value: token("b") }, { value: token("a"), notAfter: Date.now() + hourMs }],
  };

  test("finish: leaves the current key and token alone, and writes nothing where there is no other", async (t) => {
    const { store, run, stored } = await setUp(t, { ...overlap, appSecret: `${canary}-app-secret` });
    const { code, stdout } = await run(["finish", "--stage", "prod", "--kms-key", "alias/ours"], {});
    assert.equal(code, 0);
    assert.match(stdout, /^Ended the overlap in \/larkpost\/prod\/app\n/);
    assert.doesNotMatch(stdout, /accepted until/);
    const current = { encryptKeys: [{ value: key("b") }], verificationTokens: [{ value: token("b") }] };
    assert.deepEqual(stored(), { appId, appSecret: `${canary}-app-secret`, ...current });
    assert.equal(store.parameters.get(parameter)?.keyId, "alias/ours");
    assert.match((await run(["finish", "--stage", "prod"], {})).stdout, /^No overlap in \/larkpost\/prod\/app\n/);
    assert.equal(store.parameters.get(parameter)?.version, 2);
    store.put(parameter, undefined);
    assertSaid((await run(["finish", "--stage", "prod"], {})).stderr, /^Cannot end the overlap: there is no parameter/);
    store.put(parameter, JSON.stringify({ ...overlap, encryptKeys: overlap.encryptKeys.slice(1) }));
    const ended = await run(["finish", "--stage", "prod"], {});
    assertSaid(ended.stderr, /^Cannot end the overlap: \/larkpost\/prod\/app has no current key or token\./);
  });

  const theirs = JSON.stringify({ ...before, appSecret: `${canary}-their-secret` });
  for (const { when, value, args, name = parameter } of [
    { when: "that is replaced", value: before, args: ["set"] },
    { when: "that was not there", value: undefined, args: ["set"] },
    { when: "whose overlap is to end", value: overlap, args: ["finish"] },
    { when: "of further secrets", value: undefined, args: ["set", "--extra", "CRM_TOKEN"], name: extraParameter },
  ]) {
    test(`keeps what another writer stores meanwhile in a parameter ${when}, and says to try again`, async (t) => {
      const { store, extra, run } = await setUp(t, value);
      store.beforeWrite(() => store.put(name, theirs));
      const env = { ...keyring, ENCRYPT_KEY: key("b"), CRM_TOKEN: `${canary}-1` };
      const { code, stdout, stderr } = await extra(args, env);
      assert.deepEqual([code, stdout], [1, ""]);
      assertSaid(stderr, /^Cannot store it: somebody else has changed .* theirs is kept\. .*type the command again$/m);
      assert.equal(store.parameters.get(name)?.value, theirs);
      if (name === extraParameter) return;
      assert.equal((await run(["set", "--stage", "prod"], env)).code, 0);
      assert.match(store.parameters.get(name)?.value ?? "", /their-secret/);
    });
  }

  test("says where the other writer's text is when it cannot be put back", async (t) => {
    const { store, set } = await setUp(t, before);
    store.beforeWrite(() => {
      store.put(parameter, theirs);
      store.deny("GetParameter");
    });
    const { code, stderr } = await set({ ENCRYPT_KEY: key("b") });
    assert.equal(code, 1);
    assertSaid(stderr, /theirs was overwritten\. Put the text of \/larkpost\/prod\/app:2 back by hand, and type the/);
  });

  test("set --prompt: asks at a terminal, shows no key, and takes none of the environment", async (t) => {
    const { type, stored, run } = await setUp(t);
    const first = await type([`${appId}\n`, `${key("typed")}\n`, `${token("typed")}\r\n`, "\n"], [], {
      ENCRYPT_KEY: key("of-the-environment"),
    });
    assert.equal(first.code, 0, first.stderr);
    assert.match(
      first.stderr,
      /^App ID \(cli_…\): \nEncrypt Key: \nVerification Token: \nApp Secret \(Enter: none\): \n$/,
    );
    const typed = { encryptKeys: [{ value: key("typed") }], verificationTokens: [{ value: token("typed") }] };
    assert.deepEqual(stored(), { appId, ...typed });
    const kept = await type(["\n", "\n", `${canary}-app-secret\n`]);
    assert.equal(kept.code, 0);
    assert.match(kept.stderr, /^Encrypt Key \(Enter keeps the stored one\): \n/);
    assert.deepEqual(stored(), { appId, ...typed, appSecret: `${canary}-app-secret` });
    const stopped = await type([`${key("c")}\n`, "\u0003"]);
    assert.equal(stopped.code, 1);
    assert.match(stopped.stderr, /\nCannot store: stopped\. Nothing was stored\n$/);
    assert.deepEqual(stored().encryptKeys, typed.encryptKeys);
    const piped = await run(["set", "--stage", "prod", "--prompt"], keyring);
    assert.equal(piped.code, 2);
    assertSaid(
      piped.stderr,
      /^Cannot store: --prompt needs a terminal to ask at\. Leave it out, and set the variables$/m,
    );
  });

  test("set --prompt: keeps what another writer stores while somebody types", async (t) => {
    const { store, type } = await setUp(t, before);
    store.afterRead(() => store.put(parameter, theirs));
    const { code, stderr } = await type(["\n", `${token("typed")}\n`, "\n"]);
    assert.equal(code, 1);
    assert.match(stderr, /\nCannot store it: somebody else has changed .* theirs is kept\./);
    assert.equal(store.parameters.get(parameter)?.value, theirs);
  });

  test("set --prompt: refuses a misread APP_ID of .env before it asks, and leaves the lines alone that it does not take", async (t) => {
    const { store, type, stored, folder } = await setUp(t);
    const write = (...lines: string[]) => writeFileSync(join(folder, ".env"), lines.join("\n"));
    const answers = [`${key("typed")}\n`, `${token("typed")}\n`, "\n"];
    write(`APP_ID=${appId}#2`);
    const refused = await type(answers);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^Cannot store the keys\. .*\n✖ \.env:1 {2}APP_ID ends at the "#"/);
    assert.equal(store.parameters.has(parameter), false);
    write(`APP_ID: ${appId}`, "VERIFICATION_TOKEN= ", "APP_SECRET=1");
    assert.equal((await type([`${appId}\n`, ...answers])).code, 0);
    write(`APP_ID=${appId}`, `ENCRYPT_KEY=${canary}#${canary}`, `CRM_TOKEN=${canary}#${canary}`);
    const { code, stderr } = await type(answers);
    assert.equal(code, 0, stderr);
    assert.deepEqual(stored().encryptKeys, [{ value: key("typed") }]);
    writeFileSync(join(folder, "larkpost.config.js"), `export default { secrets: ["CRM_TOKEN"] };`);
    // What is typed equals what Node reads from the line.
    assert.equal((await type([`${canary}\n`], ["--extra", "CRM_TOKEN"])).code, 0);
    assert.equal(store.parameters.get(extraParameter)?.value, JSON.stringify({ CRM_TOKEN: canary }));
  });

  test("reads the region from .env as well, whatever is to be done", async (t) => {
    const { store, folder, set, run } = await setUp(t);
    writeFileSync(join(folder, ".env"), "AWS_REGION=eu-west-1\n");
    const env = { AWS_REGION: undefined };
    const ended = [await set(env)];
    for (const args of [["show", "--stage", "prod"], ["finish", "--stage", "prod"], ["throughput"]]) {
      ended.push(await run(args, env));
    }
    assert.deepEqual(
      ended.map(({ code }) => code),
      [0, 0, 0, 0],
    );
    assert.deepEqual([...new Set(store.calls.map(({ region }) => region))], ["eu-west-1"]);
  });

  test("set --extra --prompt: asks for that one", async (t) => {
    const { store, type, folder } = await setUp(t);
    writeFileSync(join(folder, "larkpost.config.js"), `export default { secrets: ["CRM_TOKEN"] };`);
    const { code, stderr } = await type([`${canary}-1\n`], ["--extra", "CRM_TOKEN"]);
    assert.deepEqual([code, stderr], [0, "CRM_TOKEN: \n"]);
    assert.equal(store.parameters.get(extraParameter)?.value, JSON.stringify({ CRM_TOKEN: `${canary}-1` }));
  });

  test("show: prints how many keys there are and until when, in text and as JSON, and no value", async (t) => {
    const { store, show } = await setUp(t, {
      ...before,
      appSecret: `${canary}-app-secret`,
      encryptKeys: [{ value: key("b") }, { value: key("a"), notAfter: Date.now() + hourMs }],
    });
    const [text, json] = await Promise.all([show("--redacted"), show("--json")]);
    assert.deepEqual([text.code, json.code], [0, 0]);
    assert.match(text.stdout, /^Found \/larkpost\/prod\/app\n +App +cli_0123456789abcdef, with its secret\n/);
    assert.match(text.stdout, /Encrypt Key +\d+ characters, accepted until \d{4}-\d\d-\d\dT[\d:.]+Z\n/);
    const { encryptKeys, ...shown } = JSON.parse(json.stdout) as { encryptKeys: { notAfter: string | null }[] };
    assert.deepEqual(shown, {
      parameter,
      appId,
      hasAppSecret: true,
      verificationTokens: [{ characters: token("a").length, notAfter: null }],
      hasHighThroughput: false,
    });
    assert.equal(encryptKeys.length, 2);
    assert.equal(encryptKeys[0]?.notAfter, null);
    assert.ok(Date.parse(encryptKeys[1]?.notAfter ?? "") > Date.now());
    assert.ok(store.calls.every(({ action }) => action === "GetParameter" || action === "GetServiceSetting"));
  });

  test("set, show: say in one line that SSM's throughput is the default one, what that means, and nothing when it is high", async (t) => {
    const { set, show, run } = await setUp(t, before);
    const line = /\n {2}Throughput +40 reads a second .*503\. See npm run secrets -- throughput --help\n$/;
    assert.match((await set()).stdout, line);
    assert.match((await show()).stdout, line);
    assert.equal((await run(["throughput", "--on"], {})).code, 0);
    for (const { stdout } of [await set(), await show()]) assert.doesNotMatch(stdout, /Throughput/);
    assert.equal(JSON.parse((await show("--json")).stdout).hasHighThroughput, true);
  });

  test("set, show: store and print the keys though the throughput may not be read, and say what could not be checked", async (t) => {
    const { store, set, show, stored } = await setUp(t, before);
    store.deny("GetServiceSetting");
    const { code, stdout, stderr } = await set({ ENCRYPT_KEY: key("b") });
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout, /\n {2}Throughput +not checked \(ssm:GetServiceSetting: AccessDeniedException\)\n$/);
    assert.equal(stored().encryptKeys.length, 2);
    assert.equal(JSON.parse((await show("--json")).stdout).hasHighThroughput, null);
  });

  test("throughput: says what it is and changes it only when told to, for the account and region it names", async (t) => {
    const { store, run } = await setUp(t);
    const steps = [
      [[], /^The throughput of Parameter Store is 40 reads a second in this account and us-east-1 \(.*\)\n$/],
      [["--off"], / is 40 reads /],
      [["--on"], / is now 10,000 reads .*bills each call of Parameter Store, \$0\.05 for 10,000/],
      [["--on"], / is 10,000 reads /],
      [[], / is 10,000 reads /],
      [["--off"], / is now 40 reads /],
    ] as const;
    for (const [args, said] of steps) {
      const { code, stdout, stderr } = await run(["throughput", ...args], {});
      assert.deepEqual([code, stderr], [0, ""]);
      assert.match(stdout, said);
    }
    const changes = store.calls.filter(({ action }) => action === "UpdateServiceSetting");
    assert.deepEqual(
      changes.map(({ input }) => [input["SettingId"], input["SettingValue"]]),
      [
        [throughputArn, "true"],
        [throughputArn, "false"],
      ],
    );
    const { stdout } = await run(["throughput", "--on", "--json", "--region", "eu-west-1"], {});
    assert.deepEqual(JSON.parse(stdout), { region: "eu-west-1", isHigh: true, wasHigh: false });
  });

  test("throughput: says in one line what it may not do, and what makes no sense", async (t) => {
    const { store, run } = await setUp(t);
    assert.equal((await run(["throughput", "--on", "--off"], {})).code, 2);
    assert.equal(store.calls.length, 0);
    store.deny("UpdateServiceSetting");
    const { code, stdout, stderr } = await run(["throughput", "--on"], {});
    assert.deepEqual([code, stdout], [1, ""]);
    assertSaid(
      stderr,
      /^Cannot ask SSM for its throughput: AccessDeniedException \(ssm:UpdateServiceSetting\)\. You need the right ssm:UpdateServiceSetting$/m,
    );
  });

  test("show: says what to run when there is no parameter", async (t) => {
    const { show } = await setUp(t);
    const { code, stdout, stderr } = await show("--region", "eu-west-1");
    assert.deepEqual([code, stdout], [1, ""]);
    assertSaid(
      stderr,
      /no parameter \/larkpost\/prod\/app\. Run "npm run secrets -- set --stage prod --region eu-west-1"/,
    );
  });

  for (const [when, junk] of [
    ["is no JSON", `${canary}, and no JSON`],
    ["has an end that is no time", JSON.stringify({ ...before, encryptKeys: [{ value: key("a"), notAfter: 1e300 }] })],
  ] as const) {
    test(`says so when what is stored ${when}, and leaves it`, async (t) => {
      const { store, set, show } = await setUp(t, junk);
      const [shown, wasSet] = await Promise.all([show(), set()]);
      assert.deepEqual([shown.code, shown.stdout], [1, ""]);
      assertSaid(shown.stderr, /^Cannot (read|start).* stored /);
      assert.deepEqual([wasSet.code, wasSet.stdout], [1, ""]);
      // "Run set" would lead in a circle here.
      assertSaid(wasSet.stderr, /^Cannot store the keys: .*\/larkpost\/prod\/app.*delete that parameter/);
      assert.doesNotMatch(wasSet.stderr, /npm run secrets/);
      assert.equal(store.parameters.get(parameter)?.value, junk);
    });
  }

  test("says in one line why the store could not be asked", async (t) => {
    const { store, set, show } = await setUp(t);
    store.become("denied");
    const stranger = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    const offline = { AWS_ENDPOINT_URL_SSM: "http://127.0.0.1:9", AWS_MAX_ATTEMPTS: "1" };
    const results = await Promise.all([set(), show(), set(stranger), set(offline)]);
    const denied = "AccessDeniedException \\(ssm:GetParameter\\)\\. You need the right ssm:GetParameter";
    const unknown = 'CredentialsProviderError. Run "aws sso login", or set AWS_PROFILE';
    const reasons = [denied, denied, unknown, "connect ECONNREFUSED 127.0.0.1:9\\. Check the region"];
    for (const [at, { code, stdout, stderr }] of results.entries()) {
      assert.deepEqual([code, stdout], [1, ""]);
      assertSaid(stderr, new RegExp(`^Cannot ask SSM for /larkpost/prod/app: ${reasons[at]}`));
    }
  });

  test("set: waits longer for a distant store than a request may", async (t) => {
    const { store, set } = await setUp(t);
    store.become("slow");
    assert.equal((await set()).code, 0);
    assert.ok(store.parameters.has(parameter));
  });
});
