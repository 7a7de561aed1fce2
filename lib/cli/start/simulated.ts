import { randomBytes, randomUUID } from "node:crypto";
import { systemClock } from "../../clock.ts";
import { serveControl } from "../../simulator/chat/control.ts";
import { type Entry, startConversation } from "../../simulator/chat/conversation.ts";
import { openApi } from "../../simulator/open-api/open-api.ts";
import { type Deliver, toMessage } from "../../simulator/platform/platform.ts";
import type { LocalApp } from "../state/local-keys.ts";

/**
 * The platform that `npm start` brings along when there is no real one: the Open API that handlers call, and a user
 * who talks to the bot.
 */
export async function startSimulated(options: {
  readonly app: LocalApp;
  /** Is told what bots do and what becomes of what the user does. */
  readonly onEntry: (entry: Entry) => void;
  readonly onProblem: (error: unknown) => void;
}) {
  const { app, onEntry, onProblem } = options;
  const newId = () => randomUUID().replaceAll("-", "");
  const { appId, appSecret } = app;
  const api = openApi({ clock: systemClock, newId, apps: [{ kind: "self-built", appId, appSecret }], onProblem });
  const server = await api.listen();
  // What is pushed waits until somebody listens.
  const listening = Promise.withResolvers<Deliver>();
  const conversation = startConversation({
    ...{ api, appId, newId, clock: systemClock, random: Math.random },
    deliver: async (message, push) => (await listening.promise)(message, push),
  });
  conversation.onEntry(onEntry);
  const stops = [server.close];
  return {
    /** Of the Open API: what handlers take for the platform's. */
    url: server.url,
    told: conversation.told,
    /**
     * From now on the user may talk: what she does is delivered so.
     * @param toConnection The long connection, where there is one: then it is what delivers.
     * @returns What other commands need for it.
     */
    async listen(deliver: Deliver, toConnection?: Deliver): Promise<{ url: string; token: string }> {
      const token = randomBytes(24).toString("base64url");
      const push =
        toConnection === undefined ? undefined : (text: string) => toConnection(toMessage(text), { number: 1 });
      const control = await serveControl({ conversation, push, token, clock: systemClock });
      stops.unshift(control.close);
      listening.resolve(toConnection ?? deliver);
      return { url: control.url, token };
    },
    /** The user goes; handlers that still run can call the Open API. */
    async hush(): Promise<void> {
      conversation.stop();
      for (const stop of stops.splice(0, stops.length - 1)) await stop();
    },
    async stop(): Promise<void> {
      for (const stop of stops.splice(0)) await stop();
    },
  };
}
