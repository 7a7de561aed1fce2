import { createDecipheriv, hash } from "node:crypto";
import { EventDispatcher, LoggerLevel } from "@larksuiteoapi/node-sdk";
import { aesKey } from "../../lib/feishu/cipher.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { open as openRequest } from "../../lib/feishu/open.ts";
import { ring } from "../support/push.ts";
import { type Contenders, cpuMsSince, interleave, type Row, row, type SectionOptions } from "./measure.ts";
import { keysEnv, messageText, recordsText, type Script, scripts, signedEvent } from "./requests.ts";

const sizes = [
  { name: "1 KB", bytes: 1024 },
  { name: "10 KB", bytes: 10_240 },
  { name: "100 KB", bytes: 102_400 },
  { name: "1 MB", bytes: 1_048_576 },
];

/** Long enough for the clock of CPU time, short enough for many rounds. */
const batchMs = 12;

/** Verify, decrypt, parse: CPU of one request, from its raw bytes to the event. */
export async function open(options: SectionOptions): Promise<Row[]> {
  const nowMs = Date.now();
  const rows: Row[] = [];
  for (const { name, bytes } of sizes) {
    for (const script of Object.keys(scripts) as Script[]) {
      const what = `${name} of ${script}`;
      const samples = await compare(signedEvent(messageText(bytes, script), nowMs), nowMs, options, what);
      const targets = { floor: 1.5, ...(bytes === 1024 ? { peer: 0.4 } : undefined) };
      rows.push(row({ section: "open", what, samples, figure: "cpuUs", unit: "µs", targets }));
    }
  }
  const what = "100 KB of small members";
  const samples = await compare(signedEvent(recordsText(102_400), nowMs), nowMs, options, what);
  rows.push(row({ section: "open", what, samples, figure: "cpuUs", unit: "µs" }));
  return rows;
}

async function compare(request: SealedRequest, nowMs: number, options: SectionOptions, what: string) {
  const tasks = { floor: floorTask(request), ours: ourTask(request, nowMs), peer: peerTask(request) };
  const contenders: Contenders = {
    floor: await sampler(tasks.floor),
    ours: await sampler(tasks.ours),
    peer: await sampler(tasks.peer),
  };
  return interleave(contenders, options, `open, ${what}`);
}

/** Warms a task up, and finds out how many runs of it fill a batch. */
async function sampler(task: () => unknown) {
  const batch = async (count: number) => {
    const start = process.cpuUsage();
    for (let n = 0; n < count; n++) {
      const result = task();
      if (result instanceof Promise) await result;
    }
    return cpuMsSince(start) / count;
  };
  let count = 1;
  for (let eachMs = 0, spentMs = 0; spentMs < 4 * batchMs; ) {
    eachMs = await batch(count);
    spentMs += eachMs * count;
    count = Math.max(1, Math.min(4 * count, Math.round(batchMs / eachMs)));
  }
  return async () => ({ cpuUs: (await batch(count)) * 1000 });
}

/** One SHA-256 over the bytes, base64, one AES with a key that is kept, UTF-8, one `JSON.parse`; nothing is checked. */
function floorTask({ rawBody }: SealedRequest): () => void {
  const bytes = Buffer.from(rawBody);
  const key = aesKey(keysEnv.ENCRYPT_KEY);
  return () => {
    hash("sha256", bytes);
    const blob = Buffer.from(bytes.toString("latin1", '{"encrypt":"'.length, bytes.length - '"}'.length), "base64");
    const decipher = createDecipheriv("aes-256-cbc", key, blob.subarray(0, 16)).setAutoPadding(false);
    const padded = decipher.update(blob.subarray(16));
    const message = JSON.parse(padded.toString("utf8", 0, padded.length - (padded.at(-1) ?? 0))) as object;
    if (!("event" in message)) throw new Error("the floor found no event");
  };
}

function ourTask(request: SealedRequest, nowMs: number): () => void {
  const keys = ring();
  return () => {
    if (openRequest(request, { keys, nowMs }).kind !== "event") throw new Error("we found no event");
  };
}

/** As the SDK's HTTP adapter does it, without its detection of challenges, which would decrypt a second time. */
function peerTask(request: SealedRequest): () => Promise<void> {
  const headers = Object.fromEntries(request.headers);
  const bytes = Buffer.from(request.rawBody);
  const heard = async () => "heard";
  const dispatcher = new EventDispatcher({
    encryptKey: keysEnv.ENCRYPT_KEY,
    verificationToken: keysEnv.VERIFICATION_TOKEN,
    loggerLevel: LoggerLevel.error,
  }).register({ "im.message.receive_v1": heard, "drive.file.bitable_record_changed_v1": heard });
  return async () => {
    const data = Object.assign(Object.create({ headers }), JSON.parse(bytes.toString("utf8")));
    if ((await dispatcher.invoke(data)) !== "heard") throw new Error("the SDK found no event");
  };
}
