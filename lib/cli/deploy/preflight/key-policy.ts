import type { KMS } from "@aws-sdk/client-kms";
import { fieldsOf } from "../../../feishu/json.ts";

/** Whom a statement is for. */
export interface Principal {
  readonly AWS: readonly string[];
  readonly Service: readonly string[];
}

export interface Statement {
  readonly Effect: string;
  readonly Principal: Principal;
  readonly Action: readonly string[];
  readonly Condition: Readonly<Record<string, unknown>>;
}

/** The statements of a key's policy. */
export async function keyPolicy(kms: KMS, KeyId: string): Promise<Statement[]> {
  const { Policy = "{}" } = await kms.getKeyPolicy({ KeyId, PolicyName: "default" });
  const { Statement = [] } = fieldsOf(JSON.parse(Policy));
  return listOf(Statement).map((statement) => {
    const { Effect, Principal, Action, Condition } = fieldsOf(statement);
    const { AWS = [], Service = [] } = Principal === "*" ? { AWS: "*" } : fieldsOf(Principal);
    const principal = { AWS: listOf(AWS).map(String), Service: listOf(Service).map(String) };
    return {
      Effect: String(Effect),
      Principal: principal,
      Action: listOf(Action).map(String),
      Condition: fieldsOf(Condition),
    };
  });
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** Whether a policy allows all of the actions. Of conditions, only that of a log group is read. */
export function isAllowed(
  statements: readonly Statement[],
  actions: readonly string[],
  isMeant: (principal: Principal, statement: Statement) => boolean,
): boolean {
  const allowing = statements.filter(
    (statement) => statement.Effect === "Allow" && isMeant(statement.Principal, statement),
  );
  return actions.every((action) => allowing.some(({ Action }) => Action.some((pattern) => matches(action, pattern))));
}

/** Whether a condition lets a log group through. */
export function isForLog(condition: Readonly<Record<string, unknown>>, group: string): boolean {
  const patterns = Object.values(condition).flatMap((test) =>
    listOf(fieldsOf(test)["kms:EncryptionContext:aws:logs:arn"] ?? []),
  );
  return patterns.length === 0 || patterns.some((pattern) => matches(group, String(pattern)));
}

/** A pattern of IAM, with `*` and `?`. */
function matches(text: string, pattern: string): boolean {
  const source = pattern
    .replaceAll(/[\\^$.+()[\]{}|]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "i").test(text);
}
