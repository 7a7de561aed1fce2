import { globSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

// Fills Node's compile cache before a first run. Otherwise test files that begin together each compile the same code.

const root = resolve(import.meta.dirname, "../..");
const files = globSync(["lib/**/*.ts", "test/**/*.ts"], { cwd: root, exclude: ["**/*.d.ts", "**/*.test.ts"] });
const urls = files.map((file) => pathToFileURL(join(root, file)).href);
// Node compiles all that a module imports before it runs any of it. The first one throws 0, so none of ours runs.
const source = ["data:text/javascript,throw 0", ...urls].map((url) => `import ${JSON.stringify(url)};`).join("");
await import(`data:text/javascript,${encodeURIComponent(source)}`).catch((error: unknown) => {
  if (error !== 0) throw error;
});
// CommonJS is compiled as it runs.
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { dependencies: object };
for (const name of Object.keys(dependencies)) {
  // A package of types has no module, so its import fails.
  await import(name).catch(() => {});
}
// Node writes the cache now, whatever a package has begun.
process.exit();
