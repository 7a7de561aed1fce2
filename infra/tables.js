import { accepted, forDeployment, nameOf } from "./deployment.js";
import { projectOf } from "./project.js";

/**
 * The ledger: what has run. Without it events run twice, so it survives a removal of the stack, a
 * deletion by hand, and 35 days of mistakes. It also keeps what callbacks were answered, for a day.
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
      DeletionPolicy: "Retain",
      UpdateReplacePolicy: "Retain",
      ...(isManaged
        ? {
            Metadata: accepted({
              CKV_AWS_119:
                "encrypted with the key that AWS manages: ids, hashes, times, counts, the class and place of an error, sealed tokens, and for a day what callbacks were answered",
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
        DeletionProtectionEnabled: true,
        ...(ledgerWarmWritesPerSecond === null
          ? {}
          : // Reads are rare; 12,000 a second is what any table has.
            { WarmThroughput: { ReadUnitsPerSecond: 12_000, WriteUnitsPerSecond: ledgerWarmWritesPerSecond } }),
      },
    },
  };
}

export const tables = forDeployment((...given) => ({ Resources: tableResources(...given) }));
