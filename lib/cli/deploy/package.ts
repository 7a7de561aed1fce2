import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import type { Command } from "commander";
import { refuseFaults } from "../check/check.ts";
import { subcommand } from "../command.ts";
import { projectRoot } from "../project.ts";
import { runScript } from "../script.ts";
import { build } from "./build.ts";

/** What is uploaded for one function. */
export interface Zip {
  readonly name: string;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** Which stack it is, besides its stage: as osls has it, whatever the command. */
export interface StackOptions {
  readonly region?: string;
  readonly param?: readonly string[];
  readonly config?: string;
  readonly awsProfile?: string;
}

/** The options of osls that are known by name. A mistyped one would be ignored by osls, and another stack would follow. */
export function withStackOptions(command: Command): Command {
  return command
    .option("-r, --region <region>", "region of the stack, e.g. ap-northeast-1")
    .option("--param <name=value>", "a setting of serverless.yml; may be repeated", collect)
    .option("-c, --config <file>", "another serverless.yml")
    .option("--aws-profile <name>", "profile of the AWS credentials")
    .argument("[options...]", "after --: other options of osls, e.g. -- --verbose");
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function stackArgs({ region, param = [], config, awsProfile }: StackOptions): string[] {
  const named = { region, config, "aws-profile": awsProfile };
  const given = Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
  return [...given, ...param.flatMap((value) => ["--param", value])];
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
  const root = projectRoot();
  await refuseFaults(root, "package");
  await build({ root });
  const args = ["package", "--stage", stage, "--package", folder, ...stackArgs(stack), ...passedOn];
  const { code, output } = await osls(args, { root, isQuiet: json });
  if (code !== 0) {
    if (json) process.stderr.write(output);
    process.exitCode = 1;
    return;
  }
  const zips = zipsIn(resolve(root, folder));
  const template = "cloudformation-template-update-stack.json";
  if (json) console.log(JSON.stringify({ stage, folder: resolve(root, folder), zips, template }));
  else {
    for (const { name, bytes, sha256 } of zips) {
      console.log(`${join(folder, name)}  ${(bytes / 1024).toFixed(0)} KiB  sha256 ${sha256}`);
    }
    console.log(`${join(folder, template)}  the template`);
  }
}

/** Runs osls, the deployment tool, as {@link runScript} does. */
export function osls(args: readonly string[], { root, isQuiet = false }: { root: string; isQuiet?: boolean }) {
  const tool = createRequire(join(root, "package.json")).resolve("osls/bin/serverless.js");
  return runScript(tool, args, { root, isQuiet });
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
