import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

const readme = join(import.meta.dirname, "rows/README.md");
/** `W48` and its like are rules of cfn_nag. */
const id = String.raw`(?:C-\d\d|D\.\d|0\.1|G\d\dL?|E4-30|FAULTS|SCALE|SIGV4|W\d|W10|[ACDEHIKLMPQRSVXY]\d\d?)`;
/** A text that begins with ids and goes on after a colon, or is nothing but ids. */
const ids = new RegExp(String.raw`(["\u0060])(${id}(?:,? ${id})*)(?=:|\1| \$\{)`, "g");

/** The rooms of test/ that name each id, at the start of a test's name or as a row of soak. */
function roomsById(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const file of globSync("**/*.ts", { cwd: import.meta.dirname })) {
    const isTest = file.endsWith(".test.ts") || file === "support/ingress.ts" || /^rows\/(?!row\.)/.test(file);
    if (!isTest || file === relative(import.meta.dirname, import.meta.filename)) continue;
    for (const [, , list = ""] of readFileSync(join(import.meta.dirname, file), "utf8").matchAll(ids)) {
      for (const one of list.split(/,? /)) found.set(one, (found.get(one) ?? new Set()).add(dirname(file)));
    }
  }
  return found;
}

test("test/rows/README.md has each row that a test's name begins with, and where its tests are", () => {
  const rooms = roomsById();
  const row = /^\| (\S+) \| (.+) \| (.*) \|$/;
  const where = (name: string) =>
    [...(rooms.get(name) ?? [])]
      .map((room) => (room === "." ? "test" : room))
      .sort()
      .join(", ");
  const lines = readFileSync(readme, "utf8").split("\n");
  if (process.env["UPDATE_FIXTURES"] === "1") {
    const updated = lines.map((line) => {
      const [, name = "", sentence] = row.exec(line) ?? [];
      return rooms.has(name) ? `| ${name} | ${sentence} | ${where(name)} |` : line;
    });
    writeFileSync(readme, updated.join("\n"));
  }
  const listed = readFileSync(readme, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, name = "", , place] = row.exec(line) ?? [];
      return /\d|FAULTS|SCALE/.test(name) ? [`${name}: ${place}`] : [];
    });
  const byId = (a: string, b: string) => a.localeCompare(b, "en", { numeric: true });
  assert.deepEqual(
    listed.toSorted(byId),
    [...rooms.keys()].map((name) => `${name}: ${where(name)}`).sort(byId),
    "Give a new row its sentence; UPDATE_FIXTURES=1 npx node --test test/row-ids.test.ts fills in where it is tested",
  );
});
