/** Fewer than the 50 sockets that the SDK opens for one client, so that a sent call never waits for a socket. */
const callsAtOnce = 32;

interface Client {
  readonly config: { readonly requestHandler: { handle: (...args: never[]) => Promise<unknown> } };
}

/**
 * Lets a client send 32 calls at once. The others wait here in their order. The SDK's timeouts start when a call gets to
 * the request handler, so a wait for a free socket there would count.
 */
export function limitConcurrency<C extends Client>(client: C): C {
  const { requestHandler } = client.config;
  const handle = requestHandler.handle.bind(requestHandler);
  const waiting: (() => void)[] = [];
  let sent = 0;
  requestHandler.handle = async (...args) => {
    if (sent < callsAtOnce) sent++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      // When the caller gave up meanwhile, its signal is aborted and the handler sends nothing.
      return await handle(...args);
    } finally {
      const next = waiting.shift();
      if (next === undefined) sent--;
      else next();
    }
  };
  return client;
}
