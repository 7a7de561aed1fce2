import { realpathSync } from "node:fs";
import { readProject } from "./project.js";
import { refusal } from "./refusal.js";

/**
 * What differs between deployments: the stage and the `params` of serverless.yml.
 * @typedef {object} Deployment
 * @property {string} service
 * @property {string} stage
 * @property {string} region
 * @property {"httpApi" | "functionUrl" | "both" | "none"} front Where HTTP requests come in; `none` for the long connection alone.
 * @property {string} domain A host of yours in front of the HTTP API, with a base path behind it if there is one. Empty: none.
 * @property {string} certificateArn The domain's certificate. Empty: one is made, and validated in the hosted zone.
 * @property {string} hostedZoneId The domain's hosted zone in Route 53. Empty: its DNS is elsewhere.
 * @property {string} secretsParameter Name of the SSM parameter that holds the app's keys.
 * @property {string} customerKeyArn Empty: keys that AWS manages.
 * @property {string} pageTopicArn For alarms that somebody has to act on at once. Empty: they show in the console only.
 * @property {string} ticketTopicArn For alarms of the next working day. Empty: they show in the console only.
 */

/** @typedef {{ resolveVariable: (name: string) => Promise<unknown> }} Variables */

/**
 * Turns `build` into a function that `${file(…):name}` of serverless.yml can call.
 * @template T
 * @param {(deployment: Deployment, project: import("./project.js").Project) => T} build
 */
export function forDeployment(build) {
  return async (/** @type {Variables} */ { resolveVariable }) => {
    refuseOtherTools();
    const project = await readProject(process.cwd());
    const text = async (/** @type {string} */ name) => String(await resolveVariable(name));
    const deployment = {
      service: await text("self:service"),
      stage: await text("sls:stage"),
      region: await text("self:provider.region"),
      front: await oneOf("front", fronts)({ resolveVariable }),
      domain: await text("param:domain"),
      certificateArn: await text("param:certificateArn"),
      hostedZoneId: await text("param:hostedZoneId"),
      secretsParameter: await text("self:custom.secretsParameter"),
      customerKeyArn: await text("param:customerKeyArn"),
      pageTopicArn: await text("param:pageTopicArn"),
      ticketTopicArn: await text("param:ticketTopicArn"),
    };
    return build(deployment, project);
  };
}

/** `both` is for a change from one to the other. */
const fronts = /** @type {const} */ (["httpApi", "functionUrl", "both", "none"]);

/**
 * Which of the two ways in a stage has.
 * @param {Pick<Deployment, "front">} deployment
 */
export function frontsOf({ front }) {
  return { hasApi: front === "httpApi" || front === "both", hasUrl: front === "functionUrl" || front === "both" };
}

/**
 * `frameworkVersion` admits the Serverless Framework 4 as well. It is another product, which would make another stack of
 * the same file.
 */
function refuseOtherTools() {
  const [, script] = process.argv;
  if (script !== undefined && /[\\/]node_modules[\\/]osls[\\/]/.test(realpathSync(script))) return;
  throw refusal('Cannot deploy: this tool is not osls, for which serverless.yml is written. Run "npm run deploy"');
}

export const noAppId =
  "Cannot deploy: APP_ID is not set. Copy it from the developer console (cli_…), and pass it as APP_ID=cli_… or --param appId=cli_…";

/**
 * The app's id. Packaging does not need it, but a deployed function without it answers every request with 503.
 * @param {Variables} variables
 */
export async function appId({ resolveVariable }) {
  const id = String(await resolveVariable("param:appId"));
  if (id === "" && !process.argv.includes("deploy")) return "";
  if (id === "") throw refusal(noAppId);
  if (!/^cli_[0-9A-Za-z]+$/.test(id)) {
    throw refusal(`Cannot deploy: APP_ID is "${id}". Copy it from the developer console (cli_…)`);
  }
  return id;
}

/**
 * A parameter that must be one of a few words.
 * @template {string} T
 * @param {string} name
 * @param {readonly T[]} words
 * @returns {(variables: Variables) => Promise<T>}
 */
function oneOf(name, words) {
  return async ({ resolveVariable }) => {
    const value = String(await resolveVariable(`param:${name}`));
    const found = words.find((word) => word === value);
    if (found !== undefined) return found;
    const known = words.map((word) => `"${word}"`).join(" nor ");
    throw refusal(`Cannot deploy: ${name} is "${value}", neither ${known}. Check --param ${name}`);
  };
}

/**
 * A parameter that must be "true" or "false".
 * @param {string} name
 */
export function flag(name) {
  return oneOf(name, ["true", "false"]);
}

/** Whether the worker takes events from the queue. */
export const workerState = oneOf("worker", ["running", "paused"]);
/** Whether the old card callback is accepted as well. */
export const legacyCardCallback = flag("legacyCardCallback");
/** Whether the app's secret may be sent to a host that is not the platform's. */
export const allowOtherDomain = flag("allowOtherDomain");
/** Whether the app is in the marketplace, with a token for each tenant. */
export const marketplaceApp = flag("marketplaceApp");

/**
 * The Open API's origin. The functions check it again, and more strictly.
 * @param {Variables} variables
 */
export async function larkDomain({ resolveVariable }) {
  const domain = String(await resolveVariable("param:larkDomain"));
  if (domain === "feishu" || domain === "lark" || (domain.startsWith("https://") && URL.canParse(domain)))
    return domain;
  throw refusal(
    `Cannot deploy: larkDomain is "${domain}", neither "feishu" nor "lark" nor an https URL. Check --param larkDomain`,
  );
}

/**
 * The name of a resource of this stage. Stages share no resources. CloudFormation cannot replace a named resource by
 * accident, since the new one would need the same name.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {string} what
 */
export function nameOf({ service, stage }, what) {
  return `${service}-${stage}-${what}`;
}

/**
 * Suppresses findings of static checks, each with a reason.
 * @param {Record<string, string>} reasons By rule: CKV_… is Checkov's, any other cfn_nag's.
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
