import { hash } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";

/** SQS or DynamoDB that answers each call after `ms`, however many come at once. */
export async function startSlowAws(t: { after(fn: () => unknown): void }, ms: number) {
  let calls = 0;
  let running = 0;
  let most = 0;
  const server = createServer(async (request, response) => {
    calls++;
    most = Math.max(most, ++running);
    const { MessageBody = "" } = JSON.parse(Buffer.concat(await request.toArray()).toString());
    await sleep(ms);
    running--;
    response.writeHead(200, { "content-type": request.headers["content-type"] });
    response.end(JSON.stringify({ MessageId: "m-1", MD5OfMessageBody: hash("md5", MessageBody) }));
  });
  const port = await listenOnLoopback(server);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    endpoint: `http://127.0.0.1:${port}`,
    /** How many were there at once. */
    get most(): number {
      return most;
    },
    /** Calls that arrived. */
    get calls(): number {
      return calls;
    },
  };
}
