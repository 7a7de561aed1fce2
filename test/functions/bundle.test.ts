import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, relative, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import type { Metafile } from "esbuild";
import { build } from "../../lib/cli/deploy/build.ts";
import { once } from "../../lib/once.ts";
import { coldInstances } from "../support/cold-instances.ts";
import { eventText } from "../support/events.ts";
import { behindDomain, functionUrl, httpApi } from "../support/http-events.ts";
import { selfBuilt } from "../support/open-api.ts";
import { fixtureProject } from "../support/project.ts";
import { challengeText } from "../support/push.ts";
import { sealNow } from "../support/sealed.ts";
import { type Services, startServices } from "../support/services.ts";
import { type Store, startStore } from "../support/ssm.ts";
import { failing, failuresInBundles, writeHelper } from "./failures.ts";
import { inFreshProcess } from "./fresh-process.ts";
import { callers, openApiInBundles } from "./open-api.ts";

const keysEnv = {
  ENCRYPT_KEY: "bundle-test-encrypt-key",
  VERIFICATION_TOKEN: "bundle-test-verification-token",
  APP_ID: selfBuilt.appId,
};

const parameter = "/larkpost/bundled/app";
const storedSecrets = JSON.stringify({
  appId: keysEnv.APP_ID,
  appSecret: selfBuilt.appSecret,
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
  let store: Store;
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
  });
  after(async () => {
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

  const challenge = challengeText({ challenge: "c-1" });

  function message(id: string): string {
    const event = {
      sender: { sender_type: "user" },
      message: { message_id: `om_${id}`, chat_type: "p2p", message_type: "text", content: "{}" },
    };
    return eventText({ id, type: "im.message.receive_v1", app: keysEnv.APP_ID, event });
  }

  const fileOf = (name: string) => built.find((one) => one.name === name)?.file ?? assert.fail(name);
  /** A function's keys are in the store. */
  const stored = () => ({ ENCRYPT_KEY: null, VERIFICATION_TOKEN: null, ...store.env, SECRETS_PARAMETER: parameter });
  const stranger = { ...keysEnv, ENCRYPT_KEY: "an-encrypt-key-of-a-stranger" };

  /** What the functions answer by the doors of AWS, and the events that they queued. */
  const answered = once(async () => {
    const doors = [behindDomain, functionUrl].flatMap((toEvent) =>
      ["webhook", "callback"].map((name) => {
        const at = (text: string, env = keysEnv) => ({
          file: fileOf(name),
          event: toEvent(sealNow(text, env), { path: `/${name}`, base64: true }),
        });
        const signed = name === "webhook" ? [at(message(`by-${toEvent.name}`))] : [];
        return { name, steps: [at(challenge), at(message("of-a-stranger"), stranger), ...signed] };
      }),
    );
    // The base path is none of theirs.
    const other = behindDomain(sealNow(challenge, keysEnv), { path: "/", base64: true });
    const file = fileOf("webhook");
    const steps = [
      { file, event: toHttpEvent(challenge), settings: stored() },
      { file, event: toHttpEvent(message("forged"), stranger) },
      { file, event: toHttpEvent(message("stored")) },
      { file, event: toHttpEvent(challenge), settings: { ...keysEnv, SECRETS_PARAMETER: null } },
      ...doors.flatMap(({ name, steps }) => (name === "webhook" ? steps : [])),
      { file, event: { ...other, routeKey: "$default", rawPath: "/feishu/v1" } },
      ...doors.flatMap(({ name, steps }) => (name === "callback" ? steps : [])),
    ];
    const done = await inFreshProcess(steps, { ...services.env, APP_ID: keysEnv.APP_ID, LOG_LEVEL: "error" });
    return { done, asked: store.asked(), queued: await services.take(services.urls.eventsQueueUrl) };
  });

  test("answer at their paths behind a domain with a base path and by a Function URL, with keys in the store and in the environment", async () => {
    const { done, asked, queued } = await answered();
    assert.deepEqual(
      done.map(({ answer }) => answer.statusCode),
      [200, 401, 200, 200, 200, 401, 200, 200, 401, 200, 404, 200, 401, 200, 401],
    );
    for (const index of [0, 3]) assert.deepEqual(JSON.parse(done[index]?.answer.body), { challenge: "c-1" });
    assert.equal(queued.length, 3);
    assert.equal(asked, 1, "once, while the function was loaded");
  });

  test("the webhook loads one file, for a challenge and for an event", async () => {
    const { done } = await answered();
    const file = relative(root, fileOf("webhook"));
    for (const { loaded } of done.slice(0, 11)) {
      const files = loaded.filter((url) => url.startsWith("file:")).map((url) => relative(root, fileURLToPath(url)));
      assert.deepEqual([...new Set(files)], [file]);
    }
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

  test("K1: six cold webhooks at a store that throttles the first of them wait for their keys, and answer their first request", async () => {
    const file = built.find(({ name }) => name === "webhook")?.file ?? "";
    const throttling = { perSecond: 10_000, firstThrottled: 3 };
    const found = await coldInstances(file, { count: 6, ...throttling, waitsMs: [0], slowness: 10 });
    assert.equal(found.throttled, 3);
    assert.deepEqual([found.requests, found.unavailable, found.reads], [6, 0, 6]);
  });

  describe("a failure in the bundles", () => failuresInBundles(() => ({ built, services, root: project.root })));

  describe("the Open API in the bundles", () =>
    openApiInBundles(() => ({
      built,
      services,
      store,
      stored: stored(),
      queued: async () => (await answered()).queued,
    })));

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
