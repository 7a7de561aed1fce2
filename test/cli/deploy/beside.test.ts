import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { BuildError, build } from "../../../lib/cli/deploy/build.ts";
import { temporaryRoot } from "../run.ts";

/** A project whose worker loads one handler file, in its own chunk, as the real one does. */
function projectOf(files: Readonly<Record<string, string>>) {
  const project = temporaryRoot();
  const all = {
    "package.json": '{ "type": "module" }',
    "functions/worker.ts": 'export const run = async () => (await import("./events/x.ts")).run();\n',
    ...files,
  };
  for (const [path, content] of Object.entries(all)) {
    mkdirSync(dirname(join(project.root, path)), { recursive: true });
    writeFileSync(join(project.root, path), content);
  }
  return { ...project, outFolder: join(project.root, "dist") };
}

describe("files beside the code", () => {
  let project: ReturnType<typeof projectOf>;
  let deployed: string;
  let read: Record<string, string>;

  before(async () => {
    project = projectOf({
      "functions/events/x.ts": `
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { font, version } from "fonts";
import { listed } from "lists";
import { urls } from "urls";
const __dirname = dirname(fileURLToPath(import.meta.url)); // A comment with __filename is no use of it.
const text = (path: string | URL) => readFileSync(path, "utf8");
export const run = () => ({
  url: text(new URL("./greeting.txt", import.meta.url)),
  joined: text(join(import.meta.dirname, "words", "de.txt")),
  above: text(join(__dirname, "../shared.txt")),
  added: text(import.meta.dirname + "/greeting.txt"),
  filled: text(\`\${import.meta.dirname}/words/de.txt\`),
  folder: readdirSync(new URL("words", import.meta.url)).join(),
  font: font(),
  version,
  listed,
  urls,
});
`,
      "functions/events/greeting.txt": "hello",
      "functions/events/words/de.txt": "hallo",
      "functions/events/words/fr.txt": "salut",
      "functions/shared.txt": "shared",
      "node_modules/fonts/package.json": '{ "name": "fonts", "version": "1.2.3", "main": "lib/index.js" }',
      "node_modules/fonts/lib/index.js": `
const { readFileSync } = require("fs");
exports.font = () => readFileSync(require("path").join(__dirname, "..", "data", "a.afm"), "utf8");
exports.version = JSON.parse(readFileSync(__dirname + "/../package.json", "utf8")).version;
`,
      "node_modules/fonts/data/a.afm": "a font",
      "node_modules/lists/package.json": '{ "name": "lists", "type": "module", "main": "index.js" }',
      "node_modules/lists/index.js": `
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
if (process.env.NO_SUCH_VARIABLE) require("is-not-installed");
export const listed = require("node:path").basename(require("./data/list.json").name);
`,
      "node_modules/lists/data/list.json": '{ "name": "a/list" }',
      "node_modules/urls/package.json": '{ "name": "urls", "type": "module", "main": "lib/index.js" }',
      "node_modules/urls/lib/index.js": `
import fs, { readFileSync } from "node:fs";
import path, { dirname, join } from "node:path";
import url, { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const own = fileURLToPath(import.meta.url);
const folder = path.dirname(own);
const other = fileURLToPath(new URL(".", import.meta.url)), third = dirname(import.meta.filename)
export const urls = [
  readFileSync(join(folder, "data", "a.txt")),
  readFileSync(other + "data/b.txt"),
  readFileSync(\`\${third}/data/c.txt\`),
  fs.readFileSync(path.resolve(path.dirname(url.fileURLToPath(import.meta.url)), "../d.txt")),
  readFileSync(join(import.meta.dirname, "e.txt")),
  readFileSync(new URL("./", import.meta.url).pathname + "e.txt"),
  require(join(folder, "f.json")).f,
].join();
`,
      ...Object.fromEntries(["a", "b", "c"].map((name) => [`node_modules/urls/lib/data/${name}.txt`, name])),
      "node_modules/urls/d.txt": "d",
      "node_modules/urls/lib/e.txt": "e",
      "node_modules/urls/lib/f.json": '{ "f": "f" }',
    });
    await build({ root: project.root, outFolder: project.outFolder, names: ["worker"] });
    // Away from the sources, as it is once it is deployed.
    deployed = mkdtempSync(join(tmpdir(), "larkpost-"));
    cpSync(project.outFolder, deployed, { recursive: true });
    const { run } = (await import(pathToFileURL(join(deployed, "worker/index.mjs")).href)) as {
      run: () => Promise<Record<string, string>>;
    };
    read = await run();
  });
  after(() => {
    project.remove();
    rmSync(deployed, { recursive: true });
  });

  for (const [way, content] of Object.entries({
    url: "hello",
    joined: "hallo",
    above: "shared",
    added: "hello",
    filled: "hallo",
    folder: "de.txt,fr.txt",
    font: "a font",
    version: "1.2.3",
    listed: "list",
    urls: "a,b,c,d,e,e,f",
  })) {
    test(`are deployed with the bundle: ${way}`, () => assert.equal(read[way], content));
  }
});

