import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { refuseFaults } from "../check/check.ts";
import { refusal } from "../check/finding.ts";
import { CommandError, subcommand } from "../command.ts";
import { existingRoot } from "../project.ts";
import { build } from "./build.ts";
import { osls, oslsFindings, type StackOptions, stackArgs, withStackOptions } from "./osls.ts";
import { readStack, templateFile } from "./stack.ts";

/** What is uploaded for one function. */
export interface Zip {
  readonly name: string;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

export function packageCommand(): Command {
  return withStackOptions(subcommand("package"))
    .description("bundle the functions, zip them and write the template, all on this machine: nothing is uploaded")
    .option("--stage <stage>", "stage that the template is for", "dev")
    .option("--package <folder>", "where to write", ".serverless")
    .option("--json", "print JSON instead of text for a person")
    .addHelpText("after", "\nNeeds no account and no network. The same sources give the same zips, byte for byte.")
    .action(run);
}

async function run(
  passedOn: readonly string[],
  { stage, package: folder, json = false, ...stack }: StackOptions & { stage: string; package: string; json?: boolean },
): Promise<void> {
  const root = existingRoot();
  await refuseFaults(root, "package");
  await build({ root });
  const args = ["package", "--stage", stage, "--package", folder, ...stackArgs(stack), ...passedOn];
  const { code, output } = await osls(args, { root, isQuiet: true });
  const written = resolve(root, folder);
  const findings = code === 0 ? readStack(written, { root, stage, ...stack }).findings : oslsFindings(output);
  if (code !== 0 || findings.length > 0) throw new CommandError(refusal("package", findings));
  if (!json) process.stdout.write(output);
  const zips = zipsIn(written);
  if (json) console.log(JSON.stringify({ stage, folder: written, zips, template: templateFile }));
  else {
    for (const { name, bytes, sha256 } of zips) {
      console.log(`${join(folder, name)}  ${(bytes / 1024).toFixed(0)} KiB  sha256 ${sha256}`);
    }
    console.log(`${join(folder, templateFile)}  the template`);
  }
}

function zipsIn(folder: string): Zip[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".zip"))
    .sort()
    .map((name) => {
      const file = join(folder, name);
      const content = readFileSync(file);
      return { name, file, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
    });
}
