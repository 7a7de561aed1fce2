import { batchesPerPoller } from "../../../../infra/limits.js";
import { fieldsOf } from "../../../feishu/json.ts";
import type { Finding } from "../../check/finding.ts";
import { ofType, workerOf } from "../stack.ts";
import { about, type Context, type Local, unlessRefused, warning } from "./context.ts";

const place = "larkpost.config.js";
/** The functions that answer HTTP, with their limit. */
const answering = {
  WebhookLambdaFunction: "webhookReservedConcurrency",
  CallbackLambdaFunction: "callbackReservedConcurrency",
};

/** What is reserved for functions, against what the account has. */
export function findTooLittleConcurrency(context: Context): Promise<Finding[]> {
  return unlessRefused(place, async () => {
    const { AccountLimit = {} } = await context.clients.lambda.getAccountSettings({});
    const { ConcurrentExecutions: limit = 0, UnreservedConcurrentExecutions: unreserved = 0 } = AccountLimit;
    const functions = ofType(context.stack, "AWS::Lambda::Function");
    const wanted = functions.reduce(
      (sum, [, { ReservedConcurrentExecutions = 0 }]) => sum + Number(ReservedConcurrentExecutions),
      0,
    );
    const free = unreserved + (await reservedNow(context)) - wanted;
    // Lambda keeps as many for functions without a reservation: 10 in a new account, whose limit is 10 itself.
    const least = limit > 100 ? 100 : 10;
    if (wanted > 0 && free < least) {
      return [
        about(
          place,
          `limits reserve ${wanted} invocations at once. Of the account's ${limit}, ${Math.max(0, free + wanted - least)} can be reserved. Reserve fewer, or have Lambda's quota raised`,
        ),
      ];
    }
    const mappings = ofType(context.stack, "AWS::Lambda::EventSourceMapping").map(([, properties]) => properties);
    const [{ ProvisionedPollerConfig = {} } = {}] = mappings;
    const pollers = Number(fieldsOf(ProvisionedPollerConfig)["MaximumPollers"] ?? 0);
    const most = mappings.reduce(
      (sum, { ScalingConfig = {} }) =>
        sum + Number(fieldsOf(ScalingConfig)["MaximumConcurrency"] ?? batchesPerPoller * pollers),
      0,
    );
    const setting = pollers > 0 ? `maximumPollers is ${pollers}, for ${most} invocations` : `maxConcurrency is ${most}`;
    const found = mappings.length === 1 ? `limits.${setting}` : `the workers of all lanes are up to ${most} at once`;
    const workers = mappings.map((mapping) => workerOf(mapping, context.stack));
    const isShared = functions.some(
      ([, properties]) => properties["ReservedConcurrentExecutions"] === undefined && !workers.includes(properties),
    );
    if (most < free || !isShared) return [];
    return [
      warning(
        place,
        `${found}, and the account runs ${free} functions at once: a busy worker leaves the webhook none. Lower it, or have Lambda's quota raised`,
      ),
    ];
  });
}

/** What the stack's functions have reserved already. */
async function reservedNow({ stack, clients, deployed }: Context): Promise<number> {
  if (deployed === undefined) return 0;
  const counts = ofType(stack, "AWS::Lambda::Function").map(async ([, { FunctionName }]) => {
    try {
      const { Concurrency } = await clients.lambda.getFunction({ FunctionName: String(FunctionName) });
      return Concurrency?.ReservedConcurrentExecutions ?? 0;
    } catch (error) {
      if (error instanceof Error && error.name === "ResourceNotFoundException") return 0;
      throw error;
    }
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** Nothing throttles a Function URL but the concurrency of its function. */
export function findUnthrottledUrls({ stack }: Local): Finding[] {
  if (ofType(stack, "AWS::Lambda::Url").length === 0) return [];
  const open = Object.entries(answering).flatMap(([id, limit]) =>
    stack.template.Resources[id]?.Properties?.["ReservedConcurrentExecutions"] === undefined ? [limit] : [],
  );
  if (open.length === 0) return [];
  const text = `Function URLs without ${open.join(" and ")}: whoever finds an address can use up the account's concurrency, which stops its other functions, and run up its bill. Set ${open.length === 1 ? "it" : "them"} under limits, or use front=httpApi`;
  return [warning("--param front", text)];
}
