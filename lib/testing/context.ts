import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { systemClock } from "../clock.ts";
import { isError, NonRetryableError, RetryLaterError } from "../errors.ts";
import { type Classified, classify, oldCardType } from "../feishu/classify.ts";
import { jobId } from "../feishu/envelope.ts";
import { fieldsOf, isObject, type JsonObject } from "../feishu/json.ts";
import { classifyOldCard } from "../feishu/old-card.ts";
import type {
  CallbackContext,
  CallbackOf,
  CallbackType,
  Context,
  DeferredContext,
  DeferredEventContext,
  EventOf,
  EventType,
  LogFields,
} from "../handler.ts";
import { openApi } from "../open-api/client.ts";
import { type Secrets, secretsFrom } from "../secrets.ts";
import { find } from "../simulator/catalogue.ts";
import { openApi as simulatedOpenApi } from "../simulator/open-api/open-api.ts";
import { loadOwn } from "../simulator/open-api/own-answers.ts";
import { oldCardSample, randomId, sampleText } from "../simulator/samples/samples.ts";
import { memoryTokens } from "./tokens.ts";

export { checkAnswer } from "../feishu/answers.ts";
export { answers, type OwnAnswer, type OwnAnswers, type OwnCall } from "../simulator/open-api/own-answers.ts";
export type { Templates } from "../simulator/open-api/templates.ts";

// As in a function, larkpost.config.js has set the environment before a handler's file is loaded: `import` would let that
// file be loaded first. The tables of a `Ref` are not there.
const configFile = resolve("larkpost.config.js");
if (existsSync(configFile)) {
  const loaded = fieldsOf(createRequire(configFile)(configFile));
  const { environment } = fieldsOf(loaded["default"] ?? loaded);
  for (const [name, value] of Object.entries(isObject(environment) ? environment : {})) {
    if (typeof value === "string") process.env[name] ??= value;
  }
}

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

/** Any members of a value, at any depth. A list is given whole. */
export type Members<T> = T extends readonly unknown[] ? T : T extends object ? { [K in keyof T]?: Members<T[K]> } : T;

export interface ContextOptions<Event = unknown> {
  /** The values of `context.secrets`. */
  readonly secrets?: Secrets;
  /** Members that replace the sample's, in `context.raw` as well. */
  readonly event?: Members<Event>;
  /** Which run it is, from 1. */
  readonly attempt?: number;
}

/** What a handler deferred. */
export interface DeferredWork {
  readonly payload: unknown;
  readonly delaySeconds: number;
}

/** What the worker makes of a run. `again`: tried again, after that time or after a growing one. */
export type Verdict =
  | { readonly verdict: "done" }
  | { readonly verdict: "again"; readonly delaySeconds?: number; readonly error: unknown }
  | { readonly verdict: "dead"; readonly error: unknown };

/** Runs a handler's code, and tells what the worker would make of it before the last attempt. */
export async function verdictOf(run: () => unknown): Promise<Verdict> {
  try {
    await run();
    return { verdict: "done" };
  } catch (error) {
    if (isError(error, NonRetryableError)) return { verdict: "dead", error };
    if (isError(error, RetryLaterError)) return { verdict: "again", delaySeconds: error.delaySeconds, error };
    return { verdict: "again", error };
  }
}

/**
 * A sample event of a type, and the context that a handler gets with it: what `npm run send` would
 * push, as the worker would hand it over. Each call is another event. `deferred` is what the handler put off, and
 * `deferredContext` what the file's `deferred` gets with it.
 */
export function contextFor<T extends EventType>(
  type: T,
  options: ContextOptions<EventOf<T>> = {},
): {
  event: EventOf<T>;
  context: Context;
  logged: LoggedLine[];
  deferred: DeferredWork[];
  deferredContext: DeferredEventContext<T>;
} {
  const sample = sampleText(type, { ...sampling(), schema: find(type)?.version });
  const message = classify(withEvent(sample, options.event));
  if (message.kind !== "event") throw new Error(`Cannot make a context: "${type}" is not the type of an event`);
  const event = message.event as EventOf<T>;
  const made = contextOf(message, type, options);
  return { event, ...made, deferredContext: { ...deferredFrom(made.context), event } as DeferredEventContext<T> };
}

/**
 * The same for a callback, as the callback function would hand it over. `cards` is what its deferred work shows with
 * `updateCard`.
 */
