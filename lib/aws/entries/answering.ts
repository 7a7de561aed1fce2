import { systemClock } from "../../clock.ts";
import type { HttpOptions } from "../../receiving/http.ts";
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
 * a fraction of one.
 */
export async function answering(
  { path }: { readonly path: string },
  prepare: () => Promise<Answering>,
): Promise<HttpHandler> {
  const options = { path, ...(await httpOptions(prepare)) };
  return (event, _context) => answerGateway(event, options);
}

/** Never rejects: with a wrong setting every request gets 503, and one log line says why. */
export async function httpOptions(prepare: () => Promise<Answering>): Promise<HttpOptions> {
  const clock = systemClock;
  try {
    const { ports, warnings, ...source } = await prepare();
    for (const message of warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
    return { ...source, clock, receive: (envelope, context) => receive(envelope, ports, context) };
  } catch (error) {
    publish({ stage: "misconfigured", level: "error", error });
    const fail = () => {
      throw error;
    };
    return { clock, keys: fail, receive: fail };
  }
}
