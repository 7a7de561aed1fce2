import type { Check } from "./check.ts";
import { type Finding, found } from "./finding.ts";
import type { Stage } from "./stage.ts";

/** Statuses of a table that answers. */
const usable: ReadonlySet<string | undefined> = new Set(["ACTIVE", "UPDATING", undefined]);

export const ledgerChecks: readonly Check<Stage>[] = [
  {
    id: "ledger",
    about: "the ledger",
    fine: "the ledger is there, forgets what is old, and is protected",
    right: "dynamodb:DescribeTable",
    async find({ clients, deployed, region }) {
      const TableName = (await deployed())?.outputs.get("LedgerTableName");
      if (TableName === undefined) return undefined;
      const aws = (action: string) => `"aws dynamodb ${action} --table-name ${TableName} --region ${region}`;
      const missing = () => {
        // An empty one would let run again what has run. AWS makes a backup when a table with point-in-time recovery is deleted.
        const backup = `${aws("list-backups")} --backup-type SYSTEM"`;
        const restore = `"aws dynamodb restore-table-from-backup --target-table-name ${TableName} --region ${region} --backup-arn …"`;
        const cure = `Restore it from the backup that AWS keeps for 35 days: ${backup} names it for ${restore}`;
        return [found("ledger-missing", `there is no table ${TableName}: nothing can run`, cure)];
      };
      try {
        const [{ Table }, { TimeToLiveDescription }] = await Promise.all([
          clients.dynamo.describeTable({ TableName }),
          clients.dynamo.describeTimeToLive({ TableName }),
        ]);
        const findings: Finding[] = [];
        if (!usable.has(Table?.TableStatus)) {
          const cure = "Look at the table in the console: its KMS key, or a restore that is running";
          findings.push(found("ledger-unusable", `the table ${TableName} is ${Table?.TableStatus}: events wait`, cure));
        }
        if (!/^ENABL/.test(TimeToLiveDescription?.TimeToLiveStatus ?? "")) {
          const what = `the table ${TableName} has no time to live: it grows for ever, and so does its bill`;
          const setting = "--time-to-live-specification Enabled=true,AttributeName=expiresAtSeconds";
          findings.push(found("ledger-forgets-nothing", what, `Run ${aws("update-time-to-live")} ${setting}"`));
        }
        if (Table?.DeletionProtectionEnabled !== true) {
          const what = `the table ${TableName} can be deleted, and then events would run again`;
          findings.push(found("ledger-unprotected", what, `Run ${aws("update-table")} --deletion-protection-enabled"`));
        }
        return findings;
      } catch (error) {
        if (error instanceof Error && error.name === "ResourceNotFoundException") return missing();
        throw error;
      }
    },
  },
];
