import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { http } from "../node-http.ts";

/** A request to an embedded service, and its answer. Without a connection it takes an eighth of the CPU. */
export type Exchange = (
  headers: IncomingHttpHeaders,
  body: Buffer,
) => Promise<{ status: number; headers: OutgoingHttpHeaders; body: Buffer }>;

/** Exchanges over HTTP, on connections that are kept. AWS's JSON protocols send every call to the path `/`. */
export function exchangeOver(endpoint: string): { exchange: Exchange; destroy: () => void } {
  const { hostname, port, host } = new URL(endpoint);
  const agent = new http.Agent({ keepAlive: true });
  return {
    exchange: (headers, body) =>
      new Promise((resolve, reject) => {
        const request = http.request(
          { hostname, port, agent, method: "POST", headers: { ...headers, host, "content-length": body.length } },
          (answer) => {
            const chunks: Buffer[] = [];
            answer.on("data", (chunk: Buffer) => chunks.push(chunk));
            answer.on("error", reject);
            answer.on("end", () => {
              resolve({ status: answer.statusCode ?? 502, headers: answer.headers, body: Buffer.concat(chunks) });
            });
          },
        );
        request.on("error", reject);
        request.end(body);
      }),
    destroy: () => agent.destroy(),
  };
}

/**
 * One call of an embedded service. None checks the signature, and each looks for the access key.
 * @param target As `AmazonSQS.SendMessage`.
 * @throws An error of AWS's name.
 */
export async function callService<Output>(
  exchange: Exchange,
  target: string,
  input: object,
  accessKeyId = "local",
): Promise<Output> {
  const headers = {
    "content-type": "application/x-amz-json-1.0",
    "x-amz-target": target,
    "x-amz-date": "20260101T000000Z",
    authorization: `AWS4-HMAC-SHA256 Credential=${accessKeyId}/20260101/us-east-1/aws/aws4_request, SignedHeaders=host, Signature=0`,
  };
  const { status, body } = await exchange(headers, Buffer.from(JSON.stringify(input)));
  const answer = JSON.parse(String(body) || "{}");
  if (status === 200) return answer as Output;
  const { __type = "", message, Message = message, Item } = answer as Record<string, string | undefined>;
  throw Object.assign(new Error(Message), { name: __type.replace(/^.*#/, ""), Item });
}

/**
 * An embedded service's client with methods of the SDK's. The SDK itself would take a third of the start of `npm start`
 * to load.
 * @param service As in a target: `AmazonSQS`.
 */
export function clientOf<Client extends object>(service: string, exchange: Exchange, accessKeyId?: string): Client {
  return new Proxy({} as Client, {
    get: (_, method) => {
      const action = String(method).replace(/^./, (first) => first.toUpperCase());
      return (input: object) => callService(exchange, `${service}.${action}`, input, accessKeyId);
    },
  });
}
