import type { HttpOptions } from "./http.ts";
import { answerNode, type NodeRequest, type NodeResponse } from "./node.ts";

type Answer = (request: { readonly raw: NodeRequest }, reply: FastifyReply) => Promise<unknown>;

interface FastifyReply {
  readonly raw: Pick<NodeResponse, "once">;
  code(status: number): FastifyReply;
  headers(headers: Record<string, string>): FastifyReply;
  send(body: string): unknown;
}

/** What is used of Fastify's instance. */
interface FastifyApp {
  route(options: { method: string[]; url: string; onRequest: Answer; handler: Answer }): unknown;
}

const advice = "Register the plugin before the one that reads bodies in an onRequest hook";

/**
 * A plugin of Fastify. It answers at the `prefix` that it is registered with and, without one, every request for which
 * there is no other route. OPTIONS is left to the host.
 */
export function fastify(receiver: HttpOptions) {
  return async (app: FastifyApp, { prefix = "/" }: { readonly prefix?: string }): Promise<void> => {
    const answer: Answer = async ({ raw }, reply) => {
      const { status, headers, body } = await answerNode(receiver, raw, reply.raw, { advice });
      return reply.code(status).headers(headers).send(body);
    };
    const method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    // Runs before Fastify reads the body, because its parsers keep no bytes.
    app.route({ method, url: prefix === "/" ? "*" : "/", onRequest: answer, handler: answer });
  };
}
