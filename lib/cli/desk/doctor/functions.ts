import type { EventSourceMappingConfiguration } from "@aws-sdk/client-lambda";
import type { Check } from "./check.ts";
import { type Finding, found, makeAgain } from "./finding.ts";
import type { Stage } from "./stage.ts";

export const functionChecks: readonly Check<Stage>[] = [
  {
    id: "functions",
    about: "the functions",
    fine: "all functions are there, and their last update succeeded",
    right: "lambda:GetFunction",
    async find({ functions, name: stack, region, args }) {
      const all = await functions();
      if (all === undefined) return undefined;
      const deploy = `Deploy again: "npm run deploy --${args}"`;
      return [...all].flatMap(([name, answer]): Finding[] => {
        if (answer === undefined) {
          return [found("function-missing", `there is no function ${name}`, makeAgain({ name: stack, region }))];
        }
        const { State, StateReason, LastUpdateStatus, LastUpdateStatusReason } = answer.Configuration ?? {};
        if (answer.Concurrency?.ReservedConcurrentExecutions === 0) {
          const cure = `Let it run: "aws lambda delete-function-concurrency --function-name ${name} --region ${region}"`;
          return [found("function-stopped", `${name} has a concurrency of 0: Lambda runs it never`, cure)];
        }
        if (LastUpdateStatus === "Failed") {
          const what = `the last update of ${name} failed: ${LastUpdateStatusReason ?? "Lambda does not say why"}`;
          return [found("function-update-failed", what, deploy)];
        }
        if (State !== "Failed") return [];
        return [found("function-unusable", `${name} cannot run: ${StateReason ?? "Lambda does not say why"}`, deploy)];
      });
    },
  },
  {
    id: "code",
    about: "the workers' code",
    fine: "the workers of all lanes run the same code",
    right: "lambda:GetFunction",
    async find({ functions, name, args }) {
      const workers = [...((await functions()) ?? [])].filter(([functionName]) =>
        functionName.startsWith(`${name}-worker`),
      );
      const codes = new Map(
        workers.flatMap(([functionName, answer]) =>
          answer ? [[functionName, answer.Configuration?.CodeSha256 ?? ""]] : [],
        ),
      );
      if (codes.size < 2) return undefined;
      if (new Set(codes.values()).size === 1) return [];
      const said = [...codes].map(
        ([functionName, code]) => `${functionName} ${Buffer.from(code, "base64").toString("hex").slice(0, 12)}`,
      );
      const cure = `Somebody changed one by hand, or a deployment ended halfway: "npm run deploy --${args}"`;
      return [found("code-differs", `the workers run different code: ${said.join(", ")}`, cure)];
    },
  },
  {
    id: "mappings",
    about: "the event source mappings",
    fine: "each lane's queue feeds its worker",
    right: "lambda:ListEventSourceMappings",
    async find({ clients, lanes, name, region, args }) {
      const workers = (await lanes())?.map(({ lane }) => `${name}-worker${lane.id}`);
      if (workers === undefined) return undefined;
      const mapped = workers.map(async (FunctionName) => {
        const { EventSourceMappings = [] } = await clients.lambda.listEventSourceMappings({ FunctionName });
        return mappingFaults(FunctionName, EventSourceMappings, { name, region, args });
      });
      return (await Promise.all(mapped)).flat();
    },
  },
  {
    id: "throttles",
    about: "the workers' throttles",
    fine: "Lambda has throttled no worker within the last hour",
    right: "cloudwatch:GetMetricData",
    async find({ metrics }) {
      const measured = await metrics();
      return (
        measured &&
        [...measured.throttles].flatMap(([worker, count]) =>
          count === 0
            ? []
            : [
                found(
                  "worker-throttled",
                  `Lambda throttled ${worker} ${count} times within the last hour: events waited`,
                  "Raise the account's quota of concurrent executions, or set workerReservedConcurrency",
                ),
              ],
        )
      );
    },
  },
];

function mappingFaults(
  worker: string,
  mappings: readonly EventSourceMappingConfiguration[],
  { name, region, args }: { name: string; region: string; args: string },
): Finding[] {
  const [mapping] = mappings;
  if (mapping === undefined) {
    return [found("mapping-missing", `nothing takes events to ${worker}: they wait`, makeAgain({ name, region }))];
  }
  const { UUID, State = "", LastProcessingResult = "" } = mapping;
  if (State.startsWith("Disabl")) {
    const cure = `Let it go on: "npm run deploy --${args} --param worker=running", or "aws lambda update-event-source-mapping --region ${region} --uuid ${UUID} --enabled"`;
    return [found("mapping-disabled", `${worker} is paused: events wait, for 7 days at most`, cure)];
  }
  if (!/^PROBLEM/.test(LastProcessingResult)) return [];
  const what = `Lambda cannot take events to ${worker}: ${LastProcessingResult}`;
  return [
    found("mapping-problem", what, `Give the worker's role that right on queue and key: "npm run deploy --${args}"`),
  ];
}
