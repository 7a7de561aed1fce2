import { readProject } from "./project.js";
import { refusal } from "./refusal.js";

/**
 * What one deployment differs in from another: the stage and the `params` of serverless.yml.
 * @typedef {object} Deployment
 * @property {string} service
 * @property {string} stage
 * @property {string} front What stands before the functions that answer HTTP: `httpApi` or `functionUrl`.
 * @property {string} secretsParameter Name of the SSM parameter that holds the app's keys.
 * @property {string} customerKeyArn Empty: keys that AWS manages.
 * @property {string} alarmTopicArn Empty: alarms show in the console only.
 */

/** @typedef {{ resolveVariable: (name: string) => Promise<unknown> }} Variables */

/**
 * Makes a function of a deployment and its project into one that `${file(…):name}` can call.
 * @template T
 * @param {(deployment: Deployment, project: import("./project.js").Project) => T} build
 */
export function forDeployment(build) {
  return async (/** @type {Variables} */ { resolveVariable }) => {
    const project = await readProject(process.cwd());
    const text = async (/** @type {string} */ name) => String(await resolveVariable(name));
    const deployment = {
      service: await text("self:service"),
      stage: await text("sls:stage"),
      front: await text("param:front"),
      secretsParameter: await text("self:custom.secretsParameter"),
      customerKeyArn: await text("param:customerKeyArn"),
      alarmTopicArn: await text("param:alarmTopicArn"),
    };
    return build(deployment, project);
  };
}

/**
 * The app's id. Packaging does without; a deployed function would answer every request with 503.
 * @param {Variables} variables
 */
export async function appId({ resolveVariable }) {
  const id = String(await resolveVariable("param:appId"));
  if (id === "" && !process.argv.includes("deploy")) return "";
  if (id === "") {
    throw refusal(
      "Cannot deploy: APP_ID is not set. Copy it from the developer console (cli_…), and pass it as APP_ID=cli_… or --param appId=cli_…",
    );
  }
  if (!/^cli_[0-9A-Za-z]+$/.test(id)) {
    throw refusal(`Cannot deploy: APP_ID is "${id}". Copy it from the developer console (cli_…)`);
  }
  return id;
}

/**
 * A parameter that is on or off. A word that is neither must not pass for one of them.
 * @param {string} name
 * @returns {(variables: Variables) => Promise<string>}
 */
function flag(name) {
  return async ({ resolveVariable }) => {
    const given = String(await resolveVariable(`param:${name}`));
    if (given !== "true" && given !== "false") {
      throw refusal(`Cannot deploy: ${name} is "${given}", neither "true" nor "false". Check --param ${name}`);
    }
    return given;
  };
}

/** Whether the old card callback is taken as well. */
export const legacyCardCallback = flag("legacyCardCallback");
/** Whether the Open API may be at a host that is not the platform's: it is sent the app's secret. */
export const allowOtherDomain = flag("allowOtherDomain");
/** Whether the app is in the marketplace: then it has a token for each tenant. */
export const marketplaceApp = flag("marketplaceApp");

/**
 * Where the Open API is. The functions look closer; this is what can be told before anything is deployed.
 * @param {Variables} variables
 */
export async function larkDomain({ resolveVariable }) {
  const given = String(await resolveVariable("param:larkDomain"));
  if (given !== "feishu" && given !== "lark" && !(given.startsWith("https://") && URL.canParse(given))) {
    throw refusal(
      `Cannot deploy: larkDomain is "${given}", neither "feishu" nor "lark" nor an https URL. Check --param larkDomain`,
    );
  }
  return given;
}

/**
 * The name that a resource of this stage goes by. A stage shares nothing with another; and a resource
 * with a name of its own cannot be replaced by accident, since the new one would need the same name.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {string} what
 */
export function nameOf({ service, stage }, what) {
  return `${service}-${stage}-${what}`;
}

/**
 * Marks findings of static checks that are meant to be, each with its reason.
 * @param {Record<string, string>} reasons by rule: CKV_… of Checkov, the others of cfn_nag
 */
export function accepted(reasons) {
  const rules = Object.entries(reasons);
  const checkov = rules.filter(([id]) => id.startsWith("CKV_")).map(([id, comment]) => ({ id, comment }));
  const nag = rules.filter(([id]) => !id.startsWith("CKV_")).map(([id, reason]) => ({ id, reason }));
  return {
    ...(checkov.length === 0 ? {} : { checkov: { skip: checkov } }),
    ...(nag.length === 0 ? {} : { cfn_nag: { rules_to_suppress: nag } }),
  };
}
