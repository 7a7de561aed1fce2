/** Fewer than the 50 sockets that the SDK opens for one client: a call that is sent never waits for a socket. */
const callsAtOnce = 32;

interface Client {
  readonly config: { readonly requestHandler: { handle: (...args: never[]) => Promise<unknown> } };
}

/**
 * Lets a client send 32 calls at once; the others wait here, in their order, until their caller gives up. The SDK's
 * own timeouts start when a call is handed to its handler, so they would count the wait for a free socket.
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
      // The handler sends nothing when the caller gave up meanwhile: its signal is aborted.
      return await handle(...args);
    } finally {
      const next = waiting.shift();
      if (next === undefined) sent--;
      else next();
    }
  };
  return client;
}
