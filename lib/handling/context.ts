import type { Context, LogFields, Services } from "../handler.ts";
import { type Level, publish } from "../trace/trace.ts";
import type { Handled } from "./run.ts";

/** What a handler knows of what it handles. */
export function contextOf(
  envelope: Handled,
  { attempt, signal, services }: { attempt: number; signal: AbortSignal; services: Services },
): Context {
  const { id, type, app, tenant, schema, header, createdAtMs, requestId, transport, text: raw } = envelope;
  const log = (level: Level) => (message: string, fields?: LogFields) =>
    publish({ stage: "log", level, id, type, app, requestId, facts: { ...fields, message } });
  return {
    ...services,
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