export function callbackContextFor<T extends CallbackType>(
  type: T,
  options: ContextOptions<CallbackOf<T>> = {},
): {
  callback: CallbackOf<T>;
  context: CallbackContext;
  logged: LoggedLine[];
  deferred: DeferredWork[];
  deferredContext: DeferredContext<T>;
  cards: unknown[];
} {
  const { event: members } = options;
  const message =
    type === oldCardType
      ? classifyOldCard(JSON.stringify(merged(oldCardSample(sampling()), members)), {})
      : classify(withEvent(sampleText(type, { ...sampling() }), members));
  if (message.kind !== "callback") throw new Error(`Cannot make a context: "${type}" is not the type of a callback`);
  const { context, logged, deferred } = contextOf(message, type, options);
  const callback = message.event as CallbackOf<T>;
  const cards: unknown[] = [];
  const updateCard = async (card: unknown) => void cards.push(card);
  return {
    callback,
    deferredContext: { ...deferredFrom(context), callback, updateCard } as DeferredContext<T>,
    cards,
    context: { ...context, isSigned: false, purpose: null },
    logged,
    deferred,
  };
}

/**
 * The context with its calls going to a simulated Feishu over HTTP, in real time. `sent()` has what the handler
 * sent, oldest first, `simulator.addRule(…)` makes calls fail, and `simulator.setAnswers([…])` answers calls that are not
 * simulated; those in `test/simulated/` are loaded. It ends with the test.
 *
 * @param t The test's context of `node:test`, or whatever else runs a function when the test ends.
 */
export async function withOpenApi<C extends Omit<Context, "react">>(
  t: { after(end: () => Promise<void>): void },
  context: C,
) {
  const problems: unknown[] = [];
  const onProblem = (problem: unknown) => void problems.push(problem);
  const simulator = simulatedOpenApi({ clock: systemClock, newId: randomId, apps: [app], onProblem });
  await loadOwn(process.cwd(), simulator);
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
    // Between two tries, only the waits that the platform asks for remain.
    random: () => 0,
  });
  const { id: key, tenant, signal } = context;
  const { lark, request, messageCalls } = api.forRun({ key, tenant, signal, remainingMs: () => 60_000 });
  const envelope = JSON.parse(context.raw) as { event?: JsonObject };
  // The old card callback has no envelope.
  const { unreact: _, react: add, ...calls } = await messageCalls(envelope.event ?? (envelope as JsonObject));
  // Nothing is stored, since nothing removes it.
  const react = (emoji: string) => add(emoji, async () => {});
  return { context: { ...context, lark, request, ...calls, react }, simulator, sent: simulator.sent };
}

/** What the first work that the handler deferred gets. */
function deferredFrom(context: Context) {
  return { ...context, id: jobId(context.id), depth: 1, chainStartedAtMs: Date.now() };
}

/** A message with members of its event replaced. */
function withEvent(text: string, members: unknown): string {
  if (members === undefined) return text;
  const envelope = JSON.parse(text) as { event: unknown };
  return JSON.stringify({ ...envelope, event: merged(envelope.event, members) });
}

function merged(value: unknown, members: unknown): unknown {
  if (!isObject(members)) return members === undefined ? value : members;
  const before = isObject(value) ? value : {};
  const replaced = Object.entries(members).map(([name, member]) => [name, merged(before[name], member)]);
  return { ...before, ...Object.fromEntries(replaced) };
}

function sampling() {
  return { nowMs: Date.now(), appId: app.appId, newId: randomId };
}

function contextOf(
  message: Extract<Classified, { kind: "event" | "callback" }>,
  type: string,
  { secrets = {}, attempt = 1 }: ContextOptions,
) {
  const logged: LoggedLine[] = [];
  const deferred: DeferredWork[] = [];
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
    attempt,
    signal: new AbortController().signal,
    remainingMs: () => (message.kind === "event" ? 55_000 : 2_300),
    defer: async (payload, { delaySeconds = 0 } = {}) => void deferred.push({ payload, delaySeconds }),
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
    react: noOpenApi,
    reply: noOpenApi,
    send: noOpenApi,
    download: noOpenApi,
    text: noOpenApi,
    mentionsMe: noOpenApi,
  };
  return { context, logged, deferred };
}
