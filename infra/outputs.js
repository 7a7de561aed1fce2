import { readFileSync } from "node:fs";
import { appId, forDeployment, frontsOf, larkDomain } from "./deployment.js";
import { domainOf } from "./domain.js";
import { lanesOf, lanesText } from "./lanes.js";
import { arn, callbackRoleExport } from "./permissions.js";

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));

/**
 * The addresses and names of a deployed stage, for people and tools.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {{ app: string, domain: string }} platform
 * @param {import("./project.js").Project} project
 */
function outputsOf(deployment, { app, domain: platformDomain }, project) {
  const lanes = lanesText(project);
  const hasFifo = lanesOf(project).some(({ order }) => order !== null);
  const { front, hostedZoneId, customerKeyArn, pageTopicArn, ticketTopicArn } = deployment;
  const { hasApi } = frontsOf(deployment);
  const domain = domainOf(deployment);
  const api = {
    "Fn::Join": [".", [{ Ref: "HttpApi" }, "execute-api", { Ref: "AWS::Region" }, { Ref: "AWS::URLSuffix" }]],
  };
  const own = domain && [domain.host, domain.basePath].filter((part) => part !== "").join("/");
  const byApi = (/** @type {string} */ path) =>
    own === undefined ? ["https://", api, `/${path}`] : [`https://${own}/${path}`];
  // A Function URL ends with a slash.
  const byUrl = (/** @type {string} */ path, /** @type {string} */ id) => [{ "Fn::GetAtt": [id, "FunctionUrl"] }, path];
  const address = (/** @type {string} */ Description, /** @type {unknown[]} */ parts) => ({
    Description,
    Value: { "Fn::Join": ["", parts] },
  });
  const request = "For the developer console: Events & Callbacks > Event configuration > Request URL";
  const callback = "For the developer console: Events & Callbacks > Callback configuration > Request URL";
  const [requestUrl, callbackUrl] = [
    byUrl("webhook", "WebhookLambdaFunctionUrl"),
    byUrl("callback", "CallbackLambdaFunctionUrl"),
  ];
  return {
    ...(front === "none"
      ? {}
      : {
          RequestAddress: address(request, hasApi ? byApi("webhook") : requestUrl),
          CallbackAddress: address(callback, hasApi ? byApi("callback") : callbackUrl),
        }),
    ...(front === "both"
      ? {
          RequestAddressByFunctionUrl: address(request, requestUrl),
          CallbackAddressByFunctionUrl: address(callback, callbackUrl),
        }
      : {}),
    ...(domain === undefined || hostedZoneId !== ""
      ? {}
      : {
          DomainTarget: {
            Description: `For the DNS of ${domain.host}: a CNAME to this name`,
            Value: { "Fn::GetAtt": ["HttpApiDomain", "RegionalDomainName"] },
          },
        }),
    Release: { Description: "The version of Larkpost that made this stack", Value: version },
    // Packaging does not need the app's id, and AWS refuses an empty value.
    AppId: { Value: app === "" ? "none" : app },
    LarkDomain: { Value: platformDomain },
    EventsQueueUrl: { Value: { Ref: "EventsQueue" } },
    DeadLetterQueueUrl: { Value: { Ref: "DeadLetterQueue" } },
    ...(hasFifo ? { DeadLetterFifoQueueUrl: { Value: { Ref: "DeadLetterFifoQueue" } } } : {}),
    ...(lanes === undefined ? {} : { Lanes: { Value: lanes } }),
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
  const platform = { app: await appId(variables), domain: await larkDomain(variables) };
  return forDeployment((deployment, project) => ({ Outputs: outputsOf(deployment, platform, project) }))(variables);
};
