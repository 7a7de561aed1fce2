import { randomUUID } from "node:crypto";
import { dynamoAnswers } from "../lib/aws/answers.ts";
import { callbackConfig } from "../lib/aws/config.ts";
import { awsServices } from "../lib/aws/handler-services.ts";
import { type KeySource, secretSource } from "../lib/aws/keys.ts";
import { dynamoClient } from "../lib/aws/ledger.ts";
import { deferTo, receiverQueues, rehearse, sqsClient } from "../lib/aws/queue.ts";
import { systemClock, within } from "../lib/clock.ts";
import { ConfigError } from "../lib/errors.ts";
import { defaultApp } from "../lib/feishu/keys.ts";
import { answerCallback, callbackTryMs } from "../lib/handling/callback.ts";
import { callbackDispatcher } from "../lib/handling/dispatcher.ts";
import { outliveLeaks } from "../lib/handling/run.ts";
import { apiConfig } from "../lib/open-api/config.ts";
import { answerHttp, type HttpResponse } from "../lib/receiving/http.ts";
import { type ReceiverPorts, receive } from "../lib/receiving/receiver.ts";
import { startLogging } from "../lib/trace/log.ts";
import { publish } from "../lib/trace/trace.ts";
import { callbacks } from "./callbacks.gen.ts";

// HTTP in, for callbacks: open → receive → the handler's answer. User code runs here, so it is a function of its own.

startLogging(process.env);
outliveLeaks();

/** What handlers' files may take to load before the function starts without them. */
const loadWithinMs = 2_000;
const start = await prepare();

/** What the answer may take behind the handler's deadline. */
const graceMs = 200;

export async function handler(event: unknown, _context?: unknown): Promise<HttpResponse> {
  return answerHttp(event, {
    clock: systemClock,
    path: "/callback",
    ...("error" in start ? {} : { withinMs: start.deadlineMs + graceMs }),
    keys: () => prepared().current(),
    renewedKeys: "error" in start ? undefined : start.renewed,
    receive: (envelope, context) => receive(envelope, prepared().ports, context),
  });
}

interface Prepared extends KeySource {
  readonly ports: ReceiverPorts;
  readonly deadlineMs: number;
}

function prepared(): Prepared {
  if ("error" in start) throw start.error;
  return start;
}

async function prepare(): Promise<Prepared | { readonly error: unknown }> {
  try {
    const config = callbackConfig(process.env);
    for (const message of config.warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    const secrets = secretSource(config);
    const client = sqsClient();
    const { deadlineMs, eventsQueueUrl, ledgerTable } = config;
    const dynamo = dynamoClient({ tryMs: callbackTryMs });
    const { appSecret } = secrets;
    const api = apiConfig(process.env, config.keys.get(defaultApp)?.appId ?? config.stored?.appId);
    const { signer, services } = awsServices({ client: dynamo, table: ledgerTable, appSecret, api });
    const ports = {
      ...{ signer, services },
      dispatch: callbackDispatcher(callbacks),
      answers: dynamoAnswers(dynamo, ledgerTable),
      defer: deferTo(client, eventsQueueUrl),
      clock: systemClock,
      newOwner: randomUUID,
      deadlineMs,
    };
    const [keys] = await Promise.all([secrets.keys(), rehearse(client, eventsQueueUrl), loaded()]);
    return {
      ...keys,
      deadlineMs,
      ports: {
        ...receiverQueues(client, config),
        callback: (envelope, context) => answerCallback(envelope, ports, context),
      },
    };
  } catch (error) {
    const message = error instanceof ConfigError ? error.message : undefined;
    publish({ stage: "misconfigured", level: "error", facts: { message }, error });
    return { error };
  }
}

/**
 * Loads the handlers' files: now there is a whole CPU, and a fraction of one when somebody clicks. One that fails is
 * told then, and one that never ends loading makes its own callbacks late, not everybody's.
 */
async function loaded(): Promise<void> {
  const files = Object.values(callbacks).map((load) => load().catch(() => {}));
  const late = () => new Error("Cannot load the handlers in time");
  await within(systemClock, loadWithinMs, late, () => Promise.all(files)).catch(() => {});
}
