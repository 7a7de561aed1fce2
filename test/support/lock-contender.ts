import { type Lock, lockApp } from "../../lib/cli/lock.ts";

// A process of its own that tries for a lock when it is told to.

const [, , folder = "", appId = ""] = process.argv;
let lock: Lock | undefined;
process.on("message", async (what) => {
  if (what === "release") {
    lock?.release();
    lock = undefined;
    process.send?.({ released: true });
    return;
  }
  try {
    lock = await lockApp(appId, { folder });
    process.send?.({ won: true });
  } catch (error) {
    process.send?.({ refused: error instanceof Error ? error.message : String(error) });
  }
});
