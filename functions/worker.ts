import { randomUUID } from "node:crypto";
import type { Context, SQSBatchResponse, SQSEvent } from "aws-lambda";
import { limits } from "../infra/limits.js";
import { wholeNumber, workerConfig } from "../lib/aws/config.ts";
import { awsServices } from "../lib/aws/handler-services.ts";
import { secretSource } from "../lib/aws/keys.ts";
import { dynamoClient, dynamoLedger } from "../lib/aws/ledger.ts";
import { settle, sqsClient } from "../lib/aws/queue.ts";
import { systemClock } from "../lib/clock.ts";
import { callbackDispatcher, dispatcher, jobDispatcher, keepingTickets } from "../lib/handling/dispatcher.ts";
import { outliveLeaks } from "../lib/handling/run.ts";
import { consume } from "../lib/handling/worker.ts";
import { apiConfig } from "../lib/open-api/config.ts";
import { startLogging } from "../lib/trace/log.ts";
import { publish } from "../lib/trace/trace.ts";
import { callbacks } from "./callbacks.gen.ts";
import { events } from "./events.gen.ts";

// SQS in: decode → consume → which records failed.

startLogging(process.env);
outliveLeaks();

const start = configure();

export async function handler(event: SQSEvent, context?: Partial<Context>): Promise<SQSBatchResponse> {
  if ("error" in start) throw start.error;
  const { config, client, ports, maxReceives } = start;
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
    clock: systemClock,
    maxReceives,
    consume: (envelope, delivery) =>
      consume(envelope, delivery, { ...ports, random, remainingMs, clock: systemClock, newOwner: randomUUID }),
  });
}

function configure() {
  try {
    const config = workerConfig(process.env);
    const { appId, ledgerTable } = config;
    const dynamo = dynamoClient();
    const { appSecret } = secretSource(config);
    const api = apiConfig(process.env, appId);
    const { services, keepTicket } = awsServices({ client: dynamo, table: ledgerTable, appSecret, api });
    return {
      config,
      client: sqsClient(),
      // The deployed stack and the local runtime set both from their limits; without them, they are the file's own.
      maxReceives: wholeNumber(process.env, "MAX_RECEIVE_COUNT") ?? limits.maxReceiveCount,
      ports: {
        services,
        ledger: dynamoLedger(dynamo, ledgerTable),
        dispatch: keepTicket === undefined ? dispatcher(events) : keepingTickets(dispatcher(events), keepTicket),
        dispatchJob: jobDispatcher(callbackDispatcher(callbacks)),
        maxAttempts: wholeNumber(process.env, "MAX_ATTEMPTS") ?? limits.maxAttempts,
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
