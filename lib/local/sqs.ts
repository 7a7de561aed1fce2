import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** A request without a connection, for what is not about connections: it takes an eighth of the CPU. */
export type Exchange = (
  headers: IncomingHttpHeaders,
  body: Buffer,
) => Promise<{ status: number; headers: OutgoingHttpHeaders; body: Buffer }>;

/** SQS in memory, on 127.0.0.1, for tests. `embedded.ts` runs one that keeps its messages. */
export async function startSqs(): Promise<{ endpoint: string; exchange: Exchange; stop: () => Promise<void> }> {
  // Loaded here, because `npm start` needs the names below and runs its services in another process.
  const { buildApp } = await import("fauxqs");
  const app = buildApp({ logger: false });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    async exchange(given, payload) {
      // A length that was given may be that of another body.
      const headers = { ...given, "content-length": String(payload.length) };
      const answer = await app.inject({ method: "POST", url: "/", headers, payload });
      return { status: answer.statusCode, headers: answer.headers, body: answer.rawPayload };
    },
    stop: () => app.close(),
  };
}

/** A queue's URL at an embedded SQS. The URL in CreateQueue's answer has a host name that may not resolve. */
export function queueUrl(endpoint: string, name: string): string {
  return `${endpoint}/000000000000/${name}`;
}

export function queueArn(name: string, region: string): string {
  return `arn:aws:sqs:${region}:000000000000:${name}`;
}
