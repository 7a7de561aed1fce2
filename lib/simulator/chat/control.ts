import type { Clock } from "../../clock.ts";
import { isSameSecret } from "../loopback.ts";
import { object } from "../open-api/route.ts";
import { type ApiRequest, type ApiResponse, type ApiServer, serve } from "../open-api/server.ts";
import type { PushResult } from "../platform/push.ts";
import { type Conversation, Impossible } from "./conversation.ts";

/** What a terminal is told at once; it asks for the rest. */
const entriesAtOnce = 200;
const patienceMs = 20_000;

/**
 * Serves a conversation on a free port of 127.0.0.1, for terminals of this machine: `POST /say`, `POST /choose`,
 * `GET /said?after=n`, and `GET /next?after=n`, which waits; and `POST /push`, which gives an envelope to the long
 * connection. Each request has to carry the token.
 *
 * @param options.push Gives an envelope's text to the long connection; absent where there is none.
 * @param options.token A secret of this run; it stands where only this user can read it.
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
      if (error instanceof Impossible) return answer(409, { error: error.message });
      throw error;
    }
  }, 0);

  async function perform({ method, url, body }: ApiRequest, signal?: AbortSignal): Promise<ApiResponse> {
    const [path, query] = url.split("?", 2);
    const fields = object(body === "" ? "{}" : body);
    if (fields === undefined) return answer(400, { error: "the body is not a JSON object" });
    switch (`${method} ${path}`) {
      case "POST /say": {
        const { text, chat = "p2p" } = fields;
        if (typeof text !== "string" || (chat !== "p2p" && chat !== "group")) {
          return answer(400, { error: "text and chat (p2p or group) are needed" });
        }
        return answer(200, { id: conversation.say(text, chat) });
      }
      case "POST /choose": {
        const { messageId, version, number } = fields;
        if (typeof messageId !== "string" || typeof version !== "number" || typeof number !== "number") {
          return answer(400, { error: "messageId, version and number are needed" });
        }
        return answer(200, { id: conversation.choose({ messageId, version, number }) });
      }
      case "POST /push": {
        if (typeof fields["text"] !== "string") return answer(400, { error: "text is needed" });
        if (push === undefined) return answer(409, { error: "there is no long connection" });
        return answer(200, await push(fields["text"]));
      }
      case "GET /said":
      case "GET /next": {
        const after = new URLSearchParams(query).get("after") ?? "";
        if (!/^\d{1,9}$/.test(after)) return answer(400, { error: "after is not a number" });
        if (path === "/next") await more(Number(after), signal);
        return answer(200, { entries: conversation.after(Number(after)).slice(0, entriesAtOnce) });
      }
      default:
        return answer(404, { error: "there is nothing here" });
    }
  }

  /** Resolves once there is something after the `n`th entry; or after a while, so that nobody waits for ever. */
  async function more(n: number, signal: AbortSignal | undefined): Promise<void> {
    if (conversation.count() > n || signal?.aborted === true) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const end = conversation.onEntry(() => resolve());
    signal?.addEventListener("abort", () => resolve());
    const cancel = clock.after(patienceMs, resolve);
    await promise;
    cancel();
    end();
  }
}

function answer(status: number, body: object): ApiResponse {
  return {
    status,
    headers: { "content-type": "application/json; charset=utf-8", "cache-control": "no-store" },
    body: JSON.stringify(body),
  };
}
