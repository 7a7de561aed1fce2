import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "..");

const imports = new Map<string, string[]>();
for (const folder of ["functions", "lib", "infra"]) {
  for (const name of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
    if (!/\.(ts|js)$/.test(name) || name.endsWith(".d.ts")) continue;
    const file = join(folder, name);
    const source = readFileSync(join(root, file), "utf8");
    const specifiers = [...source.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? "");
    imports.set(
      file,
      specifiers
        .filter((specifier) => !specifier.includes("${"))
        .map((specifier) =>
          specifier.startsWith(".") ? relative(root, resolve(root, dirname(file), specifier)) : specifier,
        ),
    );
  }
}

/** The room of a file, most special first. */
function roomOf(file: string): string {
  if (/^functions\/(events|callbacks)\//.test(file)) return "functions/events";
  const [top = "", second = "", third] = file.split("/");
  return third === undefined ? (second === "" ? top : `${top}/*`) : `${top}/${second}`;
}

/** What each room may import of this project. */
const doors: Readonly<Record<string, (file: string) => boolean>> = {
  "functions/events": (file) => ["lib/handler.ts", "lib/errors.ts"].includes(file),
  "functions/*": (file) =>
    /^(lib\/[^/]+\.ts|lib\/(aws|feishu)\/.*|infra\/limits\.js|functions\/(events|callbacks)(\.gen\.ts|\/.*))$/.test(
      file,
    ),
  "lib/*": (file) => /^lib\/([^/]+\.ts|feishu\/.*)$/.test(file),
  "lib/feishu": (file) => file.startsWith("lib/feishu/") || file === "lib/errors.ts",
  // The shapes that its two ends have: the receiver's and the worker's ports, and what is told on the way.
  "lib/aws": (file) =>
    /^lib\/(aws\/.*|feishu\/.*|claims\.ts|errors\.ts|clock\.ts|config\.ts|trace\.ts|log\.ts|receiver\.ts|idempotency\.ts|services\.ts|tokens\.ts|api-config\.ts|card-value\.ts)$/.test(
      file,
    ),
  "lib/simulator": (file) =>
    /^lib\/(simulator|feishu)\//.test(file) || ["lib/handler.ts", "lib/errors.ts", "lib/clock.ts"].includes(file),
  "lib/local": (file) => /^lib\/(local\/.*|trace\.ts|log\.ts|errors\.ts)$/.test(file) || file === "infra/limits.js",
  "lib/cli": (file) => file.startsWith("lib/") || file === "infra/limits.js",
  "infra/*": (file) => file.startsWith("infra/"),
};

for (const [file, targets] of imports) {
  test(`${file} imports only what its room may`, () => {
    const own = targets.filter((target) => /^(functions|lib|infra|test)\//.test(target));
    const isAllowed = doors[roomOf(file)];
    assert.ok(isAllowed, `no rule for the room ${roomOf(file)}`);
    assert.deepEqual(
      own.filter((target) => !isAllowed(target)),
      [],
    );
  });
}

test("no import leads back to where it began", () => {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `a cycle: ${[...path, file].join(" → ")}`);
    if (done.has(file)) return;
    for (const target of imports.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) visit(file, []);
});

test("the AWS SDK is known to the rooms of AWS and of the laptop only", () => {
  const users = [...imports].filter(([, targets]) => targets.some((target) => target.startsWith("@aws-sdk/")));
  assert.deepEqual(
    users.map(([file]) => roomOf(file)).filter((room) => room !== "lib/aws" && room !== "lib/local"),
    [],
  );
});

test("WebSockets and protobuf are known to the two ends of the long connection only", () => {
  const users = (name: string) =>
    [...imports].filter(([, targets]) => targets.some((target) => target.startsWith(name)));
  const files = (name: string) =>
    users(name)
      .map(([file]) => file)
      .sort();
  assert.deepEqual(files("ws"), [
    "lib/connection.ts",
    "lib/simulator/connection.ts",
    "lib/simulator/long-connection.ts",
  ]);
  assert.deepEqual(files("@bufbuild/protobuf"), ["lib/feishu/frame.ts"]);
});
