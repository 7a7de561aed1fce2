import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Client, drive, type Simulate, startSimulate } from "./drive.ts";

const script = (name: string) => join(import.meta.dirname, name);
const sdk = (version: string, toast?: string): Client => ({
  command: process.execPath,
  args: ["--disable-warning=ExperimentalWarning", script("node-sdk.ts"), version],
  printsApproval: true,
  toast,
});
const toast = "卡片交互成功 button";
const clients = new Map<string, Client>([
  // It has no answers for callbacks, which came with 1.36.
  ["the official Node SDK 1.26 (seeds 000, 004)", sdk("sdk-1.26")],
  ["the official Node SDK 1.40 (seeds 000, 001, 004)", sdk("sdk-1.40", toast)],
  // The newest one's other modules are held against the simulator in the tests' own process.
  [
    "the Channel module of the newest official Node SDK",
    { command: process.execPath, args: [script("channel.ts")], printsApproval: false, toast: undefined },
  ],
]);

describe("the simulated Feishu alone serves", () => {
  let simulate: Simulate;
  before(async () => {
    simulate = await startSimulate();
  });
  after(async () => assert.equal(await simulate.stop(), 0));

  for (const [name, client] of clients) {
    test(`${name}: it connects, receives events and a callback, answers and sends`, () => drive(client, simulate));
  }
});
