import type { Deployment } from "../../infra/deployment.js";

/** What stage `prod` is without a parameter. */
export const deployment: Deployment = {
  service: "larkpost",
  stage: "prod",
  region: "ap-southeast-1",
  front: "httpApi",
  domain: "",
  certificateArn: "",
  hostedZoneId: "",
  secretsParameter: "/larkpost/prod/app",
  customerKeyArn: "",
  pageTopicArn: "",
  ticketTopicArn: "",
};
