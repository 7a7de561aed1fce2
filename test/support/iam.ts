import type { Policy } from "../../docs/deployer-policy.ts";

/** Whether a policy allows an action, on a resource if one is given. */
export function isAllowedBy({ Statement }: Policy, action: string, arn?: string): boolean {
  return Statement.some(
    ({ Effect, Action, Resource }) =>
      Effect === "Allow" &&
      Action.includes(action) &&
      (arn === undefined || Resource.some((pattern) => matches(arn, pattern))),
  );
}

function matches(text: string, pattern: string): boolean {
  const source = pattern.replaceAll(/[\\^$.+?()[\]{}|]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${source}$`).test(text);
}
