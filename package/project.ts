import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { entryFiles, projectText } from "../lib/cli/check/engine-parts.ts";
import { deriveLock } from "./lock.ts";
import { enginePackage, packedManifest, readJson } from "./pack.ts";

// The files of a project that has the engine as a package, made of this repository's own.

const root = resolve(import.meta.dirname, "..");
/** An event and a callback with their tests. They are the user's to delete here, and then a project has none. */
const samples = ["events/im.message.receive_v1", "callbacks/card.action.trigger"].flatMap((name) => [
  `functions/${name}.ts`,
  `functions/${name}.test.ts`,
]);
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
  const copied = ["larkpost.config.js", ...entryFiles, ...samples.filter((file) => existsSync(join(root, file)))];
  return new Map([
    ["package.json", json(manifest)],
    ["package-lock.json", lockOf(manifest, tarball)],
    ["tsconfig.json", json(compilerSettings())],
    ["serverless.yml", source("serverless.yml").replace(/^service: .*$/m, `service: ${name}`)],
    ...copied.map((file) => [file, source(file)] as const),
    [".env.example", source(".env.example")],
    [
      ".gitignore",
      `${source(".gitignore").replace("/larkpost-*.tgz\n", "")}# Written by npm ci, npm start, npm test and npm run generate.\nfunctions/*.gen.ts\n`,
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
  return {
    compilerOptions: Object.fromEntries(chosen),
    include: ["functions", "test/simulated", "larkpost.config.js"],
  };
}

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

A Feishu/Lark bot on [Larkpost](node_modules/larkpost/README.md). You need Node 20 or later. \`npm ci\` brings Node 24,
which all scripts use; under an older one, ignore npm's \`EBADENGINE\` warnings.

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

Upgrade: put the new tarball into \`vendor/\`, \`npm install ./vendor/larkpost-<version>.tgz\`, delete the old one, then
\`npm test\`. It names what the new version wants otherwise in \`functions/*.ts\` and \`serverless.yml\`, with the
difference. Commit \`vendor/\` with the lock: \`npm ci\` installs from it.

After \`npm ci\`, all pages are in [node_modules/larkpost/docs](node_modules/larkpost/docs/quick-start.md), in Chinese in
[zh-CN](node_modules/larkpost/docs/zh-CN/quick-start.md).
`;
}
