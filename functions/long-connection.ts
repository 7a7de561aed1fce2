import { randomUUID } from "node:crypto";
import { dynamoAnswers } from "../lib/aws/answers.ts";
import { awsServices } from "../lib/aws/handler-services.ts";
import { secretSource } from "../lib/aws/keys.ts";
import { dynamoClient } from "../lib/aws/ledger.ts";
import { longConnectionConfig } from "../lib/aws/long-connection-config.ts";
import { deferTo, receiverQueues, sqsClient } from "../lib/aws/queue.ts";
import { systemClock } from "../lib/clock.ts";
import { ConfigError, LongConnectionError } from "../lib/errors.ts";
import { answerCallback, callbackTryMs } from "../lib/handling/callback.ts";
import { callbackDispatcher } from "../lib/handling/dispatcher.ts";
import { outliveLeaks } from "../lib/handling/run.ts";
import { serveHealth } from "../lib/long-connection/health.ts";
import { startHeartbeat } from "../lib/long-connection/heartbeat.ts";
import { longConnection } from "../lib/long-connection/session.ts";
import { startLogging } from "../lib/trace/log.ts";
import { publish } from "../lib/trace/trace.ts";
import { callbacks } from "./callbacks.gen.ts";

// A process, not a Lambda: frame → receive → the answer's frame. It dials out, so it needs no public address.

startLogging(process.env);
outliveLeaks();

try {
  const config = longConnectionConfig(process.env);
  startHeartbeat(process.env);
  const client = sqsClient();
  const secrets = secretSource(config);
  const dynamo = dynamoClient({ tryMs: callbackTryMs });
  const { api, ledgerTable: table } = config;
  const { signer, services } = awsServices({ client: dynamo, table, appSecret: secrets.appSecret, api });
  const ports = {
    ...{ signer, services },
    dispatch: callbackDispatcher(callbacks),
    answers: dynamoAnswers(dynamo, table),
    defer: deferTo(client, config.eventsQueueUrl),
    clock: systemClock,
    newOwner: randomUUID,
    deadlineMs: config.deadlineMs,
  };
  let isConnected = false;
  const connection = longConnection({
    origin: api.origin,
    appId: config.appId,
    appSecret: await secrets.appSecret(),
    ports: {
      ...receiverQueues(client, config),
      callback: (envelope, context) => answerCallback(envelope, ports, context),
    },
    clock: systemClock,
    random: Math.random,
    onConnected(now) {
      isConnected = now;
      // Told to whoever started this as a child, if it still listens.
      if (process.connected) process.send?.({ isConnected }, undefined, undefined, () => {});
    },
  });
  if (config.healthPort !== undefined) await serveHealth(config.healthPort, () => isConnected);
  // Somebody's first click does not wait for its handler's file. A failure is told then.
  await Promise.all(Object.values(callbacks).map((load) => load().catch(() => {})));
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => void connection.stop());

  await connection.start();
  // What a handler left open, a timer for one, must not keep the process.
  process.exit(0);
} catch (error) {
  const isOurs = error instanceof ConfigError || error instanceof LongConnectionError;
  const facts = { message: isOurs ? error.message : undefined };
  publish({ stage: "misconfigured", level: "error", facts, error });
  process.exit(1);
}
