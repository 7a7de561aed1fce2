import { alarmResources } from "./alarms.js";
import { dashboardResources } from "./dashboard.js";
import { forDeployment } from "./deployment.js";
import { permissionResources } from "./permissions.js";
import { queueResources } from "./queues.js";
import { refusal } from "./refusal.js";
import { tableResources } from "./tables.js";

/**
 * One with all the names that a stage may have, for commands that know no stage.
 * @type {import("./deployment.js").Deployment}
 */
const anyDeployment = {
  service: "",
  stage: "",
  region: "",
  front: "both",
  domain: "",
  certificateArn: "",
  hostedZoneId: "",
  secretsParameter: "",
  customerKeyArn: "",
  pageTopicArn: "",
  ticketTopicArn: "",
};

/**
 * The project's own resources.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function ownResources(deployment, project) {
  refuseTakenNames(project, deployment);
  return project.resources;
}

/**
 * A resource by a name of Larkpost's would change one that Larkpost needs.
 * @param {import("./project.js").Project} project
 * @param {import("./deployment.js").Deployment} [deployment]
 */
export function refuseTakenNames(project, deployment) {
  const taken = larkpostsIds(project, deployment);
  const clash = Object.keys(project.resources).find((id) => taken.includes(id) || isOslsId(id));
  if (clash === undefined) return;
  throw refusal(`Cannot use larkpost.config.js: resources.${clash} has a name that Larkpost uses. Choose another name`);
}

/**
 * The logical ids of what Larkpost adds to the stack.
 * @param {import("./project.js").Project} project
 * @param {import("./deployment.js").Deployment} [deployment]
 */
export function larkpostsIds(project, deployment = anyDeployment) {
  return Object.keys({
    ...queueResources(deployment, project),
    ...tableResources(deployment),
    ...permissionResources(deployment, project),
    ...alarmResources(deployment, project),
    ...dashboardResources(deployment, project),
  });
}

/**
 * Whether a logical id may be one that osls makes.
 * @param {string} id
 */
export function isOslsId(id) {
  return /^(Webhook|Callback|Worker|HttpApi|Serverless)/.test(id);
}

export const resources = forDeployment((deployment, project) => ({ Resources: ownResources(deployment, project) }));
