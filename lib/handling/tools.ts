import type { DeferredContext, Tools } from "../handler.ts";
import { once } from "../once.ts";
import type { ApiOptions } from "../open-api/client.ts";
import type { Secrets } from "../secrets.ts";
import { cardSigner, type Signer } from "../signed-value.ts";
import type { Run } from "./run.ts";

/** A run keeps 2 s of its time, or a tenth of a short time, to end after its calls. */
const reserveMs = 2_000;

/** Makes what a handler can call, for one run. */
export type MakeTools = (run: Run) => RunTools | Promise<RunTools>;
export type RunTools = Tools & Pick<DeferredContext, "updateCard"> & { readonly reactions: ReactionCalls };

export interface ReactionCalls {
  /** @param store Called before the reaction is added, with what `remove` needs. */
  add(emoji: string, store: (reaction: string) => Promise<void>): Promise<void>;
  remove(reaction: string): Promise<void>;
}

/** Loads nothing of the Open API before a handler calls it. */
export function toolMaker(options: {
  readonly signer: Pick<Signer, "sign">;
  readonly api: ApiOptions;
  readonly secrets: () => Promise<Secrets>;
}): (run: Run) => Promise<RunTools> {
  const { signer, api, secrets } = options;
  const load = once(() => import("../open-api/client.ts").then(({ openApi }) => openApi(api)));
  const signCard = cardSigner(signer, api.clock);
  return async ({ envelope, key, signal, remainingMs }) => {
    const { id, type, app, tenant, requestId } = envelope;
    const ownMs = Math.min(reserveMs, remainingMs() / 10);
    const event = { id, type, app, requestId };
    // One client for the whole run, since it counts what is sent.
    const calls = once(async () =>
      (await load()).forRun({ key: key(), tenant, signal, event, remainingMs: () => remainingMs() - ownMs }),
    );
    const messages = once(async () => (await calls()).messageCalls(envelope.event));
    return {
      secrets: await secrets(),
      sign: (text) => signer.sign("text", text),
      signCard,
      lark: async () => (await calls()).lark(),
      request: async (method, path, options) => (await calls()).request(method, path, options),
      reply: async (content) => (await messages()).reply(content),
      send: async (to, content) => (await messages()).send(to, content),
      download: async (resource, options) => (await messages()).download(resource, options),
      text: async () => (await messages()).text(),
      mentionsMe: async () => (await messages()).mentionsMe(),
      reactions: {
        add: async (emoji, store) => (await messages()).react(emoji, store),
        remove: async (reaction) => (await messages()).unreact(reaction),
      },
      updateCard: async (card) =>
        (await calls()).updateCard(card, { token: envelope.event["token"], clickedAtMs: envelope.createdAtMs }),
    };
  };
}
