import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { toBody } from "../../lib/aws/record.ts";
import type { build } from "../../lib/cli/deploy/build.ts";
import { classify } from "../../lib/feishu/classify.ts";
import { mei } from "../../lib/simulator/samples/facts.ts";
import type { ErrorDescription } from "../../lib/trace/error.ts";
import { eventBody, jobOf, record } from "../support/events.ts";
import { httpApi } from "../support/http-events.ts";
import { sealNow } from "../support/sealed.ts";
import type { Services } from "../support/services.ts";
import { type Done, inFreshProcess, type Step } from "./fresh-process.ts";

const keys = {
  ENCRYPT_KEY: "bundle-test-encrypt-key",
  VERIFICATION_TOKEN: "bundle-test-verification-token",
  APP_ID: "cli_00000000000000cc",
};

const eventType = "contact.user.deleted_v3";
const misfitType = "contact.user.updated_v3";
const callbackType = "url.preview.get";
/** What handlers throw. A log line has none of it. */
const canary = "PAYLOAD-1a2b";

/** Each line with a `@name` in it is a place that a test looks for. */
const helper = `
/** Beside the handlers, for both of them. */
export class HrServiceDown extends Error {}
export class OutOfStock extends Error {
  readonly isMessageSafe = true;
}

export async function lookUp(how: string): Promise<void> {
  await Promise.resolve();
  if (how === "cause") return JSON.parse("${canary}"); // @parse
  if (how === "safe") throw new OutOfStock("Pallet 17 is sold"); // @safe
  throw new HrServiceDown("${canary}"); // @helper
}
`;

const eventHandler = `
import { NonRetryableError, onEvent } from "larkpost";
import { HrServiceDown, lookUp } from "../hr.ts";

interface Event {
  readonly how: string;
}

class OrderGone extends NonRetryableError {}

export default onEvent("${eventType}", async (event: never) => {
  const { how } = event as Event;
  if (how === "one") throw new HrServiceDown("${canary}"); // @one
  if (how === "other") throw new HrServiceDown("${canary}"); // @other
  if (how === "member") {
    const lines = JSON.parse("{}").lines;
    return lines.map(String); // @member
  }
  if (how === "leak") setTimeout(() => { throw new HrServiceDown("${canary}"); }, 1); // @leak
  if (how === "leak") return new Promise((done) => setTimeout(done, 50));
  try {
    await lookUp(how); // @call
  } catch (cause) {
    if (how === "cause") throw new OrderGone("${canary}", { cause }); // @wrapped
    throw cause;
  }
});
`;

const callbackHandler = `
import { NonRetryableError, onCallback } from "larkpost";
import { lookUp } from "../hr.ts";

class Off extends NonRetryableError {}

export default onCallback(
  "${callbackType}",
  async (event: never) => {
    const { url } = (event as { context: { url: string } }).context;
    if (url === "late") return new Promise<never>(() => {});
    if (url === "answer") return { inline: 5 } as never;
    await lookUp("plain"); // @callback
    return {};
  },
  {
    async deferred({ how }: { how: string }) {
      await lookUp(how).catch((cause) => { throw new Off("${canary}", { cause }); }); // @deferred
    },
  },
);
`;

/** Handler files for the project whose bundles are given to `failuresInBundles`. */
export const failing = {
  events: { [eventType]: eventHandler, [misfitType]: "export default 5;\n" },
  callbacks: { [callbackType]: callbackHandler },
};

/** Writes what those import. */
export function writeHelper(root: string): void {
  writeFileSync(join(root, "functions/hr.ts"), helper);
}

const eventFile = `functions/events/${eventType}.ts`;
const callbackFile = `functions/callbacks/${callbackType}.ts`;

/** The place of a marked line: that of `text` in it. */
function placeIn(root: string, file: string, mark: string, text: string): string {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  const index = lines.findIndex((line) => line.endsWith(`// @${mark}`));
  return `${file}:${index + 1}:${(lines[index] ?? "").indexOf(text) + 1}`;
}

/** The callback that makes that handler fail as it is asked to. */
export function previewText(how: string, app = keys.APP_ID): string {
  const header = {
    ...{ event_id: randomUUID(), event_type: callbackType, app_id: app, tenant_key: "t" },
    ...{ token: keys.VERIFICATION_TOKEN, create_time: String(Date.now() * 1000) },
  };
  const event = { operator: { open_id: mei.open_id }, host: "im_message", context: { url: how } };
  return JSON.stringify({ schema: "2.0", header, event });
}

/** What a bundle logs of that handler's failure. */
export function assertCallbackFailure(line: Partial<Line> | undefined, root: string): void {
  const outwards = [
    placeIn(root, "functions/hr.ts", "helper", "new HrServiceDown"),
    placeIn(root, callbackFile, "callback", "await"),
  ];
  assert.deepEqual(
    [line?.stage, line?.errorClass, line?.at, line?.frames],
    ["failed", "HrServiceDown", outwards[0], outwards],
  );
  assert.match(String(line?.fingerprint), /^[0-9a-f]{8}$/);
  assert.match(String(line?.codeVersion), /^[0-9a-f]{12}$/);
  assert.ok(!JSON.stringify(line).includes(canary));
}

type Line = ErrorDescription & { readonly stage: string; readonly reason?: string };

