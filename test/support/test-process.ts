import asyncHooks, { type AsyncHook, type HookCallbacks } from "node:async_hooks";

// Loaded before the test files of a whole run.

// node:test takes exit code 0 for success, whatever tests were still to run.
const { exit } = process;
process.exit = () => {
  console.error(new Error("a test ended its process").stack);
  return exit(1);
};

// node:test follows every promise, so that an error which nobody awaited is told by the name of its test; tests that
// await much would spend a sixth of their time on it. Here promises are followed only while a file that shares its process
// is loaded, so that its tests find their suite. Such an error fails the run all the same, and `node FILE` names its test.

let promises: AsyncHook | undefined;
let others: AsyncHook | undefined;
const { createHook } = asyncHooks;
/** The first hook is node:test's own. */
asyncHooks.createHook = (callbacks: HookCallbacks) => {
  asyncHooks.createHook = createHook;
  promises = createHook(callbacks);
  others = createHook({ ...callbacks, trackPromises: false });
  return others;
};

export async function followingPromises<T>(work: () => Promise<T>): Promise<T> {
  promises?.enable();
  try {
    return await work();
  } finally {
    promises?.disable();
    // Node stops following promises when no hook is left.
    others?.disable().enable();
  }
}
