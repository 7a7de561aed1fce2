import { join } from "node:path";
import { LarkpostError } from "../../errors.ts";
import { fieldsOf, parseJson } from "../../feishu/json.ts";
import { exchange } from "../../https.ts";
import type { Entry } from "../../simulator/chat/journal.ts";
import type { Person } from "../../simulator/samples/facts.ts";
import { readLocal } from "../state/target.ts";

/** There is no conversation, or it is over. */
export class ChatError extends LarkpostError {
  override readonly name = "ChatError";
  readonly code = "CHAT";
}

/** The runtime refuses an action. The conversation continues. */
export class RefusedError extends LarkpostError {
  override readonly name = "RefusedError";
  readonly code = "CHAT_REFUSED";
}

interface Choosing {
  readonly messageId: string;
  readonly version: number;
  readonly number: number;
  /** What was typed for each field that the choice asks for. */
  readonly typed?: readonly string[];
}

/** Anything else that a user does, as `POST /act` takes it: what, and its members. */
export interface Doing {
  readonly does: string;
  readonly [member: string]: string;
}

/** The conversation of the running `npm start`. Every method rejects with {@link ChatError} when it is over. */
export interface Link {
  /** @returns The event's id. @throws {RefusedError} */
  say(text: string, chat: "p2p" | "group", as: Person): Promise<string>;
  /** @returns The callback's id. @throws {RefusedError} */
  choose(choosing: Choosing, as: Person): Promise<string>;
  /** @returns The event's id. @throws {RefusedError} */
  act(doing: Doing, as: Person): Promise<string>;
  /** The entries after the `n`th, at most 200. */
  after(n: number): Promise<readonly Entry[]>;
  /** The same, but waits until there is an entry. After 20 s it resolves with none. */
  next(n: number): Promise<readonly Entry[]>;
}

interface Entries {
  readonly entries: readonly Entry[];
}

/**
 * @param left Ends the requests that are still open.
 * @throws {ChatError} The state folder names no conversation.
 */
export function findConversation(stateFolder: string, left?: AbortSignal): Link {
  const local = readLocal(join(stateFolder, "local.json"));
  if (local === undefined) throw new ChatError(`Cannot chat: nothing listens. ${advice}`);
  if (local.control === undefined) {
    throw new ChatError(
      "Cannot chat: the runtime has the keys of a real app, whose bot is in Feishu. " +
        "For a simulated one, start it without ENCRYPT_KEY, VERIFICATION_TOKEN and APP_ID",
    );
  }
  const { url, token } = local.control;
  let isConnected = false;
  const call = async <Answer>(method: string, path: string, body?: object): Promise<Answer> => {
    const { status, bytes } = await exchange(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${token}` },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any([AbortSignal.timeout(60_000), ...(left === undefined ? [] : [left])]),
    }).catch((cause: unknown) => {
      const ended = 'The chat is over: "npm start" has ended';
      throw new ChatError(isConnected ? ended : `Cannot chat: nothing listens at ${url}. ${advice}`, { cause });
    });
    isConnected = true;
    const answer = fieldsOf(parseJson(String(bytes)));
    if (status === 200) return answer as Answer;
    if (status === 401) throw new ChatError(`Cannot chat: another program listens at ${url}. ${advice}`);
    throw new RefusedError(String(answer["error"] ?? `answered ${status}`));
  };
  return {
    say: async (text, chat, as) => (await call<{ id: string }>("POST", "/say", { text, chat, as })).id,
    choose: async (choosing, as) => (await call<{ id: string }>("POST", "/choose", { ...choosing, as })).id,
    act: async (doing, as) => (await call<{ id: string }>("POST", "/act", { ...doing, as })).id,
    after: async (n) => (await call<Entries>("GET", `/said?after=${n}`)).entries,
    next: async (n) => (await call<Entries>("GET", `/next?after=${n}`)).entries,
  };
}

const advice = 'Run "npm start" in another terminal';
