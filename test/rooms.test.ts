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
    // The folders of `functions/` are the user's: what they import is no matter of the engine's.
    if (roomOf(file) !== "functions" && folder === "functions") continue;
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

/** The room of a file: the folder it is in, of the first two. */
function roomOf(file: string): string {
  return file.split("/").slice(0, -1).slice(0, 2).join("/");
}

/** What each room may import of this project besides itself: rooms, or single files. From the top floor down. */
const doors: Readonly<Record<string, readonly string[]>> = {
  "lib/cli": [
    "infra/config-rules.js",
    "infra/contradictions.js",
    "infra/deployment.js",
    "infra/lanes.js",
    "infra/limits.js",
    "infra/long-connection.js",
    "infra/metrics.js",
    "infra/prices.js",
    "infra/project.js",
    "infra/resources.js",
    "lib",
    "lib/aws",
    "lib/feishu",
    "lib/handling",
    "lib/local",
    "lib/long-connection",
    "lib/open-api",
    "lib/receiving",
    "lib/settings",
    "lib/simulator",
    "lib/trace",
  ],
  "lib/testing": ["infra/config.js", "lib", "lib/feishu", "lib/open-api", "lib/simulator"],
  functions: ["functions/callbacks", "functions/events"],
  "lib/aws": [
    "infra/limits.js",
    "lib",
    "lib/feishu",
    "lib/handling",
    "lib/long-connection",
    "lib/open-api",
    "lib/receiving",
    "lib/settings",
    "lib/trace",
  ],
  "lib/handling": ["lib", "lib/feishu", "lib/open-api", "lib/receiving", "lib/trace"],
  "lib/long-connection": ["lib", "lib/settings", "lib/feishu", "lib/receiving", "lib/trace"],
  "lib/open-api": ["lib", "lib/feishu", "lib/settings", "lib/trace"],
  "lib/receiving": ["lib", "lib/feishu", "lib/trace"],
  "lib/local": [
    "infra/config-rules.js",
    "infra/lanes.js",
    "infra/limits.js",
    "infra/project.js",
    "lib",
    "lib/handling/dispatcher.ts",
    "lib/simulator/loopback.ts",
    "lib/trace",
  ],
  "lib/simulator": ["lib", "lib/feishu"],
  "lib/settings": ["lib", "lib/feishu"],
  "lib/trace": ["lib/clock.ts"],
  lib: ["lib/feishu"],
  "lib/feishu": ["lib/errors.ts"],
  infra: [
    "lib/errors.ts",
    "lib/feishu/json.ts",
    "lib/simulator/catalogue.ts",
    "lib/simulator/nearest.ts",
    "lib/simulator/samples/samples.ts",
  ],
};

for (const [file, targets] of imports) {
  test(`${file} imports only what its room may`, () => {
    const room = roomOf(file);
    const open = doors[room];
    assert.ok(open, `no rule for the room ${room}`);
    const own = targets.filter((target) => /^(functions|lib|infra|test)\//.test(target));
    assert.deepEqual(
      own.filter((target) => ![room, ...open].some((door) => door === target || door === roomOf(target))),
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

test("the AWS SDK is known to the rooms of AWS, of the laptop and of the commands only", () => {
  const users = [...imports].filter(([, targets]) => targets.some((target) => target.startsWith("@aws-sdk/")));
  assert.deepEqual(
    users.map(([file]) => roomOf(file)).filter((room) => !["lib/aws", "lib/local", "lib/cli"].includes(room)),
    [],
  );
});

test("node:http is imported for its types only: by name it takes each process up to a tenth of a second", () => {
  const importers = [...imports.keys()].filter((file) =>
    /^import (?!type)[^;]* from "node:http";/m.test(readFileSync(join(root, file), "utf8")),
  );
  assert.deepEqual(importers, []);
});

test("WebSockets and protobuf are known to the two ends of the long connection only", () => {
  const users = (name: string) =>
    [...imports].filter(([, targets]) => targets.some((target) => target.startsWith(name)));
  const files = (name: string) =>
    users(name)
      .map(([file]) => file)
      .sort();
  assert.deepEqual(files("ws"), [
    "lib/long-connection/connection.ts",
    "lib/simulator/long-connection/connection.ts",
    "lib/simulator/long-connection/server.ts",
  ]);
  assert.deepEqual(files("@bufbuild/protobuf"), ["lib/feishu/frame.ts"]);
});
