import { forDeployment } from "./deployment.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */
/** @typedef {import("./project.js").Project} Project */

/** The types of resources here that have tags as a list, and API Gateway's, which have an object. */
const tagged = new Set([
  "AWS::CertificateManager::Certificate",
  "AWS::CloudWatch::Alarm",
  "AWS::CloudWatch::Dashboard",
  "AWS::DynamoDB::Table",
  "AWS::EC2::SecurityGroup",
  "AWS::ECS::Cluster",
  "AWS::ECS::Service",
  "AWS::ECS::TaskDefinition",
  "AWS::IAM::Role",
  "AWS::Logs::LogGroup",
  "AWS::SQS::Queue",
]);
const taggedByObject = new Set(["AWS::ApiGatewayV2::DomainName"]);

/**
 * The tags of a stage, as API Gateway and osls have them. In capitals as the one that osls gives every stack: IAM refuses
 * two tags that differ in case alone.
 * @param {Pick<Deployment, "service" | "stage">} deployment
 * @param {Pick<Project, "tags">} project
 * @returns {Record<string, string>}
 */
export function tagsOf({ service, stage }, { tags }) {
  return { SERVICE: service, STAGE: stage, ...tags };
}

/**
 * `Tags` as most types have them.
 * @param {Parameters<typeof tagsOf>[0]} deployment
 * @param {Parameters<typeof tagsOf>[1]} project
 */
export function listOf(deployment, project) {
  return Object.entries(tagsOf(deployment, project)).map(([Key, Value]) => ({ Key, Value }));
}

/**
 * Resources with the stage's tags. CloudFormation gives the stack's tags to what supports it when it is made; here each
 * resource has them itself, so that none depends on that.
 * @template {Record<string, object>} T
 * @param {T} resources
 * @param {Parameters<typeof tagsOf>[0]} deployment
 * @param {Parameters<typeof tagsOf>[1]} project
 * @returns {T}
 */
export function withTags(resources, deployment, project) {
  const entries = Object.entries(resources).map(([id, resource]) => {
    const { Type, Properties } = /** @type {import("./config.js").Resource} */ (resource);
    const isByObject = taggedByObject.has(Type);
    if (!isByObject && !tagged.has(Type)) return [id, resource];
    const Tags = (isByObject ? tagsOf : listOf)(deployment, project);
    return [id, { ...resource, Properties: { ...Properties, Tags } }];
  });
  return Object.fromEntries(entries);
}

/**
 * A part of the stack, for `${file(…):name}` of serverless.yml.
 * @param {(deployment: Deployment, project: Project) => Record<string, object>} build
 */
export function stackResources(build) {
  return forDeployment((deployment, project) => ({
    Resources: withTags(build(deployment, project), deployment, project),
  }));
}

/** The tags of the stack. */
export const tags = forDeployment(tagsOf);