const reading = (path: string) => `import { readFileSync } from "node:fs";
export const run = () => readFileSync(${path}, "utf8");
`;
const packageOf = (source: string, more: Readonly<Record<string, string>> = {}) => ({
  "functions/events/x.ts": 'import { run } from "odd";\nexport { run };\n',
  "node_modules/odd/package.json": '{ "name": "odd", "main": "index.js" }',
  "node_modules/odd/index.js": source,
  ...more,
});

/** Names of CommonJS in texts, as members and in a comment. */
const speaksOfCommonJs = `export const help = "No __dirname, no require('fs')" + \`no __filename\`; // __filename
export const places = { __dirname: 1, __filename: 2 };
export const own = (module: { require(name: string): string }) => module.require("fs");
`;

/** What would work on this machine and fail once it is deployed, or the other way round. */
const refused: Readonly<Record<string, { files: Readonly<Record<string, string>>; says: RegExp }>> = {
  "a name that is made when it runs": {
    files: { "functions/events/x.ts": reading("new URL(process.argv[0] ?? '', import.meta.url)") },
    says: /^✖ functions\/events\/x\.ts:2 {2}uses import\.meta\.url, and the bundle has another place\. Name the file in one piece/m,
  },
  "a place that another module is given": {
    files: {
      "functions/events/x.ts": 'import { here } from "../shared/here.ts";\nexport const run = () => here;\n',
      "functions/shared/here.ts": "export const here = import.meta.dirname;\n",
    },
    says: /^✖ functions\/shared\/here\.ts:1 {2}uses import\.meta\.dirname, and the bundle has another place/m,
  },
  "a file of the folder of the process": {
    files: { "functions/events/x.ts": reading('"functions/shared.txt"'), "functions/shared.txt": "shared" },
    says: /^✖ functions\/events\/x\.ts:2 {2}reads functions\/shared\.txt from the folder of the process, .* new URL\("\.\.\/shared\.txt", import\.meta\.url\)$/m,
  },
  "what createRequire alone loads": {
    files: {
      "functions/events/x.ts":
        'import { createRequire } from "node:module";\nconst load = createRequire(import.meta.url);\nexport const run = () => load("odd");\n',
      "node_modules/odd/package.json": '{ "name": "odd", "main": "index.js" }',
      "node_modules/odd/index.js": "",
    },
    says: /^✖ functions\/events\/x\.ts:3 {2}requires odd through createRequire, so the bundle does not hold it\. Import it$/m,
  },
  "a name that createRequire is given when it runs": {
    files: {
      "functions/events/x.ts":
        'import { createRequire } from "node:module";\nconst load = createRequire(import.meta.url);\nexport const run = (name: string) => load(name);\n',
    },
    says: /^✖ functions\/events\/x\.ts:2 {2}uses import\.meta\.url, and the bundle has another place/m,
  },
  ...Object.fromEntries(
    Object.entries({
      __dirname: { use: `\`\${__dirname}/x\``, instead: "import\\.meta\\.dirname" },
      __filename: { use: "__filename", instead: "import\\.meta\\.filename" },
      require: { use: 'require("node:fs")', instead: "import" },
    }).map(([name, { use, instead }]) => {
      const files = {
        "functions/events/x.ts": `${speaksOfCommonJs}export const run = () => [\`\${1}\`, ${use}, \`\`];\n`,
      };
      const says = new RegExp(`x\\.ts:4 {2}uses ${name}, which no ES module has: .*\\. Write ${instead}$`, "m");
      return [`${name}, which only CommonJS has`, { files, says }];
    }),
  ),
  "a file that is not there": {
    files: { "functions/events/x.ts": reading('new URL("./none.txt", import.meta.url)') },
    says: /^✖ functions\/events\/x\.ts:2 {2}reads none\.txt, which is not there\. Add it, or correct its name$/m,
  },
  "a file two folders up": {
    files: {
      "functions/events/x.ts": reading('new URL("../../top.txt", import.meta.url)'),
      "top.txt": "top",
    },
    says: /^✖ functions\/events\/x\.ts:2 {2}reads \.\.\/\.\.\/top\.txt, which has no place beside the bundle/m,
  },
  "code as a file": {
    files: {
      "functions/events/x.ts": reading('new URL("./thread.ts", import.meta.url)'),
      "functions/events/thread.ts": "",
    },
    says: /^✖ functions\/events\/x\.ts:2 {2}names thread\.ts as a file\. The bundle does not hold it: import it$/m,
  },
  "two files with one place": {
    files: {
      "functions/events/x.ts": `export { run as other } from "../callbacks/y.ts";\n${reading('new URL("./a.txt", import.meta.url)')}`,
      "functions/callbacks/y.ts": reading('new URL("./a.txt", import.meta.url)'),
      "functions/events/a.txt": "one",
      "functions/callbacks/a.txt": "another",
    },
    says: /reads a\.txt, and another file has that place beside the bundle/,
  },
  "a package that reads what only it knows": {
    files: packageOf(
      'const fs = require("fs");\nexports.run = (name) => fs.readFileSync(require("path").join(__dirname, name));\n',
    ),
    says: /^✖ node_modules\/odd\/index\.js:2 {2}reads or requires files beside its code by names that the build cannot follow/m,
  },
  "a package that requires what only it knows": {
    files: packageOf('exports.run = (name) => require(require("path").join(__dirname, name));\n'),
    says: /^✖ node_modules\/odd\/index\.js:1 {2}reads or requires files beside its code by names that the build cannot follow/m,
  },
  "a package that requires code by its folder": {
    files: packageOf('const path = require("path");\nexports.run = require(path.join(__dirname, "part.js"));\n', {
      "node_modules/odd/part.js": 'module.exports = require("./rest.js");\n',
    }),
    says: /^✖ node_modules\/odd\/index\.js:2 {2}requires \.\/part\.js by a path that is made when it runs/m,
  },
  "what import.meta.resolve finds": {
    files: {
      "functions/events/x.ts": reading('new URL(import.meta.resolve("./a.txt"))'),
      "functions/events/a.txt": "a",
    },
    says: /^✖ functions\/events\/x\.ts:2 {2}uses import\.meta\.resolve, and the bundle has another place\. Name the file in one piece/m,
  },
  "a package that finds native code": {
    files: packageOf('exports.run = require("node-gyp-build")(__dirname);\n', {
      "node_modules/node-gyp-build/package.json": '{ "name": "node-gyp-build", "main": "index.js" }',
      "node_modules/node-gyp-build/index.js": "module.exports = () => () => {};\n",
    }),
    says: /^✖ node_modules\/node-gyp-build\/index\.js:1 {2}loads native code, which a bundle cannot hold/m,
  },
  "native code": {
    files: packageOf('exports.run = require("./fast.node");\n', { "node_modules/odd/fast.node": "" }),
    says: /^✖ node_modules\/odd\/index\.js:1:\d+ {2}No loader .*A bundle cannot hold native code: choose a package/m,
  },
  "a syntax error": {
    files: { "functions/events/x.ts": "export const run = ;\n" },
    says: /^✖ functions\/events\/x\.ts:1:20 {2}Unexpected ";"$/m,
  },
};

