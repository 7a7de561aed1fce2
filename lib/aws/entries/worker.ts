import { randomUUID } from "node:crypto";
import type { Context, SQSBatchResponse, SQSEvent } from "aws-lambda";
import { limits } from "../../../infra/limits.js";
import { systemClock } from "../../clock.ts";
import { callbackDispatcher, dispatcher, jobDispatcher, keepingTickets } from "../../handling/dispatcher.ts";
import { prepareProcess } from "../../handling/run.ts";
import { consume } from "../../handling/worker.ts";
import { apiConfig } from "../../open-api/config.ts";
import { wholeNumber } from "../../settings/environment.ts";
import { publish } from "../../trace/trace.ts";
import { settle } from "../batch.ts";
import { awsClient } from "../client.ts";
import { workerConfig } from "../config.ts";
import { dynamoLedger } from "../ledger.ts";
import { deferralsTo } from "../queues.ts";
import { awsTools } from "../tools.ts";
import type { EntryOptions } from "./options.ts";

// Each entry is bundled with this file alone.
export { fromSdk } from "../sdk.ts";

type WorkerHandler = (event: SQSEvent, context?: Partial<Context>) => Promise<SQSBatchResponse>;

/** SQS in: decode → consume → which records failed. Deferred work runs here too. */
export async function worker(options: EntryOptions = {}): Promise<WorkerHandler> {
  prepareProcess(options.env ?? process.env);
  const prepared = await prepare(options).catch((error: unknown) => {
    publish({ stage: "misconfigured", level: "error", error });
    return { error };
  });
  return async (event, context) => {
    if ("error" in prepared) throw prepared.error;
    // The console's test button sends `{}`, or a sample of another service.
    if (!Array.isArray(event?.Records)) {
      throw new TypeError(
        'Cannot handle the event: it is no SQS event, for it has no "Records". Push an event to the webhook instead',
      );
    }
    const { config, client, ports, numbers } = prepared;
    const startMs = systemClock.nowMs();
    // Lambda always gives the remaining time. A test without it has the whole time.
    const remainingMs = () =>
      context?.getRemainingTimeInMillis?.() ?? limits.workerTimeoutSeconds * 1000 - (systemClock.nowMs() - startMs);
    return settle(event.Records, {
      client,
      urls: config,
      appId: config.appId,
      random: ports.random,
      clock: ports.clock,
      ...numbers,
      consume: (envelope, delivery) => consume(envelope, delivery, { ...ports, remainingMs }),
    });
  };
}

async function prepare({ events = {}, callbacks = {}, env = process.env, aws }: EntryOptions) {
  const config = workerConfig(env);
  const client = aws ?? awsClient({ env });
  const { tools, keepTicket, load } = awsTools({ client, config, api: apiConfig(env, config.appId), env });
  await Promise.all([load(), client.connect(["dynamodb", "sqs"])]);
  const dispatch = keepTicket === undefined ? dispatcher(events) : keepingTickets(dispatcher(events), keepTicket);
  return {
    config,
    client,
    // The deployed stack and the local runtime set these from their limits, for each lane's worker.
    numbers: {
      maxReceives: wholeNumber(env, "MAX_RECEIVE_COUNT") ?? limits.maxReceiveCount,
      maxAgeSeconds: wholeNumber(env, "MAX_AGE_SECONDS"),
      holdSeconds: wholeNumber(env, "HOLD_SECONDS"),
    },
    ports: {
      clock: systemClock,
      random: Math.random,
      newOwner: randomUUID,
      tools,
      ledger: dynamoLedger(client, config.ledgerTable),
      dispatch,
      dispatchJob: jobDispatcher(dispatch, callbackDispatcher(callbacks)),
      deferrals: deferralsTo(client, config),
      maxAttempts: wholeNumber(env, "MAX_ATTEMPTS") ?? limits.maxAttempts,
    },
  };
}
