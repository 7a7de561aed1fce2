import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { lanesOf } from "../../../infra/lanes.js";
import { type Project, readProject } from "../../../infra/project.js";
import { systemClock } from "../../clock.ts";
import { ConfigError } from "../../errors.ts";
import type { EventEnvelope, JobEnvelope } from "../../feishu/envelope.ts";
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
import { describeError } from "../../trace/error.ts";
import { toLine } from "../../trace/log.ts";
import { subscribe, type TraceEntry } from "../../trace/trace.ts";
import { generate } from "../handlers/generate.ts";
import { setVariables } from "../start/variables.ts";
import { readLocal } from "../state/target.ts";
import { defaultLane } from "./letters.ts";
import type { Place } from "./place.ts";

/** A call of the Open API that was recorded instead of sent. */
export interface RecordedCall {
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  /** Whether the simulated Open API knows the call. Another one was answered with success and without data. */
  readonly isKnown: boolean;
}

/** Work that was recorded instead of deferred. */
export interface RecordedWork {
  readonly payload: unknown;
  readonly delaySeconds: number;
}

export interface RunReport {
  /** `unhandled`: there is no handler of the type. */
  readonly verdict: "done" | "again" | "dead" | "unhandled";
  readonly delaySeconds?: number | undefined;
  readonly reason?: Death["reason"] | undefined;
  readonly lines: readonly Record<string, unknown>[];
  readonly calls: readonly RecordedCall[];
  readonly deferred: readonly RecordedWork[];
}

type Api = Pick<ApiOptions, "appId" | "appSecret" | "origin"> & Partial<Pick<ApiOptions, "proxyEnv">>;

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

/**
 * Runs today's handler with an event in this process, as the worker would, but without the ledger and the queues.
 * @param options.api The Open API to call; without it, a simulated one records what would be sent.
 * @param options.onEntry Called with each step, as the log has it.
 */
export async function runHere(
  envelope: EventEnvelope | JobEnvelope,
  options: { place: Place; lane: string; api: Api | undefined; onEntry: (entry: TraceEntry) => void },
): Promise<RunReport> {
  const { place, lane, api, onEntry } = options;
  const { root, stage } = place;
  const project = await readProject(root);
  const { resources, secrets: names } = project;
  const { timeoutSeconds, attempts: maxAttempts } = laneNamed(lane, project);
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
  const called = { ...(recorder?.api ?? (api as Api)), store, clock: systemClock, random: Math.random };
  const lines: Record<string, unknown>[] = [];
  const deferred: RecordedWork[] = [];
  const dispatch = dispatcher(events.events);
  let isUnhandled = false;
  let death: Death | undefined;
  const unsubscribe = subscribe("log", (entry) => {
    if (entry.stage === "unhandled") isUnhandled = true;
    lines.push(toLine(entry, describeError));
    onEntry(entry);
  });
  const leaks = ["unhandledRejection", "uncaughtException"] as const;
  for (const leak of leaks) process.on(leak, reportLeak);
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
        bury: async (given) => {
          death = given;
        },
      },
      {
        ...{ ledger, clock: systemClock, random: Math.random, maxAttempts, newOwner: randomUUID },
        dispatch,
        dispatchJob: jobDispatcher(dispatch, callbackDispatcher(callbacks.callbacks)),
        deferrals: {
          store: async ({ payload }, { delaySeconds }) => void deferred.push({ payload, delaySeconds }),
          maxDeferrals: Number.POSITIVE_INFINITY,
          deferForSeconds: Number.POSITIVE_INFINITY,
        },
        tools: toolMaker({ signer: appSigner(called.appSecret), api: called, secrets: async () => secrets }),
        remainingMs: () => endsAtMs - systemClock.nowMs(),
      },
    );
    const recorded = { lines, calls: recorder?.calls ?? [], deferred };
    if (isUnhandled) return { verdict: "unhandled", ...recorded };
    if (death !== undefined) return { verdict: "dead", reason: death.reason, ...recorded };
    if (verdict.kind === "retry") return { verdict: "again", delaySeconds: verdict.delaySeconds, ...recorded };
    return { verdict: "done", ...recorded };
  } finally {
    unsubscribe();
    for (const leak of leaks) process.off(leak, reportLeak);
    await recorder?.close();
  }
}

/** A lane that is no more has the numbers of the default one. */
function laneNamed(name: string, project: Project) {
  const lanes = lanesOf(project);
  const lane = lanes.find((one) => one.name === name) ?? lanes.find((one) => one.name === defaultLane);
  if (lane === undefined) throw new TypeError("Cannot run: there is no default lane");
  return lane;
}

/** An event of this machine must not reach the developer's AWS account: DynamoDB is that of a running `npm start`. */
function stayLocal({ stateFolder }: Place): void {
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
  const calls: RecordedCall[] = [];
  const problems: unknown[] = [];
  const newId = () => randomUUID().replaceAll("-", "");
  const onProblem = (problem: unknown) => void problems.push(problem);
  const simulated = openApi({ clock: systemClock, newId, apps: [{ kind: "self-built", appId, appSecret }], onProblem });
  await loadOwn(root, simulated);
  const server = await serve(async (request, signal) => {
    const { method, url, body, form } = request;
    const answer = await simulated.handle(request, signal);
    const isKnown = answer?.status !== 501;
    if (!url.startsWith("/open-apis/auth/")) {
      const fields = form === undefined ? undefined : JSON.stringify({ form: Object.keys(form) });
      calls.push({ method, path: url, body: body ?? fields, isKnown });
    }
    if (isKnown) return answer;
    return {
      status: 200,
      headers: { "Content-Type": "application/json; charset=utf-8" },
      body: JSON.stringify({ code: 0, msg: "success", data: {} }),
    };
  }, 0);
  return { api: { appId, appSecret: async () => appSecret, origin: server.url }, calls, close: server.close };
}
