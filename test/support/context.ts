import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { type Classified, classify, oldCardType } from "../../lib/feishu/classify.ts";
import { classifyOldCard } from "../../lib/feishu/old-card.ts";
import type {
  CallbackContext,
  CallbackOf,
  CallbackType,
  Context,
  EventOf,
  EventType,
  LogFields,
} from "../../lib/handler.ts";
import { find } from "../../lib/simulator/catalogue.ts";
import { sampleEnvelope, sampleText } from "../../lib/simulator/samples/samples.ts";
import { startApi } from "./api.ts";
import { selfBuilt } from "./open-api.ts";

const notHere = () => Promise.reject(new Error("Give the context an Open API: withOpenApi(t, context)"));

/** One line that a handler logged. */
export interface LoggedLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/**
 * A sample event of a type, and the context that a handler gets with it: what `npm run send` would
 * push, as the worker would hand it over. Each call is another event.
 */
export function contextFor<T extends EventType>(
  type: T,
): { event: EventOf<T>; context: Context; logged: LoggedLine[] } {
  const message = classify(sampleText(type, { ...sampling(), schema: find(type)?.version }));
  if (message.kind !== "event") throw new Error(`Cannot make a context: "${type}" is not the type of an event`);
  return { event: message.event as EventOf<T>, ...contextOf(message, type) };
}

/** The same for a callback, as the callback function would hand it over; `deferred` is what its handler put off. */
export function callbackContextFor<T extends CallbackType>(
  type: T,
): { callback: CallbackOf<T>; context: CallbackContext; logged: LoggedLine[]; deferred: unknown[] } {
  const message =
    type === oldCardType ? classifyOldCard(oldCardText(), {}) : classify(sampleText(type, { ...sampling() }));
  if (message.kind !== "callback") throw new Error(`Cannot make a context: "${type}" is not the type of a callback`);
  const { context, logged } = contextOf(message, type);
  const deferred: unknown[] = [];
  const defer = async (payload: unknown) => void deferred.push(payload);
  return {
    callback: message.event as CallbackOf<T>,
    context: { ...context, isSigned: false, purpose: null, defer },
    logged,
    deferred,
  };
}

/**
 * A context whose `lark` and `request` call the simulator, over HTTP: `simulator.messages()` has what was sent,
 * `simulator.addRule` makes calls go wrong. It ends with the test.
 */
export async function withOpenApi<C extends Context>(t: TestContext, context: C) {
  const { run, simulator } = await startApi(t, { app: selfBuilt });
  const { lark, request } = run({ key: context.id, tenant: context.tenant });
  return { context: { ...context, lark, request }, simulator };
}

function sampling() {
  return { nowMs: Date.now(), appId: "cli_0123456789abcdef", newId: () => randomUUID().replaceAll("-", "") };
}

/** The sample of a card's action, as the old protocol words it: without an envelope, and its parts at the top. */
function oldCardText(): string {
  const { operator, token, action, context } = sampleEnvelope("card.action.trigger", sampling()).event as Record<
    string,
    object
  >;
  return JSON.stringify({ ...operator, ...context, token, action });
}

function contextOf(message: Extract<Classified, { kind: "event" | "callback" }>, type: string) {
  const logged: LoggedLine[] = [];
  const write =
    (level: LoggedLine["level"]) =>
    (text: string, fields: LogFields = {}) =>
      void logged.push({ level, message: text, fields });
  const { id, app, tenant, schema, header, createdAtMs, text: raw } = message;
  const context: Context = {
    id,
    type,
    app,
    tenant,
    schema,
    header,
    createdAtMs,
    requestId: null,
    transport: "webhook",
    attempt: 1,
    signal: new AbortController().signal,
    log: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
    raw,
    sign: async (text) => `signed:${text}`,
    signCard: async (card) => `signed:${JSON.stringify(card)}`,
    lark: notHere,
    request: notHere,
  };
  return { context, logged };
}