/** What built functions say of handlers that fail. */
export function failuresInBundles(
  given: () => {
    readonly built: Awaited<ReturnType<typeof build>>;
    readonly services: Services;
    readonly root: string;
  },
): void {
  /** The errors that a call logs. Its records never were in a queue. */
  const logged = ({ lines }: Done) =>
    lines.map((line) => JSON.parse(line) as Line).filter(({ reason }) => reason !== "visibility");
  async function run(
    steps: readonly (readonly ["worker" | "callback", unknown, Step["settings"]?])[],
    settings = {},
  ): Promise<Line[][]> {
    const { built, services } = given();
    const fileOf = (name: string) => built.find((one) => one.name === name)?.file ?? assert.fail(name);
    const done = await inFreshProcess(
      steps.map(([name, event, own]) => ({ file: fileOf(name), event, ...(own && { settings: own }) })),
      { ...services.env, ...keys, LOG_LEVEL: "warn", ...settings },
    );
    return done.map(logged);
  }

  const batch = (how: string, type = eventType) => ({
    Records: [record(eventBody({ id: randomUUID(), type, app: keys.APP_ID, event: { how } }))],
  });

  const preview = (how: string) => httpApi(sealNow(previewText(how), keys), { path: "/callback" });

  /** Work that the same callback put off. */
  function job(how: string) {
    const callback = classify(previewText(""));
    assert.ok(callback.kind === "callback");
    const transport = { requestId: "log-1", transport: "webhook", receivedBy: keys.APP_ID } as const;
    return { Records: [record(toBody(jobOf({ ...callback, ...transport, kind: "callback" }, { how })))] };
  }

  const place = (file: string, mark: string, text: string) => placeIn(given().root, file, mark, text);

  test("a failed event is logged with the class that the handler threw and its place in the source, and so is a callback that fails, is late or answers wrongly", async () => {
    const events = [
      ...["one", "other", "plain", "safe", "member", "leak"].map((how) => batch(how)),
      batch("", misfitType),
    ];
    const clicks = ["plain", "answer"].map(preview);
    const logs = await run([
      ...events.map((event) => ["worker", event] as const),
      ...clicks.map((event) => ["callback", event] as const),
      ["callback", preview("late"), { CALLBACK_DEADLINE_MS: "100" }],
    ]);
    const lines = logs.slice(0, events.length).flat();
    const [one, other, plain, safe, member, leaked, failed, misfit, ...rest] = lines;
    assert.deepEqual(rest, []);
    const thrown = "new HrServiceDown";
    assert.deepEqual(
      [one?.errorClass, one?.at, one?.frames],
      ["HrServiceDown", place(eventFile, "one", thrown), undefined],
    );
    assert.deepEqual([other?.errorClass, other?.at], ["HrServiceDown", place(eventFile, "other", thrown)]);
    assert.notEqual(one?.fingerprint, other?.fingerprint, "two faults of one handler");
    const outwards = [place("functions/hr.ts", "helper", thrown), place(eventFile, "call", "await")];
    assert.deepEqual([plain?.at, plain?.frames], [outwards[0], outwards]);
    assert.deepEqual([safe?.errorClass, safe?.message], ["OutOfStock", "Pallet 17 is sold"]);
    assert.deepEqual([member?.errorClass, member?.at], ["TypeError", place(eventFile, "member", "map")]);
    assert.deepEqual([leaked?.stage, leaked?.at], ["leaked", place(eventFile, "leak", thrown)]);
    assert.deepEqual([failed?.stage, failed?.at], ["failed", leaked?.at]);
    assert.deepEqual([misfit?.errorClass, misfit?.at], ["ConfigError", `functions/events/${misfitType}.ts`]);
    assert.match(String(misfit?.message), /its default export is not onEvent/);
    assert.ok(!JSON.stringify(logs).includes(canary));
    assert.match(String(one?.codeVersion), /^[0-9a-f]{12}$/);

    const [refused, invalid, late] = logs.slice(events.length).flat();
    assertCallbackFailure(refused, given().root);
    assert.deepEqual([late?.stage, late?.errorClass, late?.at], ["late", "HandlerTimeoutError", callbackFile]);
    assert.deepEqual([invalid?.errorClass, invalid?.at], ["InvalidAnswerError", callbackFile]);
  });

  test("a dead letter says the same in one attribute, with the causes, and with messages if the setting says so", async () => {
    const { services } = given();
    const calls = [batch("cause"), job("cause")].map((event) => ["worker", event] as const);
    const lines = (await run(calls, { LOG_ERROR_MESSAGES: "true" })).flat();
    const letters = await services.take(services.urls.deadLetterQueueUrl);
    const told = letters.map(({ MessageAttributes: { error, deadReason } = {} }) => {
      assert.equal(deadReason?.StringValue, "nonRetryable");
      return JSON.parse(error?.StringValue ?? "") as Line;
    });
    assert.deepEqual(
      lines,
      lines.map((line, index) => ({ ...line, ...told[index] })),
    );
    assert.deepEqual(
      told.map(({ errorClass, at, message }) => [errorClass, at, message]),
      [
        ["OrderGone", place(eventFile, "wrapped", "new OrderGone"), canary],
        ["Off", place(callbackFile, "deferred", "new Off"), canary],
      ],
    );
    assert.deepEqual(told[1]?.frames?.at(-1), place(callbackFile, "deferred", "await"));
    for (const { causes } of told) {
      assert.deepEqual(
        causes?.map(({ errorClass, at }) => [errorClass, at]),
        [["SyntaxError", place("functions/hr.ts", "parse", "parse")]],
      );
    }
    assert.notEqual(told[0]?.fingerprint, told[1]?.fingerprint);
  });
}
