import { buildApp } from "fauxqs";

/** An SQS on its own wire protocol, on loopback, in memory: for tests. Its durable sibling is `services.ts`. */
export async function startSqs(): Promise<{ endpoint: string; stop: () => Promise<void> }> {
  const app = buildApp({ logger: false });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { endpoint: `http://127.0.0.1:${port}`, stop: () => app.close() };
}

/** The queue's URL at an embedded SQS. The one that CreateQueue answers has a host name that need not resolve. */
export function queueUrl(endpoint: string, name: string): string {
  return `${endpoint}/000000000000/${name}`;
}

export function queueArn(name: string, region: string): string {
  return `arn:aws:sqs:${region}:000000000000:${name}`;
}
