import { readFileSync, writeSync } from "node:fs";
import { handler } from "./floor.ts";

// The floor as a process of its own: nothing is loaded but this file.

const { statusCode } = await handler(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")));
const { user, system } = process.cpuUsage();
writeSync(3, JSON.stringify({ statusCode, cpuMs: (user + system) / 1000 }));
process.exit(0);
