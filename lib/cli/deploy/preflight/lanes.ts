import type { SQS } from "@aws-sdk/client-sqs";
import { type Lane, laneQueueUrl, parseLanes } from "../../../aws/lanes.ts";
import { fieldsOf } from "../../../feishu/json.ts";
import type { Finding } from "../../check/finding.ts";
import { deployedTemplate, describeStack, longConnectionOf, ofType, outputOf } from "../stack.ts";
import { about, type Context, unlessRefused } from "./context.ts";

const place = "larkpost.config.js";

/**
 * Lanes whose queues the deployment would take out of the stack, where events may be in them or on their way to them: a
 * webhook's last invocations and the long connection send by the settings that they have.
 */
export async function findLostLanes(context: Context): Promise<Finding[]> {
  const { stack, deployed, clients } = context;
  const eventsQueueUrl = deployed?.outputs.get("EventsQueueUrl");
  if (deployed === undefined || eventsQueueUrl === undefined) return [];
  return unlessRefused(place, async () => {
    const urlOf = (lane: Lane) => laneQueueUrl(eventsQueueUrl, lane);
    const lanes = parseLanes(outputOf(stack, "Lanes"));
    const kept = new Set(lanes.map(urlOf));
    const lost = parseLanes(deployed.outputs.get("Lanes")).filter((lane) => !kept.has(urlOf(lane)));
    if (lost.length === 0) return [];
    const connected = await connectedLanes(context);
    const found = lost.map(async (lane): Promise<Finding[]> => {
      const { name, types, order } = lane;
      const at = `lanes.${name}`;
      if (types.length > 0 && lanes.some((each) => each.name === name)) {
        const verb = order === undefined ? "has order now" : "has no order any more";
        return [
          about(
            place,
            `${at} ${verb}, which makes another queue, and events may be in this one. Give its types to a lane of another name, and leave ${name} as it was, with types: [], for a deployment`,
          ),
        ];
      }
      if (types.length > 0) {
        return [
          about(
            place,
            `${at} is gone, and events may be in its queue. Leave it with types: [] for a deployment, first`,
          ),
        ];
      }
      if (connected.some((each) => each.name === name && each.types.length > 0)) {
        const text = `the long connection still sends events to ${at}. Run "npm run deploy -- --stage ${stack.stage} --region ${stack.region} --long-connection" first`;
        return [about(place, text)];
      }
      const left = await messagesIn(urlOf(lane), clients.sqs);
      if (left === 0) return [];
      return [about(place, `${at} is gone, and ${left} events are in its queue. Leave it until they are worked off`)];
    });
    const net = deployed.outputs.get("DeadLetterFifoQueueUrl");
    const isNetLost = net !== undefined && stack.template.Resources["DeadLetterFifoQueue"] === undefined;
    const letters = isNetLost ? await messagesIn(net, clients.sqs) : 0;
    const letter = `the last lane with order is gone, and ${letters} dead letters of such lanes are left. Redrive or drop them first: npm run dead -- list --stage ${stack.stage} --region ${stack.region}`;
    return [...(await Promise.all(found)).flat(), ...(letters === 0 ? [] : [about(place, letter)])];
  });
}

/** The lanes that the stage's long connection sends to. */
async function connectedLanes({ stack, clients: { cloudFormation } }: Context): Promise<readonly Lane[]> {
  const name = longConnectionOf(stack.name);
  if ((await describeStack(cloudFormation, name)) === undefined) return [];
  const template = await deployedTemplate(cloudFormation, name);
  const [[, { ContainerDefinitions = [] } = {}] = []] = ofType({ template }, "AWS::ECS::TaskDefinition");
  const [container] = ContainerDefinitions as { Environment?: { Name: string; Value: unknown }[] }[];
  const text = container?.Environment?.find(({ Name }) => Name === "LANES")?.Value;
  return parseLanes(typeof text === "string" ? text : undefined);
}

/** The messages of a queue, also those that are hidden or delayed. */
async function messagesIn(QueueUrl: string, sqs: SQS): Promise<number> {
  const counts = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
  ] as const;
  try {
    const { Attributes } = await sqs.getQueueAttributes({ QueueUrl, AttributeNames: [...counts] });
    return counts.reduce((sum, name) => sum + Number(fieldsOf(Attributes)[name] ?? 0), 0);
  } catch (error) {
    if (error instanceof Error && /QueueDoesNotExist/.test(error.name)) return 0;
    throw error;
  }
}
