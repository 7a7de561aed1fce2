import type { Project } from "../../../infra/project.js";

/**
 * Gives this process, and those that it starts, the variables of larkpost.config.js. Values that the environment has
 * come first.
 * @param nameOf The name of a table, by its logical id.
 */
export function setVariables({ environment, secrets }: Project, nameOf: (table: string, variable: string) => string) {
  for (const [name, value] of Object.entries(environment)) {
    process.env[name] ??= typeof value === "string" ? value : nameOf(value.Ref, name);
  }
  if (secrets.length > 0) process.env["EXTRA_SECRETS"] = secrets.join(",");
}