for (const [what, { files, says }] of Object.entries(refused)) {
  test(`the build refuses by name ${what}`, async (t) => {
    const { root, outFolder, remove } = projectOf(files);
    t.after(remove);
    await assert.rejects(build({ root, outFolder, names: ["worker"] }), (error) => {
      assert.ok(error instanceof BuildError);
      assert.match(error.message, says);
      assert.match(error.message, /^Cannot build\. Fix this first:\n/);
      assert.equal(error.findings.length, 1, error.message);
      return true;
    });
  });
}

const ofPlace = 'import { readFileSync } from "node:fs";\nimport { join } from "node:path";\n';
for (const [what, source] of Object.entries({
  "parameters and private methods": `
class Loader { #require(name: string) { return name; } run(require: (name: string) => string) { return require("x") + this.#require("y"); } }
export const run = (require = (name: string) => name) => new Loader().run(require) + require("z");`,
  "a later name of a list": `${ofPlace}const at = 1,\n  __dirname = import.meta.dirname;
export const run = () => readFileSync(join(__dirname, "a.txt"), "utf8") + at;`,
  "a place that is exported, and that no module imports": `${ofPlace}export const here = import.meta.dirname;
export const run = () => readFileSync(join(here, "a.txt"), "utf8");`,
  "a question whether there is one":
    'export const run = () => (typeof require === "function" ? require("node:fs") : 1);',
  "a text that takes a value": `export const run = (name = 1) => \`<script>require("\${name}")</script>\`;`,
  "texts that speak of places": `${ofPlace}const folder = import.meta.dirname, quote = /["'\\\`]/;
export const run = () => [readFileSync(join(folder, "a.txt"), "utf8"), quote, "an empty folder, __dirname, import.meta.url"];`,
  "a module that is CommonJS": 'import load from "../shared/old.cjs";\nexport const run = () => load;',
  "a folder that is CommonJS": 'import load from "../legacy/old.js";\nexport const run = () => load;',
})) {
  test(`the build takes ${what}`, async (t) => {
    const old = 'module.exports = require("node:path").sep;\n';
    const { root, outFolder, remove } = projectOf({
      "functions/events/x.ts": source,
      "functions/events/a.txt": "a",
      "functions/shared/old.cjs": old,
      "functions/legacy/old.js": old,
      "functions/legacy/package.json": '{ "type": "commonjs" }',
    });
    t.after(remove);
    await build({ root, outFolder, names: ["worker"] });
  });
}

for (const [what, use] of Object.entries({
  "in a function of one line": "(() => { function all() { return require('node:fs'); } return all(); })()",
  "that is spread": "[...require('node:fs').constants]",
  "of a name": "require(process.title)",
  "that resolves": "require.resolve('x')",
  "after a template in a template": `\`\${process.title ? \`a\` : require('node:fs')}\``,
})) {
  test(`the build refuses by name require ${what}`, async (t) => {
    const { root, outFolder, remove } = projectOf({ "functions/events/x.ts": `\nexport const run = () => ${use};\n` });
    t.after(remove);
    await assert.rejects(
      build({ root, outFolder, names: ["worker"] }),
      /x\.ts:2 {2}uses require, which no ES module has/,
    );
  });
}
