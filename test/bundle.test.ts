import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { build } from "../lib/cli/build.ts";
import { webhookConfig } from "../lib/config.ts";
import { classify } from "../lib/feishu/classify.ts";
import { type Envelope, seal } from "../lib/feishu/envelope.ts";
import { type Functions, startFunctions } from "../lib/local/functions.ts";
import { toRecord } from "../lib/local/poller.ts";
import { seeded } from "./support/random.ts";
import { type Services, startServices } from "./support/services.ts";

const keysEnv = {
  ENCRYPT_KEY: "bundle-test-encrypt-key",
  VERIFICATION_TOKEN: "bundle-test-verification-token",
  APP_ID: "cli_00000000000000cc",
};

describe("the built bundles", () => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-dist-"));
  const random = seeded(5);
  let services: Services;
  let functions: Functions;
  let built: Awaited<ReturnType<typeof build>>;

  before(async () => {
    [services, built] = await Promise.all([startServices(), build({ outFolder: folder })]);
    functions = startFunctions({
      modules: new Map(built.map(({ name, file }) => [name, file])),
      env: { ...process.env, ...services.env, ...keysEnv, LOG_LEVEL: "error" },
      onLine: () => {},
      onNotice: (notice) => assert.fail(notice),
    });
    await functions.ready();
  });
  after(async () => {
    await functions.stop(0);
    await services.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function deliver(envelope: Envelope): Promise<{ statusCode: number; body: string }> {
    const { keys } = webhookConfig({ ...services.env, ...keysEnv });
    const request = seal(envelope, {
      keys,
      app: "default",
      nowMs: Date.now(),
      nonce: random.hex(8),
      iv: random.bytes(16),
    });
    const event = {
      version: "2.0",
      rawPath: "/",
      requestContext: { stage: "$default", http: { method: "POST" } },
      headers: Object.fromEntries(request.headers),
      body: Buffer.from(request.rawBody).toString("base64"),
      isBase64Encoded: true,
    };
    return (await functions.invoke("webhook", event, 10_000)) as { statusCode: number; body: string };
  }

  test("answer a challenge", async () => {
    const { statusCode, body } = await deliver({
      kind: "challenge",
      challenge: "c-1",
      requestId: null,
      transport: "webhook",
    });
    assert.equal(statusCode, 200);
    assert.deepEqual(JSON.parse(body), { challenge: "c-1" });
  });

  test("queue a signed event, and complete it once in the worker", async () => {
    const header = { event_id: "bundled", event_type: "im.message.receive_v1", token: "", app_id: keysEnv.APP_ID };
    const message = { message_id: "om_bundled", chat_type: "p2p", message_type: "text", content: "{}" };
    const classified = classify(JSON.stringify({ schema: "2.0", header, event: { message } }));
    const envelope = { ...classified, requestId: null, transport: "webhook" } as unknown as Envelope;
    assert.equal((await deliver(envelope)).statusCode, 200);
    const [received] = await services.take(services.urls.eventsQueueUrl);
    assert.ok(received);
    const batch = { Records: [toRecord(received)] };
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

  test("the webhook's bundle has no DynamoDB client and no Lark SDK in it", () => {
    const webhook = built.find(({ name }) => name === "webhook");
    const inputs = Object.keys(webhook?.metafile.inputs ?? {});
    assert.ok(inputs.length > 0);
    assert.deepEqual(
      inputs.filter((path) => /client-dynamodb|@larksuiteoapi|functions\/events/.test(path)),
      [],
    );
  });
});
