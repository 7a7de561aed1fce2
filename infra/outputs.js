import { appId, forDeployment } from "./deployment.js";

/**
 * The addresses and names of a deployed stage, for people and tools.
 * @param {Pick<import("./deployment.js").Deployment, "front">} deployment
 * @param {string} app
 */
export function outputsOf({ front }, app) {
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
    // Packaging does not need the app's id, and AWS refuses an empty value.
    AppId: { Value: app === "" ? "none" : app },
    EventsQueueUrl: { Value: { Ref: "EventsQueue" } },
    DeadLetterQueueUrl: { Value: { Ref: "DeadLetterQueue" } },
    QuarantineQueueUrl: { Value: { Ref: "QuarantineQueue" } },
    LedgerTableName: { Value: { Ref: "LedgerTable" } },
  };
}

export const outputs = async (/** @type {import("./deployment.js").Variables} */ variables) => {
  const app = await appId(variables);
  return forDeployment((deployment) => ({ Outputs: outputsOf(deployment, app) }))(variables);
};
