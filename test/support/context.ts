import { randomUUID } from "node:crypto";
import { find } from "../../lib/cli/catalogue.ts";
import { classify } from "../../lib/feishu/classify.ts";
import type { Context, EventOf, EventType, LogFields } from "../../lib/handler.ts";
import { sampleText } from "../../lib/simulator/samples.ts";

/** One line that a handler logged. */
export interface LoggedLine {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

/**
 * A sample event of a type, and the context that a handler gets with it: what `npm run send` would
 * push, as the worker would hand it over. Each call is another event.
 */
export function contextFor<T extends EventType>(
  type: T,
): { event: EventOf<T>; context: Context; logged: LoggedLine[] } {
  const message = classify(
    sampleText(type, {
      nowMs: Date.now(),
      appId: "cli_0123456789abcdef",
      newId: () => randomUUID().replaceAll("-", ""),
      schema: find(type)?.version,
    }),
  );
  if (message.kind !== "event") throw new Error(`Cannot make a context: "${type}" is not the type of an event`);
  const logged: LoggedLine[] = [];
  const write =
    (level: LoggedLine["level"]) =>
    (text: string, fields: LogFields = {}) =>
      void logged.push({ level, message: text, fields });
  const { id, app, tenant, schema, header, createdAtMs, text: raw } = message;
  const context: Context = {
    id,
    type,
    app,
    tenant,
    schema,
    header,
    createdAtMs,
    requestId: null,
    transport: "webhook",
    attempt: 1,
    signal: new AbortController().signal,
    log: { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
    raw,
    sign: async (text) => `signed:${text}`,
  };
  return { event: message.event as EventOf<T>, context, logged };
}
