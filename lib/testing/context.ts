import { randomUUID } from "node:crypto";
import { systemClock } from "../clock.ts";
import { type Classified, classify, oldCardType } from "../feishu/classify.ts";
import { classifyOldCard } from "../feishu/old-card.ts";
import type { CallbackContext, CallbackOf, CallbackType, Context, EventOf, EventType, LogFields } from "../handler.ts";
import { openApi } from "../open-api/client.ts";
import { type Secrets, secretsFrom } from "../secrets.ts";
import { find } from "../simulator/catalogue.ts";
import { openApi as simulatedOpenApi } from "../simulator/open-api/open-api.ts";
import { sampleEnvelope, sampleText } from "../simulator/samples/samples.ts";
import { memoryTokens } from "./tokens.ts";

export { checkAnswer } from "../feishu/answers.ts";

const app = {
  kind: "self-built",
  appId: "cli_0123456789abcdef",
  appSecret: "the app secret of larkpost/test",
} as const;

const noOpenApi = () => Promise.reject(new Error("Give the context an Open API: withOpenApi(t, context)"));

/** One line that a handler logged. */
export interface LoggedLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

export interface ContextOptions {
  /** The values of `context.secrets`. */
  readonly secrets?: Secrets;
}

/**
 * A sample event of a type, and the context that a handler gets with it: what `npm run send` would
 * push, as the worker would hand it over. Each call is another event.
 */
export function contextFor<T extends EventType>(
  type: T,
  options: ContextOptions = {},
): { event: EventOf<T>; context: Context; logged: LoggedLine[] } {
  const message = classify(sampleText(type, { ...sampling(), schema: find(type)?.version }));
  if (message.kind !== "event") throw new Error(`Cannot make a context: "${type}" is not the type of an event`);
  return { event: message.event as EventOf<T>, ...contextOf(message, type, options) };
}

/** The same for a callback, as the callback function would hand it over; `deferred` is what its handler put off. */
export function callbackContextFor<T extends CallbackType>(
  type: T,
  options: ContextOptions = {},
): { callback: CallbackOf<T>; context: CallbackContext; logged: LoggedLine[]; deferred: unknown[] } {
  const message =
    type === oldCardType ? classifyOldCard(oldCardText(), {}) : classify(sampleText(type, { ...sampling() }));
  if (message.kind !== "callback") throw new Error(`Cannot make a context: "${type}" is not the type of a callback`);
  const { context, logged } = contextOf(message, type, options);
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
 * The context with `lark` and `request` calling a simulated Feishu over HTTP, in real time. `simulator.messages()`
 * holds what was sent, `simulator.addRule(…)` makes calls fail. It ends with the test.
 *
 * @param t The test's context of `node:test`, or whatever else runs a function when the test ends.
 */
export async function withOpenApi<C extends Context>(t: { after(end: () => Promise<void>): void }, context: C) {
  const problems: unknown[] = [];
  const onProblem = (problem: unknown) => void problems.push(problem);
  const simulator = simulatedOpenApi({ clock: systemClock, newId, apps: [app], onProblem });
  const server = await simulator.listen();
  t.after(async () => {
    await server.close();
    if (problems.length > 0) throw new AggregateError(problems, "The simulated Feishu failed");
  });
  const api = openApi({
    origin: server.url,
    appId: app.appId,
    appSecret: async () => app.appSecret,
    store: memoryTokens(),
    clock: systemClock,
    // Of the waits between two tries only those remain that the platform asks for.
    random: () => 0,
  });
  const { id: key, tenant, signal } = context;
  const { lark, request } = api.forRun({ key, tenant, signal, remainingMs: () => 60_000 });
  return { context: { ...context, lark, request }, simulator };
}

function sampling() {
  return { nowMs: Date.now(), appId: app.appId, newId };
}

/** 32 hex digits. */
function newId(): string {
  return randomUUID().replaceAll("-", "");
}

/** The sample of a card's action, as the old protocol words it: without an envelope, and its parts at the top. */
function oldCardText(): string {
  const { operator, token, action, context } = sampleEnvelope("card.action.trigger", sampling()).event as Record<
    string,
    object
  >;
  return JSON.stringify({ ...operator, ...context, token, action });
}

function contextOf(
  message: Extract<Classified, { kind: "event" | "callback" }>,
  type: string,
  { secrets = {} }: ContextOptions,
) {
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
    secrets: secretsFrom((name) => {
      const value = secrets[name];
      if (value === undefined)
        throw new Error(`The context has no secret "${name}". Give it: { secrets: { ${name}: … } }`);
      return value;
    }),
    sign: async (text) => `signed:${text}`,
    signCard: async (card) => `signed:${JSON.stringify(card)}`,
    lark: noOpenApi,
    request: noOpenApi,
  };
  return { context, logged };
}
