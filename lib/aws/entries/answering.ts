import { systemClock } from "../../clock.ts";
import { type ReceiverPorts, receive } from "../../receiving/receiver.ts";
import { publish } from "../../trace/trace.ts";
import { answerGateway, type HttpResponse } from "../gateway.ts";
import type { KeySource } from "../secrets.ts";

/** A Lambda function behind API Gateway, a Function URL or a load balancer. */
export type HttpHandler = (event: unknown, context?: unknown) => Promise<HttpResponse>;

export interface Answering extends KeySource {
  readonly ports: ReceiverPorts;
  readonly warnings: readonly string[];
  /** How long an answer may take; `answerHttp` has a default. */
  readonly withinMs?: number;
}

/**
 * A function that answers HTTP. It prepares while it loads, since Lambda gives loading a whole CPU and the first request
 * a fraction of one. Loading never throws: with a wrong setting every request gets 503, and one log line says why.
 */
export async function answering(
  options: { readonly path: string },
  prepare: () => Promise<Answering>,
): Promise<HttpHandler> {
  const prepared = await prepare().catch((error: unknown) => {
    publish({ stage: "misconfigured", level: "error", error });
    return { error };
  });
  if ("error" in prepared) {
    const fail = () => {
      throw prepared.error;
    };
    return (event, _context) => answerGateway(event, { ...options, clock: systemClock, keys: fail, receive: fail });
  }
  const { ports, warnings, ...source } = prepared;
  for (const message of warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
  return (event, _context) =>
    answerGateway(event, {
      ...options,
      ...source,
      clock: systemClock,
      receive: (envelope, context) => receive(envelope, ports, context),
    });
}
