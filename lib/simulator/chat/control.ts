import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { type Clock, pause } from "../../clock.ts";
import type { JsonObject } from "../../feishu/json.ts";
import { isSameSecret } from "../loopback.ts";
import { object } from "../open-api/route.ts";
import { type ApiRequest, type ApiResponse, type ApiServer, serve } from "../open-api/server.ts";
import type { PushResult } from "../platform/push.ts";
import { type Person, people } from "../samples/facts.ts";
import type { Act } from "./acts.ts";
import { type Conversation, RefusedAction } from "./conversation.ts";

/** The most entries in one answer. A terminal requests the next ones. */
const maxEntries = 200;
/** How long `GET /next` waits for an entry. */
const waitMs = 20_000;

/**
 * Serves a conversation to terminals on this machine, on a free port of 127.0.0.1: `POST /say`, `POST /choose` and
 * `POST /act`, each with the name of the user in `as`, `GET /said?after=n`, and `GET /next?after=n`, which waits for an
 * entry. `POST /push` delivers an envelope over the long connection. Each request must have the token in its
 * `authorization` header.
 *
 * @param options.push Delivers an envelope's text over the long connection; `undefined` where there is none.
 * @param options.token A secret of this run, in a file that only this user can read.
 */
export function serveControl(options: {
  readonly conversation: Conversation;
  readonly push?: ((text: string) => Promise<PushResult>) | undefined;
  readonly token: string;
  readonly clock: Clock;
}): Promise<ApiServer> {
  const { conversation, push, token, clock } = options;

  return serve(async (request, signal) => {
    if (!isSameSecret(request.authorization, `Bearer ${token}`)) {
      return answer(401, { error: "the token is missing or wrong" });
    }
    try {
      return await perform(request, signal);
    } catch (error) {
      if (error instanceof RefusedAction) return answer(409, { error: error.message });
      throw error;
    }
  }, 0);

  async function perform({ method, url, body }: ApiRequest, signal?: AbortSignal): Promise<ApiResponse> {
    const [path, query] = url.split("?", 2);
    const fields = object(body === "" ? "{}" : body);
    if (fields === undefined) return answer(400, { error: "the body is not a JSON object" });
    const { as = "mei" } = fields;
    if (!isPerson(as)) return answer(400, { error: `"as" is one of ${Object.keys(people).join(", ")}` });
    switch (`${method} ${path}`) {
      case "POST /say": {
        const { text, chat = "p2p" } = fields;
        if (typeof text !== "string" || !isPlace(chat)) {
          return answer(400, { error: "text and chat (p2p or group) are required" });
        }
        return answer(200, { id: conversation.say(text, chat, as) });
      }
      case "POST /choose": {
        const { messageId, version, number, typed = [] } = fields;
        if (typeof messageId !== "string" || typeof version !== "number" || typeof number !== "number") {
          return answer(400, { error: "messageId, version and number are required" });
        }
        if (!isTexts(typed)) return answer(400, { error: "typed is a list of texts" });
        return answer(200, { id: conversation.choose({ messageId, version, number, typed, as }) });
      }
      case "POST /act": {
        const needs = members.get(fields["does"]);
        if (needs?.every((name) => typeof fields[name] === "string") !== true || !isPlace(fields["chat"] ?? "p2p")) {
          const all = [...members].map(([does, names]) => [does, ...names].join(" ")).join("; ");
          return answer(400, { error: `what it "does" and its members are one of: ${all}` });
        }
        return answer(200, { id: conversation.act(actOf(fields), as) });
      }
      case "POST /push": {
        if (typeof fields["text"] !== "string") return answer(400, { error: "text is required" });
        if (push === undefined) return answer(409, { error: "there is no long connection" });
        return answer(200, await push(fields["text"]));
      }
      case "GET /said":
      case "GET /next": {
        const after = new URLSearchParams(query).get("after") ?? "";
        if (!/^\d{1,9}$/.test(after)) return answer(400, { error: "after is not a number" });
        if (path === "/next") await nextEntry(Number(after), signal);
        return answer(200, { entries: conversation.after(Number(after)).slice(0, maxEntries) });
      }
      default:
        return answer(404, { error: "there is nothing here" });
    }
  }

  /** Resolves when there is an entry after the `n`th, or after 20 s without one. */
  async function nextEntry(n: number, signal: AbortSignal | undefined): Promise<void> {
    if (conversation.count() > n) return;
    const arrived = new AbortController();
    const unsubscribe = conversation.onEntry(() => arrived.abort());
    await pause(clock, waitMs, AbortSignal.any([arrived.signal, ...(signal === undefined ? [] : [signal])]));
    unsubscribe();
  }
}

/** What a user does, with the members that it needs. */
const members: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["image", ["path", "chat"]],
  ["file", ["path", "chat"]],
  ["post", ["text", "chat"]],
  ["thread", ["messageId", "text"]],
  ["react", ["messageId", "emoji"]],
  ["menu", ["key"]],
  ["enter", []],
]);

/** @throws {RefusedAction} A file cannot be read. */
function actOf({ path, ...fields }: JsonObject): Act {
  if (typeof path !== "string") return fields as unknown as Act;
  try {
    return { ...fields, name: basename(path), bytes: readFileSync(path) } as unknown as Act;
  } catch (error) {
    throw new RefusedAction(error instanceof Error ? error.message : String(error));
  }
}

function isPerson(value: unknown): value is Person {
  return typeof value === "string" && Object.hasOwn(people, value);
}

function isPlace(value: unknown): value is "p2p" | "group" {
  return value === "p2p" || value === "group";
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((text) => typeof text === "string");
}

function answer(status: number, body: object): ApiResponse {
  return {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" },
    body: JSON.stringify(body),
  };
}
