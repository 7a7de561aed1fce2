import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, posix, resolve } from "node:path";
import { test } from "node:test";

// What users' code may name. A name that goes, or is of another kind, breaks their code; one that comes is kept for ever.

const root = resolve(import.meta.dirname, "..");
const fixture = join(import.meta.dirname, "fixtures/public-surface.json");
const how = "If it is meant, record it: UPDATE_FIXTURES=1 node --test test/public-surface.test.ts";

type Surface = Readonly<Record<string, Readonly<Record<string, string>>>>;

const { name: own, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  name: string;
  exports: Record<string, string>;
};
/** A face's name, as an import writes it, and its file. */
const faces = Object.entries(exports).map(([path, file]) => [posix.join(own, path), file] as const);

/** Each exported name of a face: values as the module has them, types as its source declares them. */
async function namesOf(face: string, file: string): Promise<Record<string, string>> {
  const source = readFileSync(join(root, file), "utf8");
  assert.doesNotMatch(source, /^export \*/m, `${file} must spell out what it exports`);
  const declared = [...source.matchAll(/^export (?:declare )?(?:interface|type) (\w+)/gm)].map(([, name]) => name);
  const listed = [...source.matchAll(/^export (type )?\{([^}]*)\}/gm)].flatMap(([, all, names = ""]) =>
    names
      .split(",")
      .map((entry) => /^\s*(type )?(?:\w+ as )?(\w+)\s*$/.exec(entry))
      .filter((entry) => all !== undefined || entry?.[1] !== undefined)
      .map((entry) => entry?.[2]),
  );
  const types = [...declared, ...listed].map((name) => [name, "type"]);
  const values = Object.entries((await import(face)) as object).map(([name, value]) => [name, kindOf(value)]);
  return Object.fromEntries([...types, ...values].sort(([a = ""], [b = ""]) => (a < b ? -1 : 1)));
}

function kindOf(value: unknown): string {
  if (typeof value !== "function") return "value";
  return /^class\b/.test(Function.prototype.toString.call(value)) ? "class" : "function";
}

test("the public surface is the recorded one", async () => {
  const entries = await Promise.all(faces.map(async ([face, file]) => [face, await namesOf(face, file)] as const));
  const surface: Surface = Object.fromEntries(entries);
  if (process.env["UPDATE_FIXTURES"] === "1") writeFileSync(fixture, `${JSON.stringify(surface, null, 2)}\n`);
  assert.deepEqual(surface, JSON.parse(readFileSync(fixture, "utf8")), how);
});

test("each face is one file, and nothing else of the package resolves", async () => {
  for (const [face, file] of faces) {
    assert.ok(!face.includes("*") && existsSync(join(root, file)), `${face} → ${file}`);
  }
  for (const path of ["lib/handler.ts", "lib/handler", "lib/feishu/open.ts", "package.json", "infra/limits.js"]) {
    await assert.rejects(import(posix.join(own, path)), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }, path);
  }
});
