import { type Clock, withDeadline } from "../clock.ts";
import { UnauthenticatedError } from "../errors.ts";
import { publish } from "../trace/trace.ts";
import { bodyLimitBytes, type HttpAnswer, type HttpRequest, toHttpAnswer } from "./http.ts";

/** The part of the answer's time that a body may take. The rest is for the queue. */
export const bodyWithinMs = 1_500;

export type Body = Pick<HttpRequest, "bodyBytes" | "rawBody">;

export const noBody: Body = { bodyBytes: 0, rawBody: () => "" };

/**
 * Reads a body to its end, for at most {@link bodyWithinMs}. Over the limit, it counts the bytes and keeps none.
 * Never rejects: what came late or only in part is refused when its bytes are asked for.
 */
export async function readBody(chunks: AsyncIterable<Uint8Array>, clock: Clock): Promise<Body> {
  const parts: Uint8Array[] = [];
  let bodyBytes = 0;
  const late = () => new UnauthenticatedError("malformed", `Cannot read the body: no end came in ${bodyWithinMs} ms`);
  try {
    await withDeadline(clock, { ms: bodyWithinMs, error: late }, async (signal) => {
      for await (const part of chunks) {
        // The answer is out, so nothing more may be kept.
        signal.throwIfAborted();
        bodyBytes += part.byteLength;
        if (bodyBytes > bodyLimitBytes) parts.length = 0;
        else parts.push(part);
      }
    });
    return { bodyBytes, rawBody: () => Buffer.concat(parts) };
  } catch (cause) {
    const cut = new UnauthenticatedError("malformed", "Cannot read the body: the sender cut it off", { cause });
    const rawBody = () => {
      throw cause instanceof UnauthenticatedError ? cause : cut;
    };
    return { bodyBytes, rawBody };
  }
}

/** The body as a parser in front has left it: bytes, or the text that stands for them. No parsed object is. */
export function keptBody(places: readonly unknown[]): Body | undefined {
  for (const rawBody of places) {
    if (typeof rawBody !== "string" && !(rawBody instanceof Uint8Array)) continue;
    return { bodyBytes: Buffer.byteLength(rawBody), rawBody: () => rawBody };
  }
  return undefined;
}

/** The answer where somebody in front has read the body and kept no bytes: no request can be verified. */
export function refuseLostBody(advice: string): HttpAnswer {
  const message = `Cannot verify the request: its body was read before, and its bytes were not kept. ${advice}`;
  publish({ stage: "misconfigured", level: "error", facts: { message } });
  return toHttpAnswer({ status: 503, body: { error: message } });
}
