import { nameOf } from "./deployment.js";
import { extraSecretsParameter } from "./environment.js";
import { lanesOf } from "./lanes.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * One role for each function, with only the rights that it uses. Roles have no fixed name, so that one stage can be
 * deployed to two regions.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function permissionResources(deployment, project = projectOf({})) {
  const lanes = lanesOf(project);
  const receiving = allow(["sqs:SendMessage"], [...lanes.map(({ queueId }) => queueId), "QuarantineQueue"].map(arn));
  return {
    // May not receive from a queue, and not use a table.
    WebhookRole: role([
      receiving,
      readSecrets(deployment),
      ...customerKey(deployment, ["sqs", "ssm"]),
      ownLogs("WebhookLogGroup"),
    ]),
    // May not receive from a queue either. Handlers run under this role, in the function and in the long connection's
    // tasks. It uses the ledger, so that a second push of a callback gets the first one's answer.
    CallbackRole: role(
      [
        receiving,
        readSecrets(deployment),
        useLedger,
        ...customerKey(deployment, ["sqs", "ssm", "dynamodb"]),
        ...forHandlers(deployment, project),
        ownLogs("CallbackLogGroup"),
      ],
      ["lambda.amazonaws.com", "ecs-tasks.amazonaws.com"],
    ),
    ...Object.fromEntries(lanes.map((lane) => [`Worker${lane.id}Role`, workerRole(lane, deployment, project)])),
  };
}

/**
 * May receive from its lane's queue alone. It sends work that handlers defer, and nothing else, to the events queue; a
 * record is delayed by its visibility timeout. It reads the app's secret to call the Open API and to sign the values of cards.
 * @param {import("./lanes.js").Lane} lane
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function workerRole({ id, queueId }, deployment, project) {
  return role([
    allow(
      ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
      [arn(queueId)],
    ),
    allow(["sqs:SendMessage"], [arn("QuarantineQueue"), arn("DeadLetterQueue"), arn("EventsQueue")]),
    readSecrets(deployment),
    useLedger,
    ...customerKey(deployment, ["sqs", "ssm", "dynamodb"]),
    ...forHandlers(deployment, project),
    ownLogs(`Worker${id}LogGroup`),
  ]);
}

export const permissions = stackResources(permissionResources);

/**
 * The name under which the stage's stack exports the callback's role, for the long connection's.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 */
export function callbackRoleExport(deployment) {
  return nameOf(deployment, "callback-role");
}

/**
 * @param {readonly import("./config.js").Statement[]} statements
 * @param {readonly string[]} services Those that assume the role.
 */
export function role(statements, services = ["lambda.amazonaws.com"]) {
  return {
    Type: "AWS::IAM::Role",
    Properties: {
      AssumeRolePolicyDocument: {
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Principal: { Service: services }, Action: ["sts:AssumeRole"] }],
      },
      Policies: [{ PolicyName: "own", PolicyDocument: { Version: "2012-10-17", Statement: statements } }],
    },
  };
}

/**
 * @param {string[]} actions
 * @param {unknown[]} resources
 * @returns {import("./config.js").Statement}
 */
export function allow(actions, resources) {
  return { Effect: "Allow", Action: actions, Resource: resources };
}

/** @param {string} logicalId */
export function arn(logicalId) {
  return { "Fn::GetAtt": [logicalId, "Arn"] };
}

const useLedger = allow(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:GetItem"], [arn("LedgerTable")]);

/** @param {Deployment} deployment */
function readSecrets({ secretsParameter }) {
  return readParameter(secretsParameter);
}

/**
 * Rights for handlers: to read the project's further secrets, and the project's own statements.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
function forHandlers(deployment, { secrets, statements }) {
  return [...(secrets.length === 0 ? [] : [readParameter(extraSecretsParameter(deployment))]), ...statements];
}

/** @param {string} name */
function readParameter(name) {
  const account = `\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}`;
  return allow(["ssm:GetParameter"], [{ "Fn::Sub": `arn:${account}:parameter${name}` }]);
}

/**
 * Lets a role use the customer's key, but only through the services whose data it encrypts. Lambda polls the queue under
 * the function's role, so that call of KMS comes from SQS as well.
 * @param {Deployment} deployment
 * @param {readonly string[]} services
 */
function customerKey({ customerKeyArn }, services) {
  if (customerKeyArn === "") return [];
  // The host name of the service. Its ending in China is not documented.
  const hosts = services.flatMap((service) =>
    ["amazonaws.com", "amazonaws.com.cn"].map((suffix) => ({ "Fn::Sub": `${service}.\${AWS::Region}.${suffix}` })),
  );
  // AWS's pages differ on what a write to an encrypted table needs. With too few rights, no event could be claimed.
  const ofTable = services.includes("dynamodb") ? ["kms:Encrypt", "kms:DescribeKey"] : [];
  return [
    {
      ...allow(["kms:Decrypt", "kms:GenerateDataKey", ...ofTable], [customerKeyArn]),
      Condition: { StringEquals: { "kms:ViaService": hosts } },
    },
  ];
}

/** @param {string} logGroupId */
export function ownLogs(logGroupId) {
  return allow(["logs:CreateLogStream", "logs:PutLogEvents"], [arn(logGroupId)]);
}
