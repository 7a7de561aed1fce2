import { forDeployment } from "./deployment.js";
import { lanesOf } from "./lanes.js";
import { tagsOf } from "./tags.js";

// What holds for every function, and for the deployment itself.

/** A deployment is its own version; Lambda's would pile up against the account's 75 GB. */
export const versionFunctions = false;

/** @param {string} region */
export function isInChina(region) {
  return region.startsWith("cn-");
}

/**
 * The processor of functions and tasks. AWS's own tools leave arm64 out in China; the same code runs on both.
 * @param {string} region
 */
export function architectureOf(region) {
  return isInChina(region) ? "x86_64" : "arm64";
}

/** @param {import("./deployment.js").Variables} variables */
export async function architecture({ resolveVariable }) {
  return architectureOf(String(await resolveVariable("self:provider.region")));
}

export const httpApi = { shouldStartNameWithService: true };

export const deploymentBucket = forDeployment((deployment, project) => ({
  blockPublicAccess: true,
  maxPreviousDeploymentArtifacts: 5,
  tags: tagsOf(deployment, project),
}));

const accessLog = {
  requestId: "$context.requestId",
  time: "$context.requestTime",
  ip: "$context.identity.sourceIp",
  route: "$context.routeKey",
  status: "$context.status",
  ms: "$context.responseLatency",
  functionStatus: "$context.integrationStatus",
  functionMs: "$context.integrationLatency",
};

export const logs = {
  lambda: {
    logFormat: "JSON",
    // Lambda drops no line of ours: LOG_LEVEL alone decides.
    applicationLogLevel: "TRACE",
    // No START and REPORT lines of invocations that went well: they would be half of the bill for logs.
    systemLogLevel: "WARN",
  },
  // No header, no query, no body.
  httpApi: { format: JSON.stringify(accessLog) },
};

/**
 * An update that would replace or drop what holds events is refused before it begins. A deployment is held to the policy
 * of the one before, so a lane that is to be removed must be without protection for a deployment: one without types.
 */
export const stackPolicy = forDeployment((_, project) => {
  const lanes = lanesOf(project).filter(({ name, types }) => name === "default" || types.length > 0);
  const ofLanes = lanes.flatMap(({ queueId, deadLetterQueueId }) => [queueId, deadLetterQueueId]);
  const held = [...new Set(ofLanes), "QuarantineQueue", "LedgerTable"];
  return [
    { Effect: "Allow", Principal: "*", Action: "Update:*", Resource: "*" },
    {
      Effect: "Deny",
      Principal: "*",
      Action: ["Update:Replace", "Update:Delete"],
      Resource: held.map((id) => `LogicalResourceId/${id}`),
    },
  ];
});
