import { createServer } from "node:http";
import { ConfigError } from "../errors.ts";

/**
 * Answers on this machine, and on no other, whether a process is well: 200 or 503.
 * @throws {ConfigError} The port cannot be had.
 */
export async function serveHealth(port: number, isWell: () => boolean): Promise<{ close(): void }> {
  const server = createServer((_request, response) => {
    const ok = isWell();
    // Not kept open: an idle asker must not hold the process at its end.
    response.writeHead(ok ? 200 : 503, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify({ ok }));
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error: NodeJS.ErrnoException) =>
    reject(new ConfigError(`Cannot start: HEALTH_PORT ${port} cannot be listened on (${error.code})`)),
  );
  server.listen(port, "127.0.0.1", resolve);
  await promise;
  return { close: () => void server.close() };
}
