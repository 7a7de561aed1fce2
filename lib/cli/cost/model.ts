import type { Prices } from "../../../infra/prices.js";
import type { Project } from "../../../infra/project.js";

/** What one event uses. Times are those of warm functions at 512 MB, which mostly wait for SQS and DynamoDB. */
export const use = {
  webhookMs: 15,
  /** An invocation takes `workerMs`, and `recordMs` more for each record. Without the ledger it takes `recordMs` alone. */
  workerMs: 24,
  recordMs: 1,
  /** The ledger's two writes, and its item with DynamoDB's own 100 bytes, until it is deleted. */
  writes: 2,
  itemBytes: 330,
  itemMonths: 36 / 30.4,
  /** CloudWatch counts 26 bytes more for each line. `access` is the HTTP API's access log. */
  lineBytes: { queued: 217, started: 229, handled: 231, access: 203 },
};

export const fronts = ["httpApi", "functionUrl", "longConnection"] as const;

export interface Usage {
  readonly events: number;
  readonly handlerMs: number;
  readonly front: (typeof fronts)[number];
  readonly dedupe: "required" | "off";
  /** As in larkpost.config.js; 1 unless given. */
  readonly logSampleRate?: number;
  /** How many records a worker invocation has. */
  readonly batch: number;
  readonly prices: Prices;
  readonly limits: Pick<Project["limits"], "webhookMemoryMb" | "workerMemoryMb" | "logRetentionDays">;
}

/** What events of up to 64 KB cost that succeed at once. */
interface Bill {
  /** Without the time of your handlers. */
  readonly parts: Readonly<Record<string, number>>;
  readonly sum: number;
  readonly handlers: number;
}

export function billOf({ events, handlerMs, front, dedupe, logSampleRate = 1, batch, prices, limits }: Usage): Bill {
  const millions = events / 1e6;
  const batches = millions / batch;
  const pushes = front === "longConnection" ? 0 : millions;
  const isHttpApi = front === "httpApi";
  const hasLedger = dedupe === "required";
  const functionTime = (count: number, ms: number, memoryMb: number) =>
    count * ms * 1000 * (memoryMb / 1024) * prices.functionSecond;
  const workerMs = (hasLedger ? use.workerMs : 0) + use.recordMs * batch;
  const gb = (bytes: number) => (millions * bytes) / 1000;
  const { queued, started, handled, access } = use.lineBytes;
  const logged = gb((queued + handled) * logSampleRate + started + (isHttpApi ? access : 0));
  const parts = {
    ...(isHttpApi ? { "HTTP API: requests": millions * prices.httpApiRequests } : undefined),
    "Lambda: invocations": (pushes + batches) * prices.invocations,
    "Lambda: time":
      functionTime(pushes, use.webhookMs, limits.webhookMemoryMb) +
      functionTime(batches, workerMs, limits.workerMemoryMb),
    // Sent one by one; received and deleted by the batch.
    "SQS: send, receive, delete": (millions + 2 * batches) * prices.queueRequests,
    ...(hasLedger
      ? {
          "DynamoDB: claim, complete": millions * use.writes * prices.tableWrites,
          "DynamoDB: storage, recovery":
            gb(use.itemBytes) * use.itemMonths * (prices.tableMonth + prices.recoveryMonth),
        }
      : undefined),
    // Stored lines are compressed, to about 15 %.
    "CloudWatch: logs": logged * (prices.logged + 0.15 * prices.logMonth * (limits.logRetentionDays / 30.4)),
  };
  const sum = Object.values(parts).reduce((total, part) => total + part, 0);
  return { parts, sum, handlers: functionTime(batches, handlerMs, limits.workerMemoryMb) };
}
