import { createServer } from "node:http";
import { type AwsClient, awsClient, type Service, serviceOf, type TryMs } from "../../lib/aws/client.ts";
import { callService } from "../../lib/local/exchange.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import type { Faults } from "./faults.ts";

type Options = Omit<NonNullable<Parameters<typeof awsClient>[0]>, "env">;

/** Longer than any call takes on a busy machine. */
const patientMs = 60_000;
export const patience: TryMs = { sqs: patientMs, dynamodb: patientMs, ssm: patientMs };

/**
 * The functions' client, at this endpoint for every service or at these of the environment. Its tries end when a test's
 * clock says so: with the machine's own clock they take as long as they need, since a busy machine is no fault.
 */
export function clientTo(endpoint: string | Readonly<Record<string, string>>, options: Options = {}): AwsClient {
  const { clock, tryMs = clock === undefined ? patience : {} } = options;
  const local = { AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };
  const endpoints = typeof endpoint === "string" ? { AWS_ENDPOINT_URL: endpoint } : endpoint;
  return awsClient({ ...options, tryMs, env: { ...local, ...endpoints } });
}

/** Has calls answered without a connection, while a service's faults are idle: HTTP takes most of a call's CPU. */
export function direct(
  client: AwsClient,
  services: Partial<Record<Service, Pick<Faults, "straight" | "isIdle">>>,
): AwsClient {
  return {
    ...client,
    async call(name, input, options) {
      const service = serviceOf[name];
      const faults = services[service];
      if (faults?.isIdle() !== true || options?.abortSignal?.aborted === true) return client.call(name, input, options);
      const target = service === "sqs" ? "AmazonSQS" : "DynamoDB_20120810";
      return callService(faults.straight, `${target}.${name}`, input);
    },
  };
}

/** What gives a container its credentials: `env` is of a process that finds them nowhere else. */
export async function startContainer(accessKeyId: string) {
  const server = createServer((_request, response) => {
    const Expiration = new Date(Date.now() + 3_600_000).toISOString();
    response.end(JSON.stringify({ AccessKeyId: accessKeyId, SecretAccessKey: "secret", Token: "token", Expiration }));
  });
  const url = `http://127.0.0.1:${await listenOnLoopback(server)}/`;
  return {
    env: { AWS_ACCESS_KEY_ID: "", AWS_SECRET_ACCESS_KEY: "", AWS_CONTAINER_CREDENTIALS_FULL_URI: url },
    stop: () => server.close(),
  };
}
