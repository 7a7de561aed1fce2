import type { Context, LogFields } from "../handler.ts";
import { type Level, publish } from "../trace/trace.ts";
import type { Run } from "./run.ts";
import type { RunTools } from "./tools.ts";

/** The context that a handler gets with an event, a callback or deferred work. `defer` and `react` belong to the run, and are added. */
export function contextOf(
  { envelope, signal, remainingMs }: Run,
  { attempt, tools: { updateCard, reactions: _, ...tools } }: { attempt: number; tools: RunTools },
): Omit<Context, "defer" | "react"> {
  const { id, type, app, tenant, schema, header, createdAtMs, requestId, transport, text: raw } = envelope;
  const log = (level: Level) => (message: string, fields?: LogFields) =>
    publish({ stage: "log", level, id, type, app, requestId, facts: { ...fields, message } });
  return {
    ...tools,
    id,
    type,
    app,
    tenant,
    schema,
    header,
    createdAtMs,
    requestId,
    transport,
    attempt,
    signal,
    remainingMs,
    raw,
    log: { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
    ...deferredMembers(envelope, updateCard),
  };
}

function deferredMembers(envelope: Run["envelope"], updateCard: RunTools["updateCard"]) {
  if (envelope.kind !== "job") return undefined;
  const { of, event, depth, chainStartedAtMs } = envelope;
  const origin = of === "event" ? { event } : { callback: event, updateCard };
  return { ...origin, depth, chainStartedAtMs };
}
