import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { entryFiles, projectText } from "../lib/cli/check/engine-parts.ts";
import { testSource } from "../lib/cli/handlers/templates.ts";
import { find } from "../lib/simulator/catalogue.ts";
import { deriveLock } from "./lock.ts";
import { enginePackage, packedManifest, readJson } from "./pack.ts";

// The files of a project that has the engine as a package, made of this repository's own.

const root = resolve(import.meta.dirname, "..");
const event = "im.message.receive_v1";
const callback = "card.action.trigger";
/** Of this repository's packages, those that a project has itself. Its other packages come with the engine. */
const tools = ["@types/node", "node", "osls", "typescript"];
/** The scripts that are commands of the engine, and not for work on it. */
const isCommand = /^node lib\/cli\/larkpost\.js /;

/**
 * @param name The project's: its service in AWS, too.
 * @param tarball The engine's, by its path from the project's folder.
 * @returns Each file's text by its path.
 */
export function projectFiles(name: string, tarball: { path: string; content: Uint8Array }): Map<string, string> {
  const manifest = manifestOf(name, `file:${tarball.path}`);
  const source = (file: string) => projectText(readFileSync(join(root, file), "utf8"));
  const copied = ["larkpost.config.js", ...entryFiles];
  // The samples are the user's to delete. Without one, the project begins without it.
  const samples = [
    { file: `functions/events/${event}`, test: eventTest },
    { file: `functions/callbacks/${callback}`, test: testOf(callback) },
  ].filter(({ file }) => existsSync(join(root, `${file}.ts`)));
  return new Map([
    ["package.json", json(manifest)],
    ["package-lock.json", lockOf(manifest, tarball)],
    ["tsconfig.json", json(compilerSettings())],
    ["serverless.yml", source("serverless.yml").replace(/^service: .*$/m, `service: ${name}`)],
    ...copied.map((file) => [file, source(file)] as const),
    ...samples.flatMap(({ file, test }) => [
      [`${file}.ts`, source(`${file}.ts`)] as const,
      [`${file}.test.ts`, test] as const,
    ]),
    [".env.example", source(".env.example")],
    [
      ".gitignore",
      `${source(".gitignore").replace("/larkpost-*.tgz\n", "")}# Written by npm ci and by every command.\nfunctions/*.gen.ts\n`,
    ],
    [
      ".gitattributes",
      source(".gitattributes").replace(/^#.*$/m, "# Reproducible zips want one line ending on every system."),
    ],
    ["README.md", readmeOf(name)],
    [".github/workflows/test.yml", workflow],
  ]);
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function manifestOf(name: string, engine: string) {
  const { scripts, devDependencies, allowScripts, engines } = enginePackage;
  const commands = Object.entries(scripts).filter(([, script]) => isCommand.test(script));
  return {
    name,
    private: true,
    type: "module",
    engines,
    allowScripts,
    scripts: {
      ...Object.fromEntries(commands.map(([command, script]) => [command, script.replace(isCommand, "larkpost ")])),
      postinstall: "larkpost generate",
      pretest: "larkpost generate",
      test: "larkpost check && node --test",
    },
    dependencies: { larkpost: engine },
    devDependencies: Object.fromEntries(tools.map((tool) => [tool, devDependencies[tool] ?? ""])),
  };
}

/** @param tarball Its checksum is in the lock, as npm would write it. */
function lockOf(manifest: ReturnType<typeof manifestOf>, { path, content }: { path: string; content: Uint8Array }) {
  const { packages } = readJson<{ packages: Parameters<typeof deriveLock>[1] }>("package-lock.json");
  const [, version = ""] = /larkpost-(.*)\.tgz$/.exec(basename(path)) ?? [];
  const { dependencies, license, bin, engines } = packedManifest({ version }) as unknown as Record<string, object>;
  const integrity = `sha512-${createHash("sha512").update(content).digest("base64")}`;
  const engine = { version, resolved: `file:${path}`, integrity, license, dependencies, bin, engines };
  return deriveLock(manifest, { ...packages, "node_modules/larkpost": engine as never });
}

/** Those for handlers, which are in two files here. */
function compilerSettings() {
  const read = (file: string) => {
    const text = readFileSync(join(root, file), "utf8").replaceAll(/^\s*\/\/.*$/gm, "");
    return (JSON.parse(text) as { compilerOptions: Record<string, unknown> }).compilerOptions;
  };
  const options = { ...read("tsconfig.json"), ...read("functions/tsconfig.json"), types: ["node"] };
  const chosen = Object.entries<unknown>(options).filter(([, value]) => value !== false);
  return { compilerOptions: Object.fromEntries(chosen), include: ["functions", "larkpost.config.js"] };
}

function testOf(type: string): string {
  const entry = find(type);
  if (entry === undefined) throw new Error(`the catalogue has no ${type}`);
  return testSource(entry);
}

/** The handler calls the Open API, which the test that `npm run new` writes has none of. */
const eventTest = `import assert from "node:assert/strict";
import { test } from "node:test";
import { contextFor, withOpenApi } from "larkpost/test";
import handler from "./${event}.ts";

test("answers with what was said", async (t) => {
  const sample = contextFor("${event}");
  const { context, simulator } = await withOpenApi(t, sample.context);
  await handler.handle(sample.event, context);
  assert.match(simulator.messages().at(-1)?.content ?? "", /You said/);
});
`;

const workflow = `name: test
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-node@v4
        with:
          node-version: 24
          cache: npm
      - run: npm ci
      - run: npm test
`;

function readmeOf(name: string): string {
  return `# ${name}

A Feishu/Lark bot on [Larkpost](node_modules/larkpost/README.md). You need Node 20 or later.

\`\`\`sh
npm ci
npm start                                         # all of it on this machine, without an account
npm run chat                                      # in a second terminal: say "card"
npm run new -- contact.user.created_v3            # a handler and its test
npm test
\`\`\`

| yours | what it is |
|---|---|
| \`functions/events\`, \`functions/callbacks\` | one handler file for each type |
| \`larkpost.config.js\` | limits, environment, secrets, rights, resources, tags |
| \`serverless.yml\` | what is deployed, and what is chosen at deployment |
| \`.env\` | keys of a real app: copy \`.env.example\` |

Deploy: \`npm run secrets -- set --stage prod\`, then \`APP_ID=cli_… npm run deploy -- --stage prod\`.

Upgrade: put the new tarball into \`vendor/\`, \`npm install ./vendor/larkpost-<version>.tgz\`, then \`npm test\`. It names
what the new version wants otherwise in \`functions/*.ts\` and \`serverless.yml\`, with the difference.

After \`npm ci\`, all pages are in [node_modules/larkpost/docs](node_modules/larkpost/docs/quick-start.md), in Chinese in
[zh-CN](node_modules/larkpost/docs/zh-CN/quick-start.md).
`;
}
