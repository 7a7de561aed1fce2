import { longConnectionTemplate } from "../../infra/long-connection.js";
import { projectOf } from "../../infra/project.js";
import type { Template } from "./stack.ts";

type Config = import("../../infra/config.js").Config;

const queue = (name: string) => `https://sqs.ap-southeast-1.amazonaws.com/111122223333/larkpost-prod-${name}`;

/** A stage as it is deployed, with the environment of its worker. */
export const stage = {
  service: "larkpost",
  stage: "prod",
  region: "ap-southeast-1",
  customerKeyArn: "",
  pageTopicArn: "",
  ticketTopicArn: "",
  variables: {
    LOG_LEVEL: "info",
    APP_ID: "cli_0123456789abcdef",
    EVENTS_QUEUE_URL: queue("events"),
    QUARANTINE_QUEUE_URL: queue("quarantine"),
    DEAD_LETTER_QUEUE_URL: queue("dead-letters"),
    LEDGER_TABLE: "larkpost-prod-ledger",
    SECRETS_PARAMETER: "/larkpost/prod/app",
    STALE_KEYS_SECONDS: "21600",
    MARKETPLACE_APP: "false",
    LARK_DOMAIN: "feishu",
    ALLOW_OTHER_DOMAIN: "false",
    MAX_DEFERRALS: "1000",
    DEFER_FOR_SECONDS: "604800",
    MAX_ATTEMPTS: "10",
    MAX_RECEIVE_COUNT: "500",
  },
};

const service = {
  image: "registry.example/larkpost:1",
  vpc: "vpc-0a1b",
  subnets: ["subnet-0a", "subnet-0b"],
  hasPublicIp: false,
};

/** The stack of that stage's long connection. */
export function longConnection(
  change: Partial<typeof service> = {},
  ofStage: Partial<typeof stage> = {},
  config: Config = {},
): Template {
  const template = longConnectionTemplate({ ...stage, ...ofStage }, { ...service, ...change }, projectOf(config));
  return template as unknown as Template;
}
