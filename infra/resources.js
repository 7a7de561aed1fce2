import { alarmResources } from "./alarms.js";
import { dashboardResources } from "./dashboard.js";
import { forDeployment } from "./deployment.js";
import { permissionResources } from "./permissions.js";
import { queueResources } from "./queues.js";
import { refusal } from "./refusal.js";
import { tableResources } from "./tables.js";

/** Prefixes of the resources that osls makes. */
const prefixes = /^(Webhook|Callback|Worker|HttpApi|Serverless)/;

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
export function refuseTakenNames(project, deployment = anyDeployment) {
  const larkposts = {
    ...queueResources(deployment, project),
    ...tableResources(deployment),
    ...permissionResources(deployment, project),
    ...alarmResources(deployment, project),
    ...dashboardResources(deployment, project),
  };
  const clash = Object.keys(project.resources).find((id) => Object.hasOwn(larkposts, id) || prefixes.test(id));
  if (clash === undefined) return;
  throw refusal(`Cannot use larkpost.config.js: resources.${clash} has a name that Larkpost uses. Choose another name`);
}

export const resources = forDeployment((deployment, project) => ({ Resources: ownResources(deployment, project) }));
