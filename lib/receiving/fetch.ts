import { noBody, readBody, refuseLostBody } from "./body.ts";
import { answerHttp, type HttpAnswer, type HttpOptions } from "./http.ts";

const advice = "Pass the request on before anything reads its body";

/** Answers every `Request` that it is given: a route handler of Hono or Next.js, `fetch` of `Bun.serve` and `Deno.serve`. */
export function fetchHandler(receiver: HttpOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    const { body, ...init } = await answerRequest(receiver, request);
    return new Response(body, init);
  };
}

async function answerRequest(receiver: HttpOptions, request: Request): Promise<HttpAnswer> {
  const startMs = receiver.clock.nowMs();
  const { method, headers } = request;
  if (method === "POST" && (request.bodyUsed || request.body?.locked)) return refuseLostBody(advice);
  const body = method === "POST" && request.body !== null ? await readBody(request.body, receiver.clock) : noBody;
  const get = (name: string) => headers.get(name) ?? undefined;
  return answerHttp({ method, path: "/", headers: { get }, startMs, sourceIp: undefined, ...body }, receiver);
}
