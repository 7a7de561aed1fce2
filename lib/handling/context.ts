import type { Context, LogFields, Tools } from "../handler.ts";
import { type Level, publish } from "../trace/trace.ts";
import type { Run } from "./run.ts";

/** The context that a handler gets with an event, a callback or deferred work. */
export function contextOf(
  envelope: Run["envelope"],
  { attempt, signal, tools }: { attempt: number; signal: AbortSignal; tools: Tools },
): Context {
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
    raw,
    log: { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
  };
}
