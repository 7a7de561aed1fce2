// Plain JavaScript, so that any Node can run it and say what is wrong. Scripts run on the Node that
// `npm ci` installs (the one Lambda runs); it is missing when npm was told not to run install scripts.
const [major = 0] = process.versions.node.split(".").map(Number);
if (major < 24) {
  console.error(
    `Cannot run on Node ${process.versions.node}: Larkpost runs on Node 24, which "npm ci" installs beside it. ` +
      "Start it by an npm script (npm run …) or npx, which take that one, and check that npm may run the install script of " +
      'the package "node" (npm ci --foreground-scripts shows it)',
  );
  process.exit(1);
}
