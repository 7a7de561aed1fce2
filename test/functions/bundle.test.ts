// first: it builds and starts bundles.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { deflateRawSync } from "node:zlib";
import type { Metafile } from "esbuild";
import { build, functionNames } from "../../lib/cli/deploy/build.ts";
import { type Functions, startFunctions } from "../../lib/local/functions.ts";
import { toRecord } from "../../lib/local/poller.ts";
import { coldInstances } from "../support/cold-instances.ts";
import { eventText } from "../support/events.ts";
import { behindDomain, functionUrl, httpApi } from "../support/http-events.ts";
import { fixtureProject } from "../support/project.ts";
import { challengeText } from "../support/push.ts";
import { sealNow } from "../support/sealed.ts";
import { type Services, startServices } from "../support/services.ts";
import { type Store, startStore } from "../support/ssm.ts";
import { failing, failuresInBundles, writeHelper } from "./failures.ts";
import { callers, openApiInBundles } from "./open-api.ts";

const keysEnv = {
  ENCRYPT_KEY: "bundle-test-encrypt-key",
  VERIFICATION_TOKEN: "bundle-test-verification-token",
  APP_ID: "cli_00000000000000cc",
};

const parameter = "/larkpost/bundled/app";
const storedSecrets = JSON.stringify({
  appId: keysEnv.APP_ID,
  encryptKeys: [{ value: keysEnv.ENCRYPT_KEY }],
  verificationTokens: [{ value: keysEnv.VERIFICATION_TOKEN }],
});

const root = resolve(import.meta.dirname, "../..");
const fixture = join(import.meta.dirname, "../fixtures/webhook-modules.json");
const zipLimitBytes = 16 * 1024;

type Sizes = Readonly<Record<string, number>>;

