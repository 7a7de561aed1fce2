import type { Clock } from "../../clock.ts";
import { defaultTenant } from "../samples/facts.ts";
import { type Answer, Refusal, refused } from "./answer.ts";
import { type CardToken, createCards } from "./cards.ts";
import { contactRoutes } from "./contacts.ts";
import { checkContent } from "./content.ts";
import { messageRoutes } from "./message-routes.ts";
import { createMessages, type Message, type Said } from "./messages.ts";
import { type Call, type Caller, find, type OpenCall, object, type Route } from "./route.ts";
import { answerOf, createRules, type Rule } from "./rules.ts";
import { type ApiRequest, type ApiResponse, type ApiServer, serve } from "./server.ts";
import { type App, type AppTicket, createTokens } from "./tokens.ts";
import { createWorld } from "./world.ts";

export interface OpenApiOptions {
  /** Ends of tokens, the hour of a uuid and delays count by it. */
  readonly clock: Clock;
  /** A fresh id, 32 hex digits: tokens, messages and log ids are made of them. */
  readonly newId: () => string;
  /** The first one's chats with people are those that the sampled events name. */
  readonly apps: readonly App[];
  /** Whether an id that nobody has seen does not exist. Otherwise it does, since events may come from elsewhere. */
  readonly isStrict?: boolean;
  /** A ticket is due to be pushed as an `app_ticket` event. */
  readonly onAppTicket?: (ticket: AppTicket) => void;
  /** Something in here failed, or a listener did; the call, if it failed by that, was answered with 500. */
  readonly onProblem: (error: unknown) => void;
}

/** One call, as it may be shown: no header, no body, no query. */
export interface LoggedCall {
  readonly atMs: number;
  readonly method: string;
  readonly path: string;
  /** `null` when there was no answer. */
  readonly status: number | null;
  readonly code: number | null;
  readonly logId: string;
}

/** A user's message, for a bot to reply to. */
export interface UserMessage {
  readonly messageId?: string;
  readonly chatId: string;
  /** open_id */
  readonly userId: string;
  readonly msgType?: string;
  /** A JSON document in a string. */
  readonly content: string;
}

const callsKept = 10_000;
const shownPathLength = 300;

/**
 * The Open API of a laptop-sized Feishu, over HTTP: what the official clients need of it. Everything is
 * kept in memory, for tests and terminals to read. A path that it does not have is 404, 99991201.
 */
