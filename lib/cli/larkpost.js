#!/usr/bin/env node
// Static imports come first, so an old Node is told off before it meets TypeScript.
import "./check-node.js";

await import("./main.ts");
