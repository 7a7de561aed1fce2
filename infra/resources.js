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
 * The project's own resources. A name of Larkpost's would change a resource that Larkpost needs, so it is refused.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function ownResources(deployment, project) {
  const { resources } = project;
  const larkposts = {
    ...queueResources(deployment, project),
    ...tableResources(deployment),
    ...permissionResources(deployment, project),
    ...alarmResources(deployment, project),
    ...dashboardResources(deployment, project),
  };
  const clash = Object.keys(resources).find((id) => Object.hasOwn(larkposts, id) || prefixes.test(id));
  if (clash === undefined) return resources;
  throw refusal(`Cannot use larkpost.config.js: resources.${clash} has a name that Larkpost uses. Choose another name`);
}

export const resources = forDeployment((...given) => ({ Resources: ownResources(...given) }));
