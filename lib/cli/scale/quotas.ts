import { batchesPerPoller } from "../../../infra/limits.js";
import { use } from "../cost/model.ts";

/** When the quotas were looked up, on the page beside each. */
export const quotasOf = "2026-11-28";

/** What AWS allows an account in a region unless it is asked for more. Rates are per second. */
export interface Quotas {
  /** Requests a second, and at once, of all HTTP APIs. https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html */
  readonly gatewayRate: number;
  readonly gatewayBurst: number;
  /** Invocations at once. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
  readonly concurrency: number;
  /** Requests a second of a function, for each of its invocations at once. The same page. */
  readonly requestsPerConcurrency: number;
  /** New instances of a function: 1,000 in 10 s, never saved up. https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html */
  readonly startBurst: number;
  readonly startRate: number;
  /** The mapping's batches at once: the first, more a second, the most. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html */
  readonly mappingFirst: number;
  readonly mappingGrowth: number;
  readonly mappingMost: number;
  /** The same growth with provisioned pollers, and what each poller does. https://aws.amazon.com/blogs/aws/aws-lambda-enhances-sqs-processing-with-new-provisioned-mode-3x-faster-scaling-16x-higher-capacity */
  readonly pollerGrowth: number;
  readonly batchesPerPoller: number;
  /** Ten calls, each with up to ten records. */
  readonly recordsPerPoller: number;
  /** Received and not deleted. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html */
  readonly inFlight: number;
  /** Writes of a new on-demand table, 1,000 a partition. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html */
  readonly tableWrites: number;
  readonly partitionWrites: number;
  /** A table doubles its earlier peak in 30 minutes. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html */
  readonly tableDoublesSeconds: number;
  /** Units a second of one table. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html */
  readonly tableMost: number;
  /** Reads of parameters; 10,000 after `npm run secrets -- throughput --on`. https://docs.aws.amazon.com/general/latest/gr/ssm.html */
  readonly parameterReads: number;
  /** Decryptions. The least of all regions. https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html */
  readonly keyUses: number;
  /** Calls that store log lines. https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html */
  readonly logCalls: number;
}

export const quotas: Quotas = {
  gatewayRate: 10_000,
  gatewayBurst: 5_000,
  concurrency: 1_000,
  requestsPerConcurrency: 10,
  startBurst: 1_000,
  startRate: 100,
  mappingFirst: 5,
  mappingGrowth: 300 / 60,
  mappingMost: 1_250,
  pollerGrowth: 1_000 / 60,
  batchesPerPoller,
  recordsPerPoller: 100,
  inFlight: 120_000,
  tableWrites: 4_000,
  partitionWrites: 1_000,
  tableDoublesSeconds: 30 * 60,
  tableMost: 40_000,
  parameterReads: 40,
  keyUses: 10_000,
  logCalls: 5_000,
};

/** Parameter Store's reads a second at high throughput. */
export const highParameterReads = 10_000;

/**
 * CPU that `npm run bench` measured on 2026-11-28 (Node 24, two cores): of a warm request, of each record in a batch of ten
 * with the ledger, and of a cold start until its first answer.
 */
const measured = { requestCpuMs: 1.1, recordCpuMs: 2, coldCpuMs: 164 };
/** The memory at which Lambda gives one CPU. https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html */
const wholeCpuMb = 1_769;
/** The memory for which lib/cli/cost/model.ts has its times. */
const costMb = 512;
/** Until Lambda has an environment in which loading begins. An estimate: AWS promises nothing. */
const environmentMs = 200;

/** Seconds that the parts of an event take, with the CPU that the memory brings. Loading has a whole CPU. */
export interface Times {
  readonly request: number;
  readonly batch: number;
  readonly record: number;
  readonly start: number;
}

export function timesOf(limits: { webhookMemoryMb: number; workerMemoryMb: number }): Times {
  const slower = (memoryMb: number) => wholeCpuMb / memoryMb;
  const requestMs = use.webhookMs + measured.requestCpuMs * (slower(limits.webhookMemoryMb) - slower(costMb));
  return {
    request: requestMs / 1000,
    batch: use.workerMs / 1000,
    record: (measured.recordCpuMs * slower(limits.workerMemoryMb)) / 1000,
    start: (environmentMs + measured.coldCpuMs) / 1000,
  };
}
