import { accepted, forDeployment } from "./deployment.js";
import { projectOf } from "./project.js";
import { refusal } from "./refusal.js";

/**
 * Additions to the resources that osls makes of serverless.yml, for what osls has no setting.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function extensionsOf({ front, customerKeyArn }, { limits } = projectOf({})) {
  const isHttpApi = front === "httpApi";
  if (!isHttpApi && front !== "functionUrl") {
    throw refusal(`Cannot deploy: front is "${front}", neither "httpApi" nor "functionUrl". Check --param front`);
  }
  const reasons = {
    CKV_AWS_115: "reserved concurrency is optional (infra/limits.js): a small account cannot give any away",
    W92: "reserved concurrency is optional (infra/limits.js): a small account cannot give any away",
    CKV_AWS_116: "never invoked asynchronously: it has no such failures",
    CKV_AWS_117: "reaches no private resource; a VPC would add its start and a NAT gateway",
    W89: "reaches no private resource; a VPC would add its start and a NAT gateway",
    CKV_AWS_173: "no secret is in the environment",
  };
  const names = [...answering, "Worker"];
  const logGroups = [...names.map((name) => `${name}LogGroup`), ...(isHttpApi ? ["HttpApiLogGroup"] : [])];
  return {
    ...Object.fromEntries(names.map((name) => [`${name}LambdaFunction`, { Metadata: accepted(reasons) }])),
    ...Object.fromEntries(
      logGroups.map((id) => [
        id,
        customerKeyArn === ""
          ? { Metadata: accepted({ CKV_AWS_158: "encrypted by CloudWatch Logs", W84: "encrypted by CloudWatch Logs" }) }
          : { Properties: { KmsKeyId: customerKeyArn } },
      ]),
    ),
    ...(isHttpApi
      ? {
          HttpApiStage: {
            Properties: {
              DefaultRouteSettings: {
                DetailedMetricsEnabled: false,
                ThrottlingRateLimit: limits.routeRatePerSecond,
                ThrottlingBurstLimit: limits.routeBurst,
              },
            },
          },
        }
      : Object.fromEntries(
          answering.flatMap((name) => [
            [
              `${name}LambdaFunctionUrl`,
              {
                Metadata: accepted({
                  CKV_AWS_258: "Feishu cannot sign for IAM; the function checks Feishu's signature",
                }),
              },
            ],
            [`${name}LambdaPermissionFnUrl`, publicUrl],
            [`${name}LambdaPermissionFn`, publicUrl],
          ]),
        )),
  };
}

/** The functions that answer HTTP. */
const answering = ["Webhook", "Callback"];

const publicUrl = {
  Metadata: accepted({ F13: "a Function URL is public, and this permission holds for calls through it only" }),
};

export const functions = forDeployment((...given) => ({ extensions: extensionsOf(...given) }));
