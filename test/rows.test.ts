// first: a thread of its own runs many cases.
import { once } from "node:events";
import { after, test } from "node:test";
import { Worker } from "node:worker_threads";
import type { Job, Message } from "./rows/thread.ts";

const seed = Number(process.env["SEED"] ?? 20_261);
const thread = new Worker(new URL("./rows/thread.ts", import.meta.url));
after(() => thread.terminate());

async function next(): Promise<Message> {
  const [message] = (await once(thread, "message")) as [Message];
  return message;
}

const list = await next();
for (const [index, { id, title, sample }] of ("rows" in list ? list.rows : []).entries()) {
  test(`${id}: ${title} (sample of ${sample}, seed ${seed})`, async () => {
    thread.postMessage({ index, seed } satisfies Job);
    const message = await next();
    if (!("holds" in message) || !message.holds) throw "error" in message ? message.error : message;
  });
}
