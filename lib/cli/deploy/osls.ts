import { createRequire } from "node:module";
import { join } from "node:path";
import type { Command } from "commander";
import type { Finding } from "../check/finding.ts";
import { oneLine, UsageError } from "../command.ts";
import { existingRoot, loadEnv } from "../project.ts";
import { runScript } from "../script.ts";

/** With the stage, these name a stack. They are options of osls, the same for each of its commands. */
export interface StackOptions {
  readonly region?: string;
  readonly param?: readonly string[];
  readonly config?: string;
  readonly awsProfile?: string;
}

/**
 * The options of osls that are known by name. A mistyped one would be ignored by osls, and another stack would follow.
 * What .env has for AWS, such as a region, chooses the stack of the other commands, too. Its app is this machine's.
 */
export function withStackOptions(command: Command): Command {
  return command
    .hook("preAction", () => loadEnv(existingRoot(), (name) => name.startsWith("AWS_")))
    .option("-r, --region <region>", "region of the stack, e.g. ap-northeast-1")
    .option("--param <name=value>", "a setting of serverless.yml; may be repeated", collect)
    .option("-c, --config <file>", "another serverless.yml")
    .option("--aws-profile <name>", "profile of the AWS credentials")
    .argument("[options...]", "after --: other options of osls, e.g. -- --verbose", passOn);
}

/** Options that choose the stack. Larkpost must read them itself, since its own checks are about that stack. */
const ofStack = /^(--stage|-s|--region|-r|--param|--config|-c|--aws-profile)(=|$)/;

/** Options of osls without a value, and the "--" itself: what is behind one is not its value. */
const withoutValue = /^(--|--(verbose|conceal|force|aws-s3-accelerate|minify-template|help|version|no-.*)|-h|-v)$/;

/**
 * @throws {UsageError} It is a word such as "prod", neither an option nor the value of the one before it: osls ignores it,
 * and does its work on another stack than the one that was meant.
 */
function passOn(text: string, before: readonly string[] = []): readonly string[] {
  const shown = oneLine(text, 100);
  if (ofStack.test(text)) throw new UsageError(`Cannot pass ${shown} on to osls. Write it before the second --`);
  const last = before.at(-1) ?? "";
  if (text.startsWith("-") || (/^-[^=]*$/.test(last) && !withoutValue.test(last))) return [...before, text];
  const question = text === "" ? "Remove it" : `Did you mean --stage ${shown}?`;
  throw new UsageError(`Cannot take "${shown}": it is no option. ${question}`);
}

function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function stackArgs({ region, param = [], config, awsProfile }: StackOptions): string[] {
  const named = { region, config, "aws-profile": awsProfile };
  const args = Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
  return [...args, ...param.flatMap((value) => ["--param", value])];
}

/** Runs osls, the deployment tool, as {@link runScript} does. */
export function osls(args: readonly string[], { root, isQuiet = false }: { root: string; isQuiet?: boolean }) {
  const tool = createRequire(join(root, "package.json")).resolve("osls/bin/serverless.js");
  return runScript(tool, args, { root, isQuiet });
}

/** What osls has against a stack: each reason once, though osls says it for every part that it stops. */
export function oslsFindings(output: string): Finding[] {
  return reasonsIn(output).map((message) => ({ part: "deployment", file: "serverless.yml", message }));
}

/** The reasons in what osls printed: after `Error:`, and in it behind the part that could not be resolved. */
function reasonsIn(output: string): string[] {
  const [, text = output] = /^Error:\n([\s\S]*)/m.exec(output) ?? [];
  const lines = text.split("\n").flatMap((line) => {
    const reason = line
      .replace(/^\s*- Cannot resolve variable at "[^"]*": /, "")
      .replace(/^Cannot resolve "[^"]*" out of "[^"]*": Received rejection: /, "")
      .replace(/^Cannot deploy: /, "")
      .replace(/,$/, "")
      .trim();
    const isReason = !/^$|^Learn more about|Variables resolution errored with:$/.test(reason);
    return isReason ? [oneLine(reason)] : [];
  });
  return lines.length === 0 ? ["osls cannot compile it, and says no reason"] : [...new Set(lines)];
}
