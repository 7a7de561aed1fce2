import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";

/** A script of package.json beside the commands of `larkpost`, under the same rule: 2 when it was called wrongly. */
export function script(name: string): Command {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as {
    version: string;
  };
  return new Command(name).version(version).exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2));
}
