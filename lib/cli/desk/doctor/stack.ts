import { findTooLittleConcurrency } from "../../deploy/preflight/concurrency.ts";
import type { Check as Preflight } from "../../deploy/preflight/context.ts";
import { findKeyFaults, findTopicFaults } from "../../deploy/preflight/encryption.ts";
import { findLacks } from "../../deploy/preflight/region.ts";
import { findStuckStack } from "../../deploy/preflight/status.ts";
import type { Check } from "./check.ts";
import { type Cause, found, fromRefusal } from "./finding.ts";
import type { Stage } from "./stage.ts";

/** What a check before a deployment says of the stack as it is. */
function byPreflight(find: Preflight, ids: { readonly fail: Cause; readonly warn?: Cause }): Check<Stage>["find"] {
  return async ({ context }) => {
    const preflight = await context();
    return preflight && (await find(preflight)).map((refusal) => fromRefusal(refusal, ids));
  };
}

export const stackChecks: readonly Check<Stage>[] = [
  {
    id: "stack",
    about: "the stack",
    fine: "the stack is complete, and can be updated",
    right: "cloudformation:DescribeStacks",
    async find({ deployed, name, stage, region }) {
      const stack = await deployed();
      if (stack === undefined) {
        const cure = `Check --stage and --region, or run "npm run deploy -- --stage ${stage} --region ${region}"`;
        return [found("stack-missing", `there is no stack ${name} in ${region}`, cure)];
      }
      const stuck = findStuckStack({ stack: { name, region }, deployed: stack });
      if (stack.status !== "UPDATE_ROLLBACK_COMPLETE")
        return stuck.map((refusal) => fromRefusal(refusal, { fail: "stack-stuck" }));
      const what = "the last deployment failed and was taken back: the one before it runs";
      const cure = `Look why: "aws cloudformation describe-stack-events --stack-name ${name} --region ${region}"; then deploy again`;
      return [found("stack-rolled-back", what, cure)];
    },
  },
  {
    id: "region",
    about: "the region",
    fine: "the region has all that the stack needs",
    find: byPreflight(findLacks, { fail: "region-lacks", warn: "region-doubtful" }),
  },
  {
    id: "kms",
    about: "the KMS key",
    fine: "the encryption of queues, ledger and logs is usable",
    right: "kms:DescribeKey",
    find: byPreflight(findKeyFaults, { fail: "kms-key" }),
  },
  {
    id: "topics",
    about: "the alarms' topics",
    fine: "the alarms' topics are usable",
    right: "sns:GetTopicAttributes",
    find: byPreflight(findTopicFaults, { fail: "topic-unusable", warn: "alarms-unheard" }),
  },
  {
    id: "concurrency",
    about: "the concurrency",
    fine: "the account's concurrency is enough for all functions",
    right: "lambda:GetAccountSettings",
    find: byPreflight(findTooLittleConcurrency, { fail: "concurrency-taken", warn: "concurrency-shared" }),
  },
];
