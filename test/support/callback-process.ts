import { registerHooks } from "node:module";
import { httpApi } from "./http-events.ts";
import { push } from "./push.ts";

// A process of its own: the callback function, or the worker function, with a card's handler that puts its work off.
// Says that it is ready, then answers one message: the text of a click, or the records of a batch.

const card = `{ type: "card.action.trigger",
  handle: async (_, { defer }) => { await defer({ order: 42 }); return { toast: { type: "success", content: "received" } }; },
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

process.once("message", async ({ text, records }: { text?: string; records?: unknown }) => {
  const event =
    text === undefined ? { Records: records } : httpApi(push(text, { nowMs: Date.now() }), { path: "/callback" });
  process.send?.(await handler(event, { getRemainingTimeInMillis: () => remainingMs }));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ready: true });
