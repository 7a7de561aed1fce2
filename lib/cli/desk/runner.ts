import { randomUUID } from "node:crypto";
import { flushCompileCache } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { readProject } from "../../../infra/project.js";
import { systemClock } from "../../clock.ts";
import { ConfigError, LarkpostError } from "../../errors.ts";
import type { CallbackList, EventList } from "../../handler.ts";
import type { Death } from "../../handling/claims.ts";
import { callbackDispatcher, dispatcher, jobDispatcher } from "../../handling/dispatcher.ts";
import type { Ledger } from "../../handling/idempotency.ts";
import { reportLeak } from "../../handling/run.ts";
import { toolMaker } from "../../handling/tools.ts";
import { consume } from "../../handling/worker.ts";
import { tableName } from "../../local/tables.ts";
import type { ApiOptions } from "../../open-api/client.ts";
import { secretsFrom } from "../../secrets.ts";
import { appSigner } from "../../signed-value.ts";
import { openApi } from "../../simulator/open-api/open-api.ts";
import { loadOwn } from "../../simulator/open-api/own-answers.ts";
import { serve } from "../../simulator/open-api/server.ts";
import { randomId } from "../../simulator/samples/samples.ts";
import { describeError } from "../../trace/error.ts";
import { toLine } from "../../trace/log.ts";
import { subscribe } from "../../trace/trace.ts";
import { generate } from "../handlers/generate.ts";
import { engineRoot } from "../project.ts";
import { failureLines } from "../start/failure.ts";
import { setVariables } from "../start/variables.ts";
import { readLocal } from "../state/target.ts";
import type { RunApi, RunMessage, RunOrder, RunOutcome } from "./run.ts";
import { entryText } from "./run-text.ts";

// The program of the process in which `dead run` runs a handler. It says each step at once, because the handler may end
// it or block it.

const send = (message: RunMessage) => void process.send?.(message, () => {});

/** No store: the one run keeps its token. */
const store: ApiOptions["store"] = {
  read: async () => undefined,
  lease: async () => true,
  release: async () => {},
  write: async () => {},
};

/** Knows nothing and keeps nothing: the event's own rows stay as they are. It marks no death, so `onGiveUp` does not run. */
const ledger: Ledger = {
  claim: async () => ({ state: "claimed", run: 1 }),
  conclude: async (_key, _owner, { phase }) => phase !== "dead",
  withdraw: async () => true,
  storeReaction: async () => true,
};

/** Runs today's handler with an event in this process, as the worker would, but without the ledger and the queues. */
async function runHere({ envelope, place, lane, api }: RunOrder): Promise<RunOutcome> {
  const { root, stage } = place;
  const project = await readProject(root);
  const { resources, secrets: names } = project;
  const { timeoutSeconds, attempts: maxAttempts } = lane;
  setVariables(project, (table, variable) => {
    if (stage === undefined) return tableName(resources, table);
    throw new ConfigError(`Cannot run: ${variable} is not set. It is the name of the deployed stage's ${table}`);
  });
  if (stage === undefined) stayLocal(place);
  await generate({ root });
  const events = (await import(listUrl(root, "events"))) as { events: EventList };
  const callbacks = (await import(listUrl(root, "callbacks"))) as { callbacks: CallbackList };
  const recorder =
    api === undefined ? await startRecorder(envelope.app ?? envelope.receivedBy ?? "cli_unknown", root) : undefined;
  const { appSecret, ...target } = recorder?.api ?? (api as RunApi);
  const secret = async () => appSecret;
  const called = { ...target, appSecret: secret, store, clock: systemClock, random: Math.random };
  const dispatch = dispatcher(events.events);
  let isUnhandled = false;
  let death: Death | undefined;
  const unsubscribe = subscribe("log", (entry) => {
    if (entry.stage === "unhandled") isUnhandled = true;
    send({ line: toLine(entry, describeError), text: entryText(entry, root) });
  });
  const leaks = ["unhandledRejection", "uncaughtException"] as const;
  for (const leak of leaks) process.on(leak, reportLeak);
  send({ begins: true });
  const endsAtMs = systemClock.nowMs() + timeoutSeconds * 1000;
  const secrets = secretsFrom((name) => {
    const value = names.includes(name) ? process.env[name] : undefined;
    if (value !== undefined) return value;
    throw new ConfigError(`Cannot read the secret "${name}": it is not set here. Put it into .env`);
  });
  try {
    const verdict = await consume(
      envelope,
      {
        receives: 1,
        redrives: 0,
        bury: async (why) => {
          death = why;
        },
      },
      {
        ledger,
        clock: systemClock,
        random: Math.random,
        maxAttempts,
        newOwner: randomUUID,
        dispatch,
        dispatchJob: jobDispatcher(dispatch, callbackDispatcher(callbacks.callbacks)),
        deferrals: {
          store: async ({ payload }, { delaySeconds }) => send({ deferred: { payload, delaySeconds } }),
          maxDeferrals: Number.POSITIVE_INFINITY,
          deferForSeconds: Number.POSITIVE_INFINITY,
        },
        tools: toolMaker({ signer: appSigner(secret), api: called, secrets: async () => secrets }),
        remainingMs: () => endsAtMs - systemClock.nowMs(),
      },
    );
    if (isUnhandled) return { verdict: "unhandled" };
    if (death !== undefined) return { verdict: "dead", reason: death.reason };
    if (verdict.kind === "retry") return { verdict: "again", delaySeconds: verdict.delaySeconds };
    return { verdict: "done" };
  } finally {
    unsubscribe();
    for (const leak of leaks) process.off(leak, reportLeak);
    await recorder?.close();
  }
}

