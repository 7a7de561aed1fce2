import type { Project } from "../../../infra/project.js";

/**
 * Adds the variables of larkpost.config.js to an environment: this process's, and so that of those it starts. Values
 * that the environment has come first.
 * @param nameOf The name of a table, by its logical id.
 */
export function setVariables(
  { environment, secrets, logErrorMessages }: Project,
  nameOf: (table: string, variable: string) => string,
  env: NodeJS.ProcessEnv = process.env,
): void {
  for (const [name, value] of Object.entries(environment)) {
    env[name] ??= typeof value === "string" ? value : nameOf(value.Ref, name);
  }
  if (logErrorMessages) env["LOG_ERROR_MESSAGES"] = "true";
  if (secrets.length > 0) env["EXTRA_SECRETS"] = secrets.join(",");
}
