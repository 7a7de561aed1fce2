import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { build } from "../../../lib/cli/deploy/build.ts";
import { onlySources } from "../../../lib/cli/deploy/places.ts";
import type { ErrorDescription } from "../../../lib/trace/error.ts";
import type { Places } from "../../../lib/trace/places.ts";
import { temporaryProject } from "../../support/project.ts";

const firstType = "contact.user.created_v3";
const secondType = "contact.user.deleted_v3";

/** A worker that is nothing but its handlers and what describes their errors. */
const entry = `
import { describeError } from "../lib/trace/error.ts";
import { events } from "./events.gen.ts";
export const handler = async (type, event) => {
  try {
    await (await events[type]()).default(event);
  } catch (error) {
    return describeError(error);
  }
};
`;
const helper = "export function fail(text: string): never {\n  throw new RangeError(text);\n}\n";
const library = `export function twice(work) {\n  work();\n  work();\n}\n`;
const firstHandler = `import { twice } from "a-library";
import { fail } from "../../src/fail (1).ts";
export default async (event: { at: string }) => {
  if (event.at === "helper") fail("x");
  if (event.at === "library") twice(() => { throw new TypeError("x"); });
  if (event.at === "first") throw new TypeError("x");
  if (event.at === "second") throw new TypeError("x");
};
`;
const secondHandler = `import { fail } from "../../src/fail (1).ts";
export default async () => fail("y");
`;

test("a fault has one fingerprint before and after unrelated changes, and its new place", async (t) => {
  const made = await temporaryProject({ [firstType]: firstHandler, [secondType]: secondHandler });
  t.after(() => made.remove());
  const write = (path: string, source: string) => {
    mkdirSync(join(made.root, path, ".."), { recursive: true });
    writeFileSync(join(made.root, path), source);
  };
  write("functions/worker.ts", entry);
  write("src/fail (1).ts", helper);
  // Beside the linked node_modules: the project's own.
  write(
    "functions/node_modules/a-library/package.json",
    '{ "name": "a-library", "type": "module", "exports": "./index.js" }',
  );
  write("functions/node_modules/a-library/index.js", library);

  let builds = 0;
  async function deployed() {
    const outFolder = join(made.root, `dist-${++builds}`);
    const [worker = assert.fail()] = await build({ root: made.root, outFolder, names: ["worker"] });
    const { handler } = await import(pathToFileURL(worker.file).href);
    const places = JSON.parse(readFileSync(join(outFolder, "worker/places.json"), "utf8")) as Places;
    const fault = (at: string, type = firstType) => handler(type, { at }) as Promise<ErrorDescription>;
    return {
      places,
      first: await fault("first"),
      second: await fault("second"),
      helper: await fault("helper"),
      library: await fault("library"),
      other: await fault("", secondType),
    };
  }

  const before = await deployed();
  const file = `functions/events/${firstType}.ts`;
  assert.deepEqual([before.first.at, before.second.at], [`${file}:6:35`, `${file}:7:36`]);
  assert.deepEqual(before.helper.frames, ["src/fail (1).ts:2:9", `${file}:4:30`]);
  // No frame of a package, although it is in the handler's chunk.
  assert.deepEqual(before.library.frames, [`${file}:5:51`, `${file}:5:31`]);
  assert.deepEqual(
    Object.values(before.places.chunks)
      .flatMap(({ sources }) => sources.filter((source) => source !== ""))
      .sort(),
    [file, `functions/events/${secondType}.ts`, "src/fail (1).ts"],
  );
  const prints = (found: typeof before) =>
    [found.first, found.second, found.helper, found.library, found.other].map(({ fingerprint }) => fingerprint);
  assert.equal(new Set(prints(before)).size, 5, "each fault has its own");

  // Lines above a fault, another function in the helper, and another file.
  made.write(firstType, `import { setTimeout } from "node:timers/promises";\nvoid setTimeout(0);\n${firstHandler}`);
  write("src/fail (1).ts", `export const added = (some: number) => some + 1;\n${helper}`);
  made.write("contact.department.created_v3", "export default async () => {};\n");
  const after = await deployed();
  assert.deepEqual([after.first.at, after.helper.at], [`${file}:8:35`, "src/fail (1).ts:3:9"]);
  assert.deepEqual(prints(after), prints(before));
  assert.notEqual(after.first.codeVersion, before.first.codeVersion);
});

test("the places of some sources begin where those of the whole map begin", () => {
  // Column 0 is line 0 of source 0, column 3 line 1 of source 1; in the next line column 2 is line 2 of source 1.
  assert.equal(onlySources("AAAA,GCCA;EACA", new Set([1])), "GCCA;EACA");
  assert.equal(onlySources("AAAA,GCCA;EACA", new Set([0])), "AAAA,G;");
});

test("Node's modules are there however code asks for them, also in the webhook", async (t) => {
  const made = await temporaryProject({});
  t.after(() => made.remove());
  const folder = join(made.root, "functions/node_modules/monitor");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "name": "monitor" }');
  writeFileSync(
    join(folder, "index.js"),
    `const { existsSync } = require("fs");
let next = "there";
try { require("node:not-there"); } catch { next = "not there"; }
module.exports = { sees: existsSync(process.execPath), next };`,
  );
  const source = `import { sees, next } from "monitor";
import os, { EOL } from "node:os";
import * as path from "node:path";
export const handler = async () => {
  const { gunzipSync, gzipSync } = await import("node:zlib");
  return [sees, next, os.EOL === EOL, path.basename("a/b"), String(gunzipSync(gzipSync("x")))];
};
`;
  writeFileSync(join(made.root, "functions/webhook.ts"), source);
  const [built = assert.fail()] = await build({ root: made.root, names: ["webhook"] });
  const { handler } = await import(pathToFileURL(built.file).href);
  assert.deepEqual(await handler(), [true, "not there", true, "b", "x"]);
});
