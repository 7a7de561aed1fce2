import { randomBytes } from "node:crypto";
import { systemClock } from "../../clock.ts";
import { serveControl } from "../../simulator/chat/control.ts";
import { startConversation } from "../../simulator/chat/conversation.ts";
import type { Entry } from "../../simulator/chat/journal.ts";
import { startLongConnectionServer, toLongConnection } from "../../simulator/long-connection/server.ts";
import { openApi } from "../../simulator/open-api/open-api.ts";
import { type Deliver, toMessage } from "../../simulator/platform/platform.ts";
import { randomId } from "../../simulator/samples/samples.ts";
import type { LocalApp } from "../state/local-keys.ts";

/**
 * The simulated platform of `npm start` and `npm run simulate`, for one app: on one domain the Open API and the long
 * connection, and a user who talks to the bot.
 */
export async function startSimulated(options: {
  readonly app: Pick<LocalApp, "appId" | "appSecret">;
  /** Port 0, the default, takes a free one. */
  readonly port?: number;
  /** Called with each entry of the conversation. */
  readonly onEntry: (entry: Entry) => void;
  /** Called with the number of the app's long connections when it changes. */
  readonly onConnections?: (count: number) => void;
  readonly onProblem: (error: unknown) => void;
}) {
  const { app, port, onEntry, onConnections, onProblem } = options;
  const { appId, appSecret } = app;
  const api = openApi({
    clock: systemClock,
    newId: randomId,
    apps: [{ kind: "self-built", appId, appSecret }],
    onProblem,
  });
  const server = await startLongConnectionServer({
    apps: [{ appId, appSecret }],
    openApi: api.handle,
    clock: systemClock,
    random: Math.random,
    onConnections,
    ...(port === undefined ? undefined : { port }),
  });
  // A push waits until `listen` is called.
  const listening = Promise.withResolvers<Deliver>();
  const conversation = startConversation({
    api,
    appId,
    newId: randomId,
    clock: systemClock,
    random: Math.random,
    deliver: async (message, push) => (await listening.promise)(message, push),
  });
  conversation.onEntry(onEntry);
  const stops = [server.close];
  return {
    /** What clients use as the platform's domain (LARK_DOMAIN). */
    url: server.origin,
    /** Delivers over the long connection. */
    byWebSocket: toLongConnection(server, { appId }),
    onStage: conversation.onStage,
    setAnswers: api.setAnswers,
    setTemplates: api.setTemplates,
    /**
     * Lets the user talk. What she does is delivered by `deliver`.
     * @param byWebSocket Delivers over the long connection. If given, it replaces `deliver`.
     * @returns The address and the token with which other commands reach the conversation.
     */
    async listen(deliver: Deliver, byWebSocket?: Deliver): Promise<{ url: string; token: string }> {
      const token = randomBytes(24).toString("base64url");
      const push = byWebSocket && ((text: string) => byWebSocket(toMessage(text), { number: 1 }));
      const control = await serveControl({ conversation, push, token, clock: systemClock });
      stops.unshift(control.close);
      listening.resolve(byWebSocket ?? deliver);
      return { url: control.url, token };
    },
    /** Stops the user. Handlers that still run can call the Open API. */
    async stopUser(): Promise<void> {
      conversation.stop();
      for (const stop of stops.splice(0, stops.length - 1)) await stop();
    },
    async stop(): Promise<void> {
      for (const stop of stops.splice(0)) await stop();
    },
  };
}
