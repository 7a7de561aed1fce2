import { ConfigError } from "../errors.ts";
import { http } from "../node-http.ts";

/**
 * Answers 200 or 503, on this machine only, by `isWell`.
 * @throws {ConfigError} The port cannot be listened on.
 */
export async function serveHealth(port: number, isWell: () => boolean): Promise<void> {
  const server = http.createServer((_request, response) => {
    const ok = isWell();
    // Closed after each answer, so that an idle client does not keep the process running.
    response.writeHead(ok ? 200 : 503, { "content-type": "application/json", connection: "close" });
    response.end(JSON.stringify({ ok }));
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (error: NodeJS.ErrnoException) =>
    reject(new ConfigError(`Cannot start: HEALTH_PORT ${port} cannot be listened on (${error.code})`)),
  );
  server.listen(port, "127.0.0.1", resolve);
  await promise;
}
