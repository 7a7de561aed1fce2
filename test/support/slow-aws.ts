import { hash } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";

/** SQS or DynamoDB that answers each call after `ms`, however many come at once; the first `refused` with a 403. */
export async function startSlowAws(t: { after(fn: () => unknown): void }, ms: number, { refused = 0 } = {}) {
  let calls = 0;
  const server = createServer(async (request, response) => {
    const isRefused = ++calls <= refused;
    const { MessageBody = "" } = JSON.parse(Buffer.concat(await request.toArray()).toString());
    await sleep(ms);
    response.writeHead(isRefused ? 403 : 200, { "content-type": request.headers["content-type"] });
    const error = { __type: "com.amazon.coral.service#AccessDeniedException" };
    response.end(JSON.stringify(isRefused ? error : { MessageId: "m-1", MD5OfMessageBody: hash("md5", MessageBody) }));
  });
  const port = await listenOnLoopback(server);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    endpoint: `http://127.0.0.1:${port}`,
    /** Calls that arrived. */
    get calls(): number {
      return calls;
    },
  };
}
