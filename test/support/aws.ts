import { type AwsClient, type AwsError, awsClient, type Item, serviceOf } from "../../lib/aws/client.ts";
import type { Exchange } from "../../lib/local/sqs.ts";

type Options = Omit<NonNullable<Parameters<typeof awsClient>[0]>, "env">;

/** The functions' client, at this endpoint for every service or at these of the environment. */
export function clientTo(endpoint: string | Readonly<Record<string, string>>, options: Options = {}): AwsClient {
  const local = { AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };
  const endpoints = typeof endpoint === "string" ? { AWS_ENDPOINT_URL: endpoint } : endpoint;
  return awsClient({ ...options, env: { ...local, ...endpoints } });
}

/** Has calls of DynamoDB answered without a connection, while `isDirect` says so: HTTP takes most of a call's CPU. */
export function direct(client: AwsClient, exchange: Exchange, isDirect = () => true): AwsClient {
  return {
    ...client,
    async call(name, input, options) {
      if (serviceOf[name] !== "dynamodb" || !isDirect() || options?.abortSignal?.aborted === true) {
        return client.call(name, input, options);
      }
      return callDirectly(exchange, `DynamoDB_20120810.${name}`, input);
    },
  };
}

/** One call, without a connection. Rejects with an error of AWS's name. */
export async function callDirectly<Output>(exchange: Exchange, target: string, input: object): Promise<Output> {
  const headers = {
    "content-type": "application/x-amz-json-1.0",
    "x-amz-target": target,
    // The embedded DynamoDB looks for them, and checks no signature.
    "x-amz-date": "20260101T000000Z",
    authorization:
      "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
  };
  const { status, body } = await exchange(headers, Buffer.from(JSON.stringify(input)));
  const answer = JSON.parse(String(body));
  if (status === 200) return answer as Output;
  const { __type = "", message, Item } = answer as { __type?: string; message?: string; Item?: Item };
  throw Object.assign(new Error(message), { name: __type.replace(/^.*#/, ""), Item }) as AwsError;
}
