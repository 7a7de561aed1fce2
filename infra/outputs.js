import { forDeployment } from "./deployment.js";

/**
 * What a person, or a tool, needs to know of a deployed stage.
 * @param {Pick<import("./deployment.js").Deployment, "front">} deployment
 */
export function outputsOf({ front }) {
  const url = { "Fn::GetAtt": ["WebhookLambdaFunctionUrl", "FunctionUrl"] };
  const host = [{ Ref: "HttpApi" }, "execute-api", { Ref: "AWS::Region" }, { Ref: "AWS::URLSuffix" }];
  return {
    RequestAddress: {
      Description: "For the developer console: Events & Callbacks > Event configuration > Request URL",
      Value: {
        "Fn::Join": [
          "",
          // A Function URL ends with a slash.
          front === "functionUrl" ? [url, "webhook"] : ["https://", { "Fn::Join": [".", host] }, "/webhook"],
        ],
      },
    },
    EventsQueueUrl: { Value: { Ref: "EventsQueue" } },
    DeadLetterQueueUrl: { Value: { Ref: "DeadLetterQueue" } },
    QuarantineQueueUrl: { Value: { Ref: "QuarantineQueue" } },
    LedgerTableName: { Value: { Ref: "LedgerTable" } },
  };
}

export const outputs = forDeployment((deployment) => ({ Outputs: outputsOf(deployment) }));
