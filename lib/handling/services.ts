import type { DeferredContext, Services } from "../handler.ts";
import type { ApiOptions, openApi } from "../open-api/client.ts";
import type { Secrets } from "../secrets.ts";
import { cardSigner, type Signer } from "../signed-value.ts";
import type { Handled } from "./run.ts";

/** One run of a handler, as what it calls needs to know it. */
export interface RunFacts {
  readonly envelope: Handled;
  /** The run's idempotency key. */
  readonly key: () => string;
  readonly signal: AbortSignal;
  /** Until the run is over. */
  readonly remainingMs: () => number;
}

/** Of a run's time, what is not for calls: 2 s, or a tenth of a short one. */
const reserveMs = 2_000;

/** Makes what a handler can call, for one run. */
export type MakeServices = (run: RunFacts) => Made | Promise<Made>;
type Made = Services & Pick<DeferredContext, "updateCard">;

/** Nothing of the Open API is loaded before a handler calls it. */
export function services({
  signer,
  api,
  secrets,
}: {
  readonly signer: Pick<Signer, "sign">;
  readonly api: ApiOptions;
  readonly secrets: () => Promise<Secrets>;
}): (run: RunFacts) => Promise<Made> {
  let loading: Promise<ReturnType<typeof openApi>> | undefined;
  const load = () => {
    loading ??= import("../open-api/client.ts").then(({ openApi }) => openApi(api));
    return loading;
  };
  const signCard = cardSigner(signer, api.clock);
  return async ({ envelope, key, signal, remainingMs }) => {
    const { id, type, app, tenant, requestId } = envelope;
    const ownMs = Math.min(reserveMs, remainingMs() / 10);
    const event = { id, type, app, requestId };
    const open = async () =>
      (await load()).forRun({ key: key(), tenant, signal, event, remainingMs: () => remainingMs() - ownMs });
    let opened: ReturnType<typeof open> | undefined;
    // One for the whole run: it counts what is sent.
    const calls = () => {
      opened ??= open();
      return opened;
    };
    return {
      secrets: await secrets(),
      sign: (text) => signer.sign("text", text),
      signCard,
      lark: async () => (await calls()).lark(),
      request: async (method, path, options) => (await calls()).request(method, path, options),
      updateCard: async (card) =>
        (await calls()).updateCard(card, { token: envelope.event["token"], clickedAtMs: envelope.createdAtMs }),
    };
  };
}
