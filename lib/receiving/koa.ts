import type { HttpOptions } from "./http.ts";
import { answerNode, isAt, type NodeRequest, type NodeResponse } from "./node.ts";

/** What is used of Koa's context. */
export interface KoaContext {
  readonly req: NodeRequest;
  readonly res: Pick<NodeResponse, "once">;
  readonly request: object;
  readonly path: string;
  status: number;
  body: unknown;
  set(headers: Record<string, string>): void;
}

const advice = "Mount the receiver before the body parser, or let that keep them: koaBody({ includeUnparsed: true })";

/**
 * Answers every request that it is given, as middleware of Koa or on a route of `@koa/router`, before or behind a body
 * parser that keeps the text.
 *
 * @param options.path Answer this path alone. Others go on to the next middleware.
 */
export function koa(receiver: HttpOptions, { path }: { readonly path?: string } = {}) {
  return async (context: KoaContext, next: () => Promise<unknown>): Promise<void> => {
    if (!isAt(path, context.path)) return void (await next());
    const { rawBody, body } = context.request as { readonly rawBody?: unknown; readonly body?: unknown };
    const answer = await answerNode(receiver, context.req, context.res, { kept: [rawBody, body], advice });
    context.status = answer.status;
    context.body = answer.body;
    context.set(answer.headers);
  };
}
