// Plain JavaScript, so that any Node can run it and say what is wrong. Scripts run on the Node that
// `npm ci` installs (the one Lambda runs); it is missing when npm was told not to run install scripts.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

// Any package that every installation has. Without one, that Node is missing as well, and no script would bring it.
const places = createRequire(import.meta.url).resolve.paths("commander") ?? [];
if (!places.some((folder) => existsSync(join(folder, "commander")))) {
  console.error('Cannot run: the packages are not installed. Run "npm ci" first');
  process.exit(1);
}
const [major = 0] = process.versions.node.split(".").map(Number);
if (major < 24) {
  console.error(
    `Cannot run on Node ${process.versions.node}: Larkpost runs on Node 24, which "npm ci" installs beside it. ` +
      "Start it by an npm script (npm run …) or npx, which take that one, and check that npm may run the install script of " +
      'the package "node" (npm ci --foreground-scripts shows it)',
  );
  process.exit(1);
}
