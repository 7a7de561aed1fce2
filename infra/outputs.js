import { appId, forDeployment } from "./deployment.js";
import { arn, callbackRoleExport } from "./permissions.js";

/**
 * The addresses and names of a deployed stage, for people and tools.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {string} app
 */
export function outputsOf(deployment, app) {
  const { front, customerKeyArn, pageTopicArn, ticketTopicArn } = deployment;
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
    ...(front === "none"
      ? {}
      : {
          RequestAddress: {
            Description: "For the developer console: Events & Callbacks > Event configuration > Request URL",
            Value: address("WebhookLambdaFunctionUrl", "webhook"),
          },
          CallbackAddress: {
            Description: "For the developer console: Events & Callbacks > Callback configuration > Request URL",
            Value: address("CallbackLambdaFunctionUrl", "callback"),
          },
        }),
    // Packaging does not need the app's id, and AWS refuses an empty value.
    AppId: { Value: app === "" ? "none" : app },
    EventsQueueUrl: { Value: { Ref: "EventsQueue" } },
    DeadLetterQueueUrl: { Value: { Ref: "DeadLetterQueue" } },
    QuarantineQueueUrl: { Value: { Ref: "QuarantineQueue" } },
    LedgerTableName: { Value: { Ref: "LedgerTable" } },
    // For the long connection's stack.
    CallbackRoleArn: { Value: arn("CallbackRole"), Export: { Name: callbackRoleExport(deployment) } },
    ...Object.fromEntries(
      Object.entries({ CustomerKeyArn: customerKeyArn, PageTopicArn: pageTopicArn, TicketTopicArn: ticketTopicArn })
        .filter(([, arn]) => arn !== "")
        .map(([name, Value]) => [name, { Value }]),
    ),
  };
}

export const outputs = async (/** @type {import("./deployment.js").Variables} */ variables) => {
  const app = await appId(variables);
  return forDeployment((deployment) => ({ Outputs: outputsOf(deployment, app) }))(variables);
};
