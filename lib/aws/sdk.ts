import { systemClock, withDeadline } from "../clock.ts";
import { type AwsClient, type CallOptions, type Calls, callMs, defaultTryMs, serviceOf, type TryMs } from "./client.ts";
import { named } from "./connections.ts";

type Method<N extends keyof Calls> = (input: Calls[N][0], options: CallOptions) => Promise<Calls[N][1]>;

/** `new SQS()`, `new DynamoDB()` and `new SSM()` of the AWS SDK. A webhook needs no DynamoDB. */
interface SdkClients {
  readonly sqs?: {
    sendMessage: Method<"SendMessage">;
    changeMessageVisibility: Method<"ChangeMessageVisibility">;
    destroy(): void;
  };
  readonly dynamodb?: {
    putItem: Method<"PutItem">;
    updateItem: Method<"UpdateItem">;
    getItem: Method<"GetItem">;
    destroy(): void;
  };
  readonly ssm?: { getParameter: Method<"GetParameter">; destroy(): void };
}

/** No more than an SDK client has sockets: it takes the wait for one for a slow answer. */
const callsAtOnce = 32;

/**
 * Calls AWS by its SDK, which finds credentials wherever they are: for a process that is no Lambda. It takes longer to
 * load, so a function of Lambda is better without it.
 * @param tryMs A call ends with the time of its tries, whatever timeouts the SDK's clients have: by default they have none.
 */
export function fromSdk(clients: SdkClients, tryMs: TryMs = defaultTryMs): AwsClient {
  const waiting: (() => void)[] = [];
  let running = 0;
  return {
    async call(name, input, options = {}) {
      const client = clients[serviceOf[name]] as Readonly<Record<string, Method<typeof name>>> | undefined;
      const method = client?.[`${name.charAt(0).toLowerCase()}${name.slice(1)}`];
      if (method === undefined) throw new TypeError(`Cannot call ${name}: fromSdk was given no client for it`);
      if (running < callsAtOnce) running++;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        const ms = callMs(tryMs[serviceOf[name]]);
        const error = () => named("TimeoutError", `${name}: no answer within ${ms} ms`);
        return await withDeadline(systemClock, { ms, error }, (limit) => {
          // When the caller gave up meanwhile, its signal is aborted, and the SDK sends nothing.
          const { abortSignal = limit } = options;
          return method.call(client, input, { abortSignal: AbortSignal.any([abortSignal, limit]) });
        });
      } finally {
        const next = waiting.shift();
        if (next === undefined) running--;
        else next();
      }
    },
    connect: async () => {},
    destroy() {
      for (const client of Object.values(clients)) client.destroy();
    },
  };
}