/** Bytes that each npm package, and each room of our own, has in a bundle. */
function sizesOf({ outputs }: Metafile): Sizes {
  const sizes = new Map<string, number>();
  for (const { inputs } of Object.values(outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      if (bytesInOutput > 0) sizes.set(ownerOf(path), (sizes.get(ownerOf(path)) ?? 0) + bytesInOutput);
    }
  }
  return Object.fromEntries([...sizes].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function ownerOf(path: string): string {
  const inPackage = /^.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];
  return inPackage ?? (path.startsWith("builtin:") ? "node" : `${dirname(path)}/*`);
}

/** As they are recorded: to 100 bytes, so that a release of a package that changes a word changes no line here. */
function rounded(sizes: Sizes): Sizes {
  return Object.fromEntries(Object.entries(sizes).map(([name, bytes]) => [name, Math.ceil(bytes / 100) * 100]));
}

/** What is new, or over its recorded size by more than 5 % (and more than 1 KB: small rooms may gain a function). */
function grown(recorded: Sizes, sizes: Sizes): string[] {
  return Object.entries(sizes).flatMap(([name, bytes]) => {
    const was = recorded[name];
    if (was === undefined) return [`${name} is new, with ${bytes} bytes`];
    if (bytes <= Math.max(was * 1.05, was + 1_000)) return [];
    return [`${name} grew by ${Math.round((bytes / was - 1) * 100)} %, from ${was} to ${bytes} bytes`];
  });
}

describe("the built bundles", () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "larkpost-dist-")));
  let project: Awaited<ReturnType<typeof fixtureProject>>;
  let services: Services;
  let functions: Functions;
  let store: Store;
  /** The same, with their keys in the store. */
  let storedFunctions: Functions;
  let built: Awaited<ReturnType<typeof build>>;

  before(async () => {
    project = await fixtureProject({
      events: { ...callers.events, ...failing.events },
      callbacks: { ...callers.callbacks, ...failing.callbacks },
    });
    writeHelper(project.root);
    const builds = [
      build({ outFolder: folder, names: ["webhook"] }),
      build({ root: project.root, names: ["callback", "worker"] }),
    ];
    const [parts, ...started] = await Promise.all([Promise.all(builds), startServices(), startStore()]);
    built = parts.flat();
    [services, store] = started;
    store.put(parameter, storedSecrets);
    const start = (env: NodeJS.ProcessEnv, names: readonly string[] = functionNames) =>
      startFunctions({
        modules: new Map(built.filter(({ name }) => names.includes(name)).map(({ name, file }) => [name, file])),
        env: { ...process.env, ...services.env, ...env, LOG_LEVEL: "error" },
        onLine: () => {},
        onNotice: (notice) => assert.fail(notice),
      });
    functions = start(keysEnv);
    // What an event goes through; the callback would ask the store for itself.
    const stored = { ...store.env, SECRETS_PARAMETER: parameter, APP_ID: keysEnv.APP_ID };
    storedFunctions = start(stored, ["webhook", "worker"]);
    await Promise.all([functions.ready(), storedFunctions.ready()]);
  });
  after(async () => {
    await Promise.all([functions.stop(0), storedFunctions.stop(0)]);
    await Promise.all([services.stop(), store.stop()]);
    project.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  function webhook() {
    const found = built.find(({ name }) => name === "webhook");
    assert.ok(found);
    return found;
  }

  function toHttpEvent(text: string, env = keysEnv) {
    return httpApi(sealNow(text, env), { path: "/", base64: true });
  }

  async function deliver(text: string, to = functions, env = keysEnv) {
    return (await to.invoke("webhook", toHttpEvent(text, env), 10_000)) as { statusCode: number; body: string };
  }

  const challenge = challengeText({ challenge: "c-1" });

  function message(id: string): string {
    const event = {
      sender: { sender_type: "user" },
      message: { message_id: `om_${id}`, chat_type: "p2p", message_type: "text", content: "{}" },
    };
    return eventText({ id, type: "im.message.receive_v1", app: keysEnv.APP_ID, event });
  }

  test("answer a challenge", async () => {
    const { statusCode, body } = await deliver(challenge);
    assert.equal(statusCode, 200);
    assert.deepEqual(JSON.parse(body), { challenge: "c-1" });
  });

  test("answer at their paths behind a domain with a base path, and by a Function URL, at the same time", async () => {
    for (const toEvent of [behindDomain, functionUrl]) {
      const at = async (name: string, path: string, text: string, env = keysEnv) => {
        const event = toEvent(sealNow(text, env), { path, base64: true });
        return ((await functions.invoke(name, event, 10_000)) as { statusCode: number; body: string }).statusCode;
      };
      const stranger = { ...keysEnv, ENCRYPT_KEY: "an-encrypt-key-of-a-stranger" };
      for (const [name, path] of [
        ["webhook", "/webhook"],
        ["callback", "/callback"],
      ] as const) {
        assert.equal(await at(name, path, challenge), 200, path);
        assert.equal(await at(name, path, message(`${path}-of-a-stranger`), stranger), 401, path);
      }
      assert.equal(await at("webhook", "/webhook", message(`by-${toEvent.name}`)), 200);
      assert.equal((await services.take(services.urls.eventsQueueUrl)).length, 1);
    }
    // The base path is none of theirs.
    const other = behindDomain(sealNow(challenge, keysEnv), { path: "/", base64: true });
    const unmatched = { ...other, routeKey: "$default", rawPath: "/feishu/v1" };
    assert.equal(((await functions.invoke("webhook", unmatched, 10_000)) as { statusCode: number }).statusCode, 404);
  });

  test("queue a signed event, and complete it once in the worker", async () => {
    assert.equal((await deliver(message("bundled"))).statusCode, 200);
    const [received] = await services.take(services.urls.eventsQueueUrl);
    assert.ok(received);
    const batch = { Records: [toRecord(received, services.urls.eventsQueueUrl)] };
    assert.deepEqual(await functions.invoke("worker", batch, 60_000), { batchItemFailures: [] });
    assert.deepEqual(await functions.invoke("worker", batch, 60_000), { batchItemFailures: [] });
  });

  test("each handler file is a chunk of its own", () => {
    const worker = built.find(({ name }) => name === "worker");
    const chunks = Object.values(worker?.metafile.outputs ?? {}).map(({ inputs }) => Object.keys(inputs));
    const holding = (path: string) => chunks.filter((inputs) => inputs.includes(path));
    for (const path of ["functions/events/im.message.receive_v1.ts", "functions/events/approval_instance.ts"]) {
      const [chunk, ...others] = holding(path);
      assert.deepEqual(
        chunk?.filter((input) => input.startsWith("functions/")),
        [path],
      );
      assert.deepEqual(others, []);
    }
  });

  test("the webhook's bundle has no package and no handler in it, and loads zlib for large events only", () => {
    const { inputs, outputs } = webhook().metafile;
    const modules = Object.keys(inputs);
    assert.ok(modules.includes("builtin:crypto") && !modules.includes("builtin:zlib"));
    assert.deepEqual(
      modules.filter((path) => /node_modules|functions\/events/.test(path)),
      [],
    );
    // An import by name would read all that the module has.
    const imports = Object.values(outputs).flatMap((output) => output.imports.map(({ path }) => path));
    assert.deepEqual(imports, []);
  });

  test("no bundle has a door for other servers in it", () => {
    const doors = new Set(["body", "fastify", "fetch", "koa", "node"].map((name) => `lib/receiving/${name}.ts`));
    for (const file of doors) assert.ok(existsSync(join(root, file)), file);
    for (const { name, metafile } of built) {
      assert.deepEqual([name, ...Object.keys(metafile.inputs).filter((path) => doors.has(path))], [name]);
    }
  });

  test("K1: twenty cold webhooks at a store that throttles the first of them wait for their keys, and answer their first request", async () => {
    const file = built.find(({ name }) => name === "webhook")?.file ?? "";
    const found = await coldInstances(file, { count: 20, perSecond: 10_000, firstThrottled: 8, waitsMs: [0] });
    assert.equal(found.throttled, 8);
    assert.deepEqual([found.requests, found.unavailable, found.reads], [20, 0, 20]);
  });

  test("verify with the keys of SECRETS_PARAMETER: a challenge, and an event up to its handler", async () => {
    const { statusCode, body } = await deliver(challenge, storedFunctions);
    assert.deepEqual([statusCode, JSON.parse(body)], [200, { challenge: "c-1" }]);
    const stranger = { ...keysEnv, ENCRYPT_KEY: "an-encrypt-key-of-a-stranger" };
    assert.equal((await deliver(message("forged"), storedFunctions, stranger)).statusCode, 401);
    assert.equal((await deliver(message("stored"), storedFunctions)).statusCode, 200);
    const [received, ...more] = await services.take(services.urls.eventsQueueUrl);
    assert.ok(received);
    assert.deepEqual(more, []);
    const batch = { Records: [toRecord(received, services.urls.eventsQueueUrl)] };
    assert.deepEqual(await storedFunctions.invoke("worker", batch, 60_000), { batchItemFailures: [] });
    // Once by each function, while it was loaded.
    assert.equal(store.asked(), 2);
  });

  describe("load, in a fresh process,", () => {
    /** Posts a challenge, then an event, and says which files were loaded by the time of each answer. */
    async function trace(settings: NodeJS.ProcessEnv) {
      const source = `
        import { registerHooks } from "node:module";
        import { pathToFileURL } from "node:url";
        const loaded = [];
        registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
        const { handler } = await import(pathToFileURL(process.env.ENTRY).href);
        const answers = [];
        for (const event of JSON.parse(process.env.EVENTS)) {
          const { statusCode } = await handler(event);
          answers.push({ statusCode, loaded: [...loaded] });
        }
        process.stderr.write(JSON.stringify(answers));`;
      const { PATH, NODE_COMPILE_CACHE } = process.env;
      const events = [toHttpEvent(challenge), toHttpEvent(message("traced"))];
      const env = {
        PATH,
        NODE_COMPILE_CACHE,
        ...services.env,
        ...settings,
        ENTRY: webhook().file,
        EVENTS: JSON.stringify(events),
      };
      const args = ["--input-type=module", "-e", source];
      // A process that does not end by itself is ended after a minute, and the promise rejects.
      const { stderr } = await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 });
      const answers = JSON.parse(stderr) as { statusCode: number; loaded: string[] }[];
      await services.take(services.urls.eventsQueueUrl);
      return answers.map(({ statusCode, loaded }) => {
        const files = loaded.filter((url) => url.startsWith("file:")).map((url) => relative(root, fileURLToPath(url)));
        return { statusCode, files: files.sort() };
      });
    }

    test("one file, for a challenge and for an event, with keys in the environment or in the store", async () => {
      for (const settings of [keysEnv, { ...store.env, SECRETS_PARAMETER: parameter }]) {
        const answers = await trace(settings);
        assert.deepEqual(
          answers,
          [1, 2].map(() => ({ statusCode: 200, files: [relative(root, webhook().file)] })),
        );
      }
    });
  });

  describe("a failure in the bundles", () => failuresInBundles(() => ({ built, services, root: project.root })));

  describe("the Open API in the bundles", () => openApiInBundles(() => ({ built, services })));

  describe("the webhook's size", () => {
    const how = "If it is meant to be so, record it: UPDATE_FIXTURES=1 npx node --test test/functions/bundle.test.ts";

    test("of each package and room is at most 5 % over the recorded one", () => {
      const sizes = sizesOf(webhook().metafile);
      if (process.env["UPDATE_FIXTURES"] === "1") {
        writeFileSync(fixture, `${JSON.stringify(rounded(sizes), null, 2)}\n`);
      }
      const recorded = JSON.parse(readFileSync(fixture, "utf8")) as Sizes;
      const changes = grown(recorded, sizes);
      assert.deepEqual(changes, [], `The webhook's bundle grew: ${changes.join("; ")}. ${how}`);
    });

    test("is told by the name of what is new or grew", () => {
      const recorded = { "@aws-sdk/client-sqs": 30_000, "lib/aws/*": 9_000, gone: 1_000 };
      assert.deepEqual(grown(recorded, recorded), []);
      assert.deepEqual(grown(recorded, { "@aws-sdk/client-sqs": 31_500, "lib/aws/*": 10_000 }), []);
      assert.deepEqual(grown(recorded, { "@aws-sdk/client-sqs": 33_000, "lib/aws/*": 10_001, "left-pad": 12 }), [
        "@aws-sdk/client-sqs grew by 10 %, from 30000 to 33000 bytes",
        "lib/aws/* grew by 11 %, from 9000 to 10001 bytes",
        "left-pad is new, with 12 bytes",
      ]);
    });

    test("R1: zipped, is at most 16 KB", () => {
      const files = Object.keys(webhook().metafile.outputs).filter((path) => path.endsWith(".mjs"));
      const parts = files.map((path) => {
        const name = relative(folder, resolve(root, path));
        // A zip names each file twice, in headers of 30 and 46 bytes.
        const headers = 30 + 46 + 2 * Buffer.byteLength(`dist/${name}`);
        return { name: basename(name), bytes: headers + deflateRawSync(readFileSync(resolve(root, path))).length };
      });
      // osls compresses as zlib does unless told otherwise; 1 % covers what another release might do.
      const bytes = Math.ceil(1.01 * parts.reduce((sum, part) => sum + part.bytes, 0));
      const largest = parts.sort((a, b) => b.bytes - a.bytes).slice(0, 3);
      const shown = largest.map((part) => `${part.name} ${part.bytes}`).join(", ");
      assert.ok(bytes <= zipLimitBytes, `about ${bytes} bytes of ${zipLimitBytes}; the largest: ${shown}`);
    });
  });
});
