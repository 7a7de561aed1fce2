import { forDeployment } from "./deployment.js";

/**
 * What a person, or a tool, needs to know of a deployed stage.
 * @param {Pick<import("./deployment.js").Deployment, "front">} deployment
 */
export function outputsOf({ front }) {
  const host = [{ Ref: "HttpApi" }, "execute-api", { Ref: "AWS::Region" }, { Ref: "AWS::URLSuffix" }];
  const address = (/** @type {string} */ functionUrlId, /** @type {string} */ path) => ({
    "Fn::Join": [
      "",
      front === "functionUrl"
        ? // A Function URL ends with a slash.
          [{ "Fn::GetAtt": [functionUrlId, "FunctionUrl"] }, path]
        : ["https://", { "Fn::Join": [".", host] }, `/${path}`],
    ],
  });
  return {
    RequestAddress: {
      Description: "For the developer console: Events & Callbacks > Event configuration > Request URL",
      Value: address("WebhookLambdaFunctionUrl", "webhook"),
    },
    CallbackAddress: {
      Description: "For the developer console: Events & Callbacks > Callback configuration > Request URL",
      Value: address("CallbackLambdaFunctionUrl", "callback"),
    },
    EventsQueueUrl: { Value: { Ref: "EventsQueue" } },
    DeadLetterQueueUrl: { Value: { Ref: "DeadLetterQueue" } },
    QuarantineQueueUrl: { Value: { Ref: "QuarantineQueue" } },
    LedgerTableName: { Value: { Ref: "LedgerTable" } },
  };
}

export const outputs = forDeployment((deployment) => ({ Outputs: outputsOf(deployment) }));
