import { forDeployment } from "./deployment.js";
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

export const deploymentBucket = forDeployment((...given) => ({
  blockPublicAccess: true,
  maxPreviousDeploymentArtifacts: 5,
  tags: tagsOf(...given),
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

/** An update that would replace or drop what holds events is refused before it begins. */
export const stackPolicy = [
  { Effect: "Allow", Principal: "*", Action: "Update:*", Resource: "*" },
  {
    Effect: "Deny",
    Principal: "*",
    Action: ["Update:Replace", "Update:Delete"],
    Resource: ["EventsQueue", "DeadLetterQueue", "QuarantineQueue", "LedgerTable"].map(
      (id) => `LogicalResourceId/${id}`,
    ),
  },
];