/** An event of this machine must not reach the developer's AWS account: DynamoDB is that of a running `npm start`. */
function stayLocal({ stateFolder }: RunOrder["place"]): void {
  const { dynamo, accessKeyId } = readLocal(join(stateFolder, "local.json"))?.services ?? {};
  for (const name of ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"]) delete process.env[name];
  Object.assign(process.env, {
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: accessKeyId ?? "local",
    AWS_SECRET_ACCESS_KEY: "local",
    AWS_ENDPOINT_URL_DYNAMODB: dynamo ?? "http://127.0.0.1:9",
  });
}

function listUrl(root: string, name: "events" | "callbacks"): string {
  return pathToFileURL(join(root, "functions", `${name}.gen.ts`)).href;
}

/** A simulated Open API on this machine that notes each call but those for a token. */
async function startRecorder(appId: string, root: string) {
  const appSecret = randomUUID();
  const problems: unknown[] = [];
  const onProblem = (problem: unknown) => void problems.push(problem);
  const simulated = openApi({
    clock: systemClock,
    newId: randomId,
    apps: [{ kind: "self-built", appId, appSecret }],
    onProblem,
  });
  await loadOwn(root, simulated);
  const server = await serve(async (request, signal) => {
    const { method, url, body, form } = request;
    const answer = await simulated.handle(request, signal);
    const isKnown = answer?.status !== 501;
    if (!url.startsWith("/open-apis/auth/")) {
      const fields = form === undefined ? undefined : JSON.stringify({ form: Object.keys(form) });
      send({ call: { method, path: url, body: body ?? fields, isKnown } });
    }
    if (isKnown) return answer;
    return {
      status: 200,
      headers: { "Content-Type": "application/json; charset=utf-8" },
      body: JSON.stringify({ code: 0, msg: "success", data: {} }),
    };
  }, 0);
  return { api: { appId, appSecret, origin: server.url }, close: server.close };
}

/** Where the process ends: the frames of `process.exit`, if the handler called it. */
function sayEnd(root: string): void {
  const { stack = "" } = new Error();
  const frames = stack.split("\n").slice(1);
  const lines = failureLines(frames.join("\n"), {
    root,
    engineFolder: join(engineRoot, "lib"),
    sourceOf: () => undefined,
  });
  if (lines.length > 0) send({ place: lines });
}

Error.stackTraceLimit = 30;
process.on("disconnect", () => process.exit());
process.once("message", (order: RunOrder) => {
  const onExit = () => sayEnd(order.place.root);
  process.once("exit", onExit);
  runHere(order)
    // Node would write its compile cache at exit, but the parent ends this process.
    .finally(flushCompileCache)
    .then(
      (outcome) => send({ outcome }),
      (error: unknown) =>
        send({ problem: error instanceof LarkpostError ? error.message : `Cannot run: ${(error as Error).stack}` }),
    )
    .finally(() => process.off("exit", onExit));
});
