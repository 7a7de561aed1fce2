import { EventEmitter } from "node:events";
import { registerHooks } from "node:module";
import { httpApi } from "./http-events.ts";
import { push } from "./push.ts";

// A process of its own: the callback function, or the worker function, with a card's handler that puts its work off, or
// lets go of what the card's value names. Says that it is ready, then answers messages: the text of a click, or the
// records of a batch.

/** What nobody waits for, and nobody can catch. */
const letGo: Readonly<Record<string, () => void>> = {
  "a promise": () => void Promise.reject(new Error("dropped")),
  "a timer": () => void setTimeout(() => refuse(), 5),
  "an emitter": () => void setTimeout(() => new EventEmitter().emit("error", new Error("nobody listens")), 5),
};
Object.assign(globalThis, { letGo });

function refuse(): never {
  throw new Error("thrown in a timer");
}

const card = `{ type: "card.action.trigger",
  handle: async ({ action }, { defer }) => {
    if (action.value.letsGo) { letGo[action.value.letsGo](); return new Promise(() => {}); }
    await defer({ order: 42 }); return { toast: { type: "success", content: "received" } }; },
  deferred: () => new Promise((resolve) => setTimeout(resolve, 40)) }`;
const lists = `export const events = {}; export const callbacks = { "card.action.trigger": async () => ({ default: ${card} }) };`;
registerHooks({
  resolve: (specifier, context, next) =>
    /^\.\/(callbacks|events)\.gen\.ts$/.test(specifier)
      ? { url: `data:text/javascript,${encodeURIComponent(lists)}`, shortCircuit: true }
      : next(specifier, context),
});

const name = process.argv[2] === "worker" ? "worker" : "callback";
const { handler } = (await import(`../../functions/${name}.ts`)) as {
  handler: (event: unknown, context: object) => Promise<object>;
};
/** Short, so that a lease that a killed process left ends soon. */
const remainingMs = 7_000;

process.on("message", async ({ text, records }: { text?: string; records?: unknown }) => {
  const event =
    text === undefined ? { Records: records } : httpApi(push(text, { nowMs: Date.now() }), { path: "/callback" });
  process.send?.(await handler(event, { getRemainingTimeInMillis: () => remainingMs }));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ready: true });
