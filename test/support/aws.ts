import { type AwsClient, awsClient, serviceOf } from "../../lib/aws/client.ts";
import { callService, type Exchange } from "../../lib/local/exchange.ts";

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
      return callService(exchange, `DynamoDB_20120810.${name}`, input);
    },
  };
}