export function openApi(options: OpenApiOptions) {
  const { clock, newId, apps, isStrict = false, onAppTicket = () => {}, onProblem } = options;
  const nowMs = () => clock.nowMs();
  /** A listener that throws is not the caller's fault. */
  const guarded = <Fact>(listener: (fact: Fact) => void) => {
    return (fact: Fact) => {
      try {
        listener(fact);
      } catch (error) {
        onProblem(error);
      }
    };
  };
  const tokens = createTokens({ nowMs, newId, apps, defaultTenant, onAppTicket: guarded(onAppTicket) });
  const world = createWorld({ appIds: apps.map(({ appId }) => appId), isStrict });
  const messages = createMessages({ nowMs, newId, isStrict, defaultTenant });
  const cards = createCards({ nowMs, newId, isStrict, messages });
  const rules = createRules();
  const routes: Route[] = [
    ...tokens.routes,
    ...messageRoutes({ messages, world }),
    ...cards.routes,
    ...contactRoutes(world),
  ];
  const calls: LoggedCall[] = [];

  function perform(request: ApiRequest, path: string, query: string, delayMs: number): Answer {
    const { method, authorization, body: text } = request;
    const { route, params } = find(routes, method, path);
    const operation =
      route.access === "open" ? route.operation : inNameOf(tokens.caller(authorization), route.operation);
    if (text === undefined) return refused(9499, { status: 413, ext: "the body is too large" });
    const body = object(method === "GET" || method === "DELETE" ? "{}" : text);
    if (body === undefined) throw new Refusal(route.malformed, "the body is not a JSON object");
    const atMs = nowMs();
    return operation({ params, query: new URLSearchParams(query), body, nowMs: atMs, answeredAtMs: atMs + delayMs });
  }

  function outcome(request: ApiRequest, path: string, query: string, rule: Rule | undefined): Answer | null {
    const instead = answerOf(rule?.fault);
    if (instead !== undefined) return instead;
    const done = attempt(() => perform(request, path, query, rule?.delayMs ?? 0));
    return rule?.fault?.kind === "lose-answer" ? null : done;
  }

  function attempt(operation: () => Answer): Answer {
    try {
      return operation();
    } catch (error) {
      if (error instanceof Refusal) return refused(error.code, { ext: error.message });
      onProblem(error);
      return refused(10500);
    }
  }

  /** Answers a request; `null` closes its connection. Never throws, whatever comes in. */
  async function handle(request: ApiRequest, signal?: AbortSignal): Promise<ApiResponse | null> {
    const mark = request.url.indexOf("?");
    const path = mark === -1 ? request.url : request.url.slice(0, mark);
    const query = mark === -1 ? "" : request.url.slice(mark + 1);
    const atMs = nowMs();
    const logId = `${new Date(atMs).toISOString().replaceAll(/\D/g, "").slice(0, 14)}${newId().toUpperCase()}`;
    const rule = rules.take(request.method, path);
    const result = outcome(request, path, query, rule);
    calls.push({
      atMs,
      method: request.method,
      path: path.slice(0, shownPathLength),
      status: result?.status ?? null,
      code: typeof result?.body["code"] === "number" ? result.body["code"] : null,
      logId,
    });
    if (calls.length > callsKept) calls.shift();
    if (rule?.delayMs !== undefined) await pause(clock, rule.delayMs, signal);
    if (result === null) return null;
    return {
      status: result.status,
      headers: { "Content-Type": "application/json; charset=utf-8", "X-Tt-Logid": logId, ...result.headers },
      body: JSON.stringify(result.body),
    };
  }

  return {
    handle,
    /** Serves it on 127.0.0.1; port 0, or none, takes a free one. */
    listen: ({ port = 0 } = {}): Promise<ApiServer> => serve(handle, port),

    /** Makes calls go wrong; see {@link Rule}. */
    addRule: rules.add,
    /** The chats and who is in them. */
    world,
    /** Records what a user said. @throws {Refusal} when its content is not what its type says. */
    say({ userId, msgType = "text", content, ...place }: UserMessage): Message {
      const checked = checkContent(msgType, content);
      return messages.add({ ...checked, ...place, sender: { kind: "user", id: userId }, tenant: defaultTenant });
    },

    /** For whoever pushes a card callback: before the push. */
    registerCardToken: (token: CardToken): void => cards.register(token),
    /**
     * For whoever pushes a card callback: once it was answered with 200, and whichever card the answer held.
     * @throws {Refusal} The card is none; its token works all the same.
     */
    callbackAnswered(token: string, card?: string): void {
      cards.answered(token);
      if (card !== undefined) cards.answered(token, checkContent("interactive", card).content);
    },
    /** For whoever pushes events: a new ticket, as every hour. */
    issueAppTicket: tokens.issueTicket,
    revokeTokens: tokens.revoke,
    setDisabled: tokens.setDisabled,

    /** What bots do from now on. @returns what ends it. */
    onMessage: (listener: (said: Said) => void): (() => void) => messages.onSaid(guarded(listener)),
    message: (messageId: string): Message | undefined => messages.get(messageId),
    /** In the order they were sent; of one chat or of all. */
    messages: (chatId?: string): readonly Message[] => messages.list(chatId),
    /** The last 10,000, oldest first. */
    calls: (): readonly LoggedCall[] => [...calls],
    tokensIssued: tokens.issued,
  };
}

function inNameOf(caller: Caller, operation: (call: Call) => Answer): (call: OpenCall) => Answer {
  return (call) => operation({ ...call, caller });
}

export type OpenApi = ReturnType<typeof openApi>;

/** Ends early when whoever waits for the answer is gone. */
function pause(clock: Clock, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const cancel = clock.after(ms, resolve);
    signal?.addEventListener("abort", () => {
      cancel();
      resolve();
    });
  });
}
