import { accepted, nameOf } from "./deployment.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/**
 * The ledger: which events ran, and for a day, the answers to callbacks. Without it events would run twice, so it is kept
 * when the stack is removed, and backed up for 35 days. `npm run deploy` protects it from deletion once the stack is
 * complete: a table that is protected from the start would be left behind by a first deployment that fails.
 * @param {import("./deployment.js").Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function tableResources(deployment, { optional } = projectOf({})) {
  const { ledgerWarmWritesPerSecond } = optional;
  const { customerKeyArn } = deployment;
  const isManaged = customerKeyArn === "";
  return {
    LedgerTable: {
      Type: "AWS::DynamoDB::Table",
      DeletionPolicy: "RetainExceptOnCreate",
      UpdateReplacePolicy: "Retain",
      ...(isManaged
        ? {
            Metadata: accepted({
              CKV_AWS_119:
                "encrypted with the key that AWS manages: ids, hashes, times, counts, the class and place of an error, reactions to remove, sealed tokens, and for a day what callbacks were answered",
            }),
          }
        : {}),
      Properties: {
        TableName: nameOf(deployment, "ledger"),
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
        TimeToLiveSpecification: { AttributeName: "expiresAtSeconds", Enabled: true },
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        SSESpecification: isManaged
          ? { SSEEnabled: true }
          : { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: customerKeyArn },
        ...(ledgerWarmWritesPerSecond === null
          ? {}
          : // Reads are rare, and every table takes 12,000 a second.
            { WarmThroughput: { ReadUnitsPerSecond: 12_000, WriteUnitsPerSecond: ledgerWarmWritesPerSecond } }),
      },
    },
  };
}

export const tables = stackResources(tableResources);
