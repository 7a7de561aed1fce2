import { randomUUID } from "node:crypto";
import type { Context, SQSBatchResponse, SQSEvent } from "aws-lambda";
import { limits } from "../../../infra/limits.js";
import { systemClock } from "../../clock.ts";
import type { CallbackList, EventList } from "../../handler.ts";
import { callbackDispatcher, dispatcher, jobDispatcher, keepingTickets } from "../../handling/dispatcher.ts";
import { outliveLeaks } from "../../handling/run.ts";
import { consume } from "../../handling/worker.ts";
import { apiConfig } from "../../open-api/config.ts";
import { wholeNumber } from "../../settings/environment.ts";
import { startLogging } from "../../trace/log.ts";
import { publish } from "../../trace/trace.ts";
import { settle } from "../batch.ts";
import { workerConfig } from "../config.ts";
import { dynamoClient } from "../dynamodb.ts";
import { extraSecrets } from "../extra-secrets.ts";
import { secretSource } from "../keys.ts";
import { dynamoLedger } from "../ledger.ts";
import { sqsClient } from "../sqs.ts";
import { awsTools } from "../tools.ts";

export type WorkerHandler = (event: SQSEvent, context?: Partial<Context>) => Promise<SQSBatchResponse>;

interface WorkerOptions {
  readonly events: EventList;
  readonly callbacks: CallbackList;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * SQS in: decode → consume → which records failed.
 * @param options.events The generated list of `functions/events`.
 * @param options.callbacks The generated list of `functions/callbacks`, whose deferred work runs here.
 */
export async function worker({
  events = {},
  callbacks = {},
  env = process.env,
}: Partial<WorkerOptions> = {}): Promise<WorkerHandler> {
  startLogging(env);
  outliveLeaks();
  const prepared = await prepare({ events, callbacks, env }).catch((error: unknown) => {
    const message = error instanceof Error ? error.message : undefined;
    publish({ stage: "misconfigured", level: "error", facts: { message }, error });
    return { error };
  });
  return async (event, context) => {
    if ("error" in prepared) throw prepared.error;
    const { config, client, ports, maxReceives } = prepared;
    const startMs = systemClock.nowMs();
    // Lambda always gives the remaining time. A test without it has the whole time.
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
  };
}

async function prepare({ events, callbacks, env }: WorkerOptions) {
  const config = workerConfig(env);
  const { appId, ledgerTable: table } = config;
  const client = dynamoClient();
  const { appSecret, keys } = secretSource(config);
  const extra = extraSecrets(env);
  const api = apiConfig(env, appId);
  const { tools, keepTicket } = awsTools({ client, table, appSecret, api, secrets: extra.current });
  // Reads the stored secrets too, so that the first handler that needs one does not wait.
  await Promise.all([keys(), extra.load()]);
  return {
    config,
    client: sqsClient(),
    // The deployed stack and the local runtime set both from their limits.
    maxReceives: wholeNumber(env, "MAX_RECEIVE_COUNT") ?? limits.maxReceiveCount,
    ports: {
      tools,
      ledger: dynamoLedger(client, table),
      dispatch: keepTicket === undefined ? dispatcher(events) : keepingTickets(dispatcher(events), keepTicket),
      dispatchJob: jobDispatcher(callbackDispatcher(callbacks)),
      maxAttempts: wholeNumber(env, "MAX_ATTEMPTS") ?? limits.maxAttempts,
    },
  };
}
