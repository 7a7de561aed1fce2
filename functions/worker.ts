import { randomUUID } from "node:crypto";
import type { Context, SQSBatchResponse, SQSEvent } from "aws-lambda";
import { limits } from "../infra/limits.js";
import { secretSource } from "../lib/aws/keys.ts";
import { dynamoClient, dynamoLedger } from "../lib/aws/ledger.ts";
import { settle, sqsClient } from "../lib/aws/queue.ts";
import { appSigner } from "../lib/card-value.ts";
import { systemClock } from "../lib/clock.ts";
import { wholeNumber, workerConfig } from "../lib/config.ts";
import { callbackDispatcher, dispatcher, jobDispatcher } from "../lib/dispatcher.ts";
import { startLogging } from "../lib/log.ts";
import { reportLeak } from "../lib/run.ts";
import { publish } from "../lib/trace.ts";
import { consume } from "../lib/worker.ts";
import { callbacks } from "./callbacks.gen.ts";
import { events } from "./events.gen.ts";

// SQS in: decode → consume → which records failed.

startLogging(process.env);
// The runtime would end the process for a promise that some handler dropped, and fail whichever event is next.
process.removeAllListeners("unhandledRejection").on("unhandledRejection", reportLeak);

const start = configure();

export async function handler(event: SQSEvent, context?: Partial<Context>): Promise<SQSBatchResponse> {
  if ("error" in start) throw start.error;
  const { config, client, ports } = start;
  const startMs = systemClock.nowMs();
  // Lambda always says; a test that does not has the whole time.
  const remainingMs = () =>
    context?.getRemainingTimeInMillis?.() ?? limits.workerTimeoutSeconds * 1000 - (systemClock.nowMs() - startMs);
  const { random } = Math;
  return settle(event.Records, {
    client,
    urls: config,
    appId: config.appId,
    random,
    consume: (envelope, delivery) =>
      consume(envelope, delivery, {
        ...ports,
        ...{ random, remainingMs },
        clock: systemClock,
        newOwner: randomUUID,
      }),
  });
}

function configure() {
  try {
    const config = workerConfig(process.env);
    return {
      config,
      client: sqsClient(),
      ports: {
        ledger: dynamoLedger(dynamoClient(), config.ledgerTable),
        dispatch: dispatcher(events),
        dispatchJob: jobDispatcher(callbackDispatcher(callbacks)),
        services: { sign: appSigner(secretSource(config).appSecret).sign },
        // The deployed stack and the local runtime set it from their limits; without them, it is the file's own.
        maxAttempts: wholeNumber(process.env, "MAX_RECEIVE_COUNT") ?? limits.maxReceiveCount,
      },
    };
  } catch (error) {
    publish({
      stage: "misconfigured",
      level: "error",
      facts: { message: error instanceof Error ? error.message : undefined },
      error,
    });
    return { error };
  }
}
