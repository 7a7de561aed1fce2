import type { Finding } from "../../check/finding.ts";
import { ofType, workerOf } from "../stack.ts";
import { about, type Context, unlessRefused, warning } from "./context.ts";

const place = "--param worker";

/**
 * A worker that somebody has paused, by the parameter or by hand: no deployment starts it unasked. CloudFormation knows
 * only what the parameter has changed.
 */
export async function findPausedWorker({ stack, clients, deployed, resumes }: Context): Promise<Finding[]> {
  const mappings = ofType(stack, "AWS::Lambda::EventSourceMapping").map(([, properties]) => properties);
  if (deployed === undefined || mappings[0]?.["Enabled"] === false) return [];
  return unlessRefused(place, async () => {
    const workers = mappings.map((mapping) => String(workerOf(mapping, stack)?.["FunctionName"]));
    const found = workers.map((FunctionName) => clients.lambda.listEventSourceMappings({ FunctionName }));
    const paused = (await Promise.all(found))
      .flatMap(({ EventSourceMappings = [] }) => EventSourceMappings)
      .find(({ State = "" }) => State.startsWith("Disabl"));
    if (paused === undefined) return [];
    const byHand = `aws lambda update-event-source-mapping --region ${stack.region} --uuid ${paused.UUID} --enabled`;
    if (resumes) {
      return [warning(place, `the worker was paused. If that was by hand, it stays so until you run "${byHand}"`)];
    }
    return [
      about(
        place,
        "the worker is paused. Pass --param worker=paused to keep it so, or --param worker=running to go on",
      ),
    ];
  });
}
