import type { Finding } from "../../check/finding.ts";
import { ofType } from "../stack.ts";
import { about, type Local } from "./context.ts";

/** How long a name may be. CloudFormation checks none of these before the service refuses to make the resource. */
const mostCharacters: readonly (readonly [type: string, property: string, most: number])[] = [
  ["AWS::Lambda::Function", "FunctionName", 64],
  ["AWS::SQS::Queue", "QueueName", 80],
  ["AWS::ApiGatewayV2::Api", "Name", 128],
  ["AWS::DynamoDB::Table", "TableName", 255],
  ["AWS::CloudWatch::Alarm", "AlarmName", 255],
  ["AWS::ECS::Cluster", "ClusterName", 255],
  ["AWS::ECS::Service", "ServiceName", 255],
  ["AWS::ECS::TaskDefinition", "Family", 255],
  ["AWS::Logs::LogGroup", "LogGroupName", 512],
];

/** Names that are too long. Most hold the stage: for them, one finding says how long that may be. */
export function findLongNames({ stack }: Local): Finding[] {
  const tooLong = mostCharacters.flatMap(([type, property, most]) =>
    ofType(stack, type).flatMap(([id, { [property]: name }]) =>
      typeof name === "string" && name.length > most ? [{ id, type, name, excess: name.length - most }] : [],
    ),
  );
  const staged = `${stack.service}-${stack.stage}`;
  const [worst] = tooLong.filter(({ name }) => name.includes(staged)).sort((a, b) => b.excess - a.excess);
  const others = tooLong
    .filter(({ name }) => !name.includes(staged))
    .map(({ id, type, name, excess }) =>
      about(
        "larkpost.config.js",
        `resources.${id}: the name "${name}" is ${excess} too long for ${type}. Make it shorter`,
      ),
    );
  if (worst === undefined) return others;
  const most = stack.stage.length - worst.excess;
  const message = `"${stack.stage}" has ${stack.stage.length} characters, and AWS would refuse the name "${worst.name}". Use ${most} at most`;
  return [about("--stage", message), ...others];
}
