// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Policy, policiesOnPage } from "../../../docs/deployer-policy.ts";
import type { Resource } from "../../../lib/cli/deploy/stack.ts";
import { oslsEnv } from "../../infra/stack.ts";
import type { Cloud } from "../../support/cloud.ts";
import { isAllowedBy } from "../../support/iam.ts";
import { shareOsls } from "../../support/shared-osls.ts";
import { command, env, type startReceiver } from "../run.ts";
import { cloudWithReceiver, smallProject } from "./deployment.ts";

// Each test goes on where the one before it ended. LIFE_LOG names a file for all that is printed.

const isShown = (output: string) => !output.includes("Select a timestamp");

describe("the life of a stage, by the real osls", () => {
  let made: Awaited<ReturnType<typeof smallProject>>;
  let osls: ReturnType<typeof shareOsls>;
  let cloud: Cloud;
  let receiver: Awaited<ReturnType<typeof startReceiver>>;

  before(async () => {
    [made, { cloud, receiver }] = await Promise.all([smallProject(), cloudWithReceiver()]);
    osls = shareOsls(made.root);
    cloud.store.put("/larkpost/prod/app", undefined);
  });
  after(async () => {
    osls.stop();
    await Promise.all([cloud.stop(), receiver.stop()]);
    made.remove();
  });

  const settingsOf = () => ({ ...oslsEnv, ...cloud.env, HOME: made.root, LARKPOST_ROOT: made.root, ...env });
  /** Runs a command of the stage. */
  async function run(name: string, ...args: string[]) {
    const settings = settingsOf();
    const all = ["--stage", "prod", ...args];
    const ended = await command([...name.split(" "), ...all], { env: settings });
    // Others it asks quietly.
    const shown = osls.runs.splice(0).filter(({ args: [task], ...one }) => task !== "package" && isShown(one.output));
    const byOsls = shown.map(({ output }) => output).join("");
    if (process.env["LIFE_LOG"]) {
      const typed = ["npm run", ...name.split(" ").toSpliced(1, 0, "--"), ...all].join(" ");
      const said = ended.stdout.replace(/^(Deploys|Rolls|Removes) the stack .*\n/m, (line) => line + byOsls);
      appendFileSync(process.env["LIFE_LOG"], `$ ${typed}\n${said}${ended.stderr}(exit code ${ended.code})\n\n`);
    }
    return { ...ended, byOsls };
  }
  const stack = () => cloud.stacks.get("larkpost-prod");
  const domain = () => {
    const { Environment } = stack()?.template.Resources["WorkerLambdaFunction"]?.Properties ?? {};
    return (Environment as { Variables: Record<string, string> }).Variables["LARK_DOMAIN"];
  };
  /** The deployment whose code runs. */
  const timestampOfCode = () => /"S3Key":"[^"]*\/(\d{13})-/.exec(JSON.stringify(stack()?.template))?.[1];
  /** What `rollback` printed last, and the deployments in such a list, newest first. */
  let list = "";
  const listed = (text: string) => [...text.matchAll(/^ {2}(\d{13}) /gm)].map(([, timestamp = ""]) => timestamp);
  const holders = ["events", "dead-letters", "quarantine", "ledger"].map((what) => `larkpost-prod-${what}`);

  test("a first deployment that fails leaves no queue and no table behind, in the way of the next", async () => {
    assert.equal((await run("secrets set")).code, 0);
    cloud.failAt("WorkerLambdaFunction");
    const { code, stdout, stderr } = await run("deploy");
    assert.equal(code, 1);
    assert.match(stderr, /^AWS rolled it back: the stack larkpost-prod is as it was before\.$/m);
    assert.equal(stdout, "Deploys the stack larkpost-prod in ap-southeast-1 of account 111122223333\n");
    assert.equal(existsSync(join(made.root, "larkpost.stages.json")), false);
    assert.deepEqual([stack()?.status, cloud.holders.size], ["UPDATE_ROLLBACK_COMPLETE", 0]);
  });

  test("makes the stack, protects it, prints its addresses and what to paste where, and asks them what Feishu asks", async () => {
    const { code, stdout, stderr } = await run("deploy");
    assert.equal(code, 0, stderr);
    const { status, isProtected, policy } = stack() ?? {};
    assert.deepEqual([status, isProtected], ["UPDATE_COMPLETE", true]);
    assert.match(policy ?? "", /LogicalResourceId\/LedgerTable/);
    assert.equal(cloud.holders.get("larkpost-prod-ledger")?.isProtected, true);
    const callbackUrl = receiver.url.replace("webhook", "callback");
    for (const expected of [
      "Protected the table larkpost-prod-ledger from deletion",
      `Request address   ${receiver.url}`,
      `Callback address  ${callbackUrl}`,
      "Send notifications to developer's server",
      "Send callbacks to developer's server",
      "Publish a version of the app",
      "npm run secrets -- set --stage prod",
      ...[receiver.url, callbackUrl].map(
        (url) => `  ✔ ${url} answers a challenge\n  ✔ refuses a forged event\n  ✔ stores an event\n`,
      ),
    ]) {
      assert.ok(stdout.replaceAll(/, \d+ ms$/gm, "").includes(expected), stdout);
    }
    const kinds = receiver.received.map(({ envelope }) => envelope?.kind ?? "forged");
    assert.deepEqual(kinds, ["challenge", "forged", "event", "challenge", "forged", "event"]);
    assert.deepEqual(
      receiver.received.flatMap(({ envelope }) => (envelope?.kind === "event" ? [envelope.type] : [])),
      ["larkpost.smoke", "larkpost.smoke"],
    );
  });

  test("--smoke follows the event of the probe; an update that fails is rolled back, and its deployment is listed as one that does not run", async () => {
    // The page names this right beside the policy, for whoever passes --smoke.
    cloud.denied.add("dynamodb:GetItem");
    const smoked = await run("deploy", "--param", "larkDomain=lark", "--smoke");
    cloud.denied.clear();
    cloud.calls.splice(0, cloud.calls.length, ...cloud.calls.filter((call) => call !== "dynamodb:GetItem"));
    assert.equal(smoked.code, 1);
    assert.match(smoked.stdout, /^Tries the stage prod in ap-southeast-1:\n.* answers a challenge, \d+ ms\n/m);
    assert.match(smoked.stderr, /^The hop "ledger" of the stage prod .* fails\. You need the right dynamodb:GetItem$/m);
    assert.equal(domain(), "lark");
    cloud.failAt("CallbackLambdaFunction");
    const { code, stdout, stderr, byOsls } = await run("deploy", "--param", "legacyCardCallback=true", "--no-probe");
    assert.equal(code, 1);
    assert.match(byOsls, /^UPDATE_FAILED: CallbackLambdaFunction /m);
    assert.match(stderr, /^AWS rolled it back/m);
    assert.doesNotMatch(stdout, /Request address/);
    assert.equal(domain(), "lark");
    const other = await run("rollback", "--to", "1");
    assert.equal(other.code, 1);
    assert.match(other.stderr, /^Cannot roll back: there is no deployment 1\. Deployments of larkpost-prod/);
    list = other.stderr;
    const [failed, current, ...others] = listed(list);
    assert.ok(list.includes(`  ${failed}  `) && list.includes("newer: it failed, or was rolled back"), list);
    assert.match(list, new RegExp(`^ {2}${current} .* UTC {2}runs now$`, "m"));
    assert.ok(others.length >= 1);
    assert.match(list, / npm run rollback -- --stage prod --region ap-southeast-1 --to <timestamp> --dry-run$/m);
  });

  test("rollback goes back to a deployment of the list, says what changes back, and asks the addresses", async () => {
    const [, current = "", before = ""] = listed(list);
    const refused = await run("rollback", "--to", current);
    assert.equal(refused.code, 1);
    assert.ok(refused.stderr.startsWith(`Cannot roll back: ${current} runs now. Deployments of`), refused.stderr);
    const dry = await run("rollback", "--to", before, "--dry-run");
    assert.equal(dry.code, 0, dry.stderr);
    assert.match(dry.stdout, /^Would go back from .* UTC to .* UTC:$/m);
    assert.match(dry.stdout, /^ {2}~ updates WorkerLambdaFunction \(AWS::Lambda::Function\): Code, Environment$/m);
    assert.equal(domain(), "lark");
    cloud.denied.add("cloudformation:CreateChangeSet");
    const unseen = await run("rollback", "--to", before, "--dry-run");
    cloud.denied.clear();
    const said = "AccessDenied (cloudformation:CreateChangeSet). You need the right cloudformation:CreateChangeSet\n";
    assert.deepEqual([unseen.code, unseen.stderr], [1, `Cannot go on: ${said}`]);
    // The queue of a lane that this earlier deployment does not have.
    const resources = stack()?.template.Resources as Record<string, Resource>;
    resources["EventsAiQueue"] = { Type: "AWS::SQS::Queue", DeletionPolicy: "Retain" };
    const [lost, kept] = [await run("rollback", "--to", before, "--dry-run"), await run("rollback", "--to", before)];
    delete resources["EventsAiQueue"];
    const line =
      "  - lets go of EventsAiQueue (AWS::SQS::Queue): it stays, outside of the stack. Refused: the engine needs it\n";
    assert.deepEqual([lost.code, lost.stderr], [1, ""]);
    assert.ok(lost.stdout.includes(line), lost.stdout);
    assert.deepEqual([kept.code, kept.stderr], [1, `Cannot roll back. Something would be lost:\n${line}`]);
    assert.equal(domain(), "lark");
    const { code, stdout, stderr } = await run("rollback", "--to", before);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /The next "npm run deploy" deploys what is in this folder/);
    assert.match(stdout, /answers a challenge, \d+ ms\n {2}✔ refuses a forged event, \d+ ms\n/);
    assert.equal(domain(), "feishu");
    const again = (await run("rollback")).stdout;
    assert.match(again, new RegExp(`^ {2}${before} .* UTC {2}runs now$`, "m"));
  });

  test("what was uploaded last and does not run is deployed, though osls knows it", async () => {
    const { code, byOsls } = await run("deploy", "--param", "legacyCardCallback=true", "--no-probe");
    assert.equal(code, 0);
    assert.match(byOsls, /Service deployed/);
    assert.ok(Number(timestampOfCode()) > Number(listed(list)[0]));
  });

  test("the policy of the docs allows all that these commands call", () => assertAllowed());

  test("remove refuses a protected stack; else it keeps what holds events, and says how to go on with it or delete it", async () => {
    const refused = await run("remove");
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /is protected from deletion\. Run "aws cloudformation update-termination-protection --no-/,
    );
    assert.equal(stack()?.status, "UPDATE_COMPLETE");
    Object.assign(stack() ?? {}, { isProtected: false });
    cloud.putStack("larkpost-prod-long-connection", { Resources: {} });
    assert.match(
      (await run("remove")).stderr,
      /^Cannot remove: the stack larkpost-prod-long-connection uses a role of/,
    );
    cloud.stacks.delete("larkpost-prod-long-connection");
    const Resources = { Orders: { Type: "AWS::DynamoDB::Table" }, Topic: { Type: "AWS::SNS::Topic" } };
    Object.assign(stack()?.template.Resources ?? {}, Resources);
    const { code, stdout, stderr } = await run("remove");
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.match(/^.*deletes.*$/gm), ["  - deletes Orders (AWS::DynamoDB::Table) and its items"]);
    assert.deepEqual([...cloud.stacks.keys()], []);
    assert.deepEqual([...cloud.holders.keys()].sort(), holders.toSorted());
    const recorded = JSON.parse(readFileSync(join(made.root, "larkpost.stages.json"), "utf8")) as unknown;
    assert.deepEqual(recorded, {});
    const url = "https://sqs.ap-southeast-1.amazonaws.com/111122223333/larkpost-prod";
    for (const line of [
      `  EventsQueue      ${url}-events`,
      "  LedgerTable      larkpost-prod-ledger",
      "  keys             /larkpost/prod/app",
      "  npm run deploy -- --stage prod --adopt",
      `  aws sqs delete-queue --queue-url ${url}-quarantine --region ap-southeast-1`,
      "  aws dynamodb update-table --no-deletion-protection-enabled --table-name larkpost-prod-ledger --region ap-southeast-1",
      "  aws dynamodb delete-table --table-name larkpost-prod-ledger --region ap-southeast-1",
      "  aws ssm delete-parameter --name /larkpost/prod/app --region ap-southeast-1",
    ]) {
      assert.ok(stdout.includes(`${line}\n`), stdout);
    }
    assert.match((await run("remove")).stderr, /^Cannot remove: there is no stack larkpost-prod in ap-southeast-1/);
  });

  test("the region of .env is that of a deployment, too", async (t) => {
    const file = join(made.root, ".env");
    t.after(() => rmSync(file));
    writeFileSync(file, "AWS_REGION=eu-west-1\n");
    for (const name of ["remove", "rollback", "status"]) {
      const { stderr } = await command([name, "--stage", "prod"], { env: { ...settingsOf(), AWS_REGION: undefined } });
      assert.match(stderr, /there is no stack \S+ in eu-west-1/, name);
    }
  });

  test("deploy --adopt goes on with what remove has left; --dry-run then finds that nothing changes when only the zips' place does", async () => {
    cloud.calls.length = 0;
    const left = holders.map((name) => cloud.holders.get(name));
    const { code, stdout, stderr } = await run("deploy", "--adopt");
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^ {2}IMPORT_COMPLETE {2}LedgerTable \(AWS::DynamoDB::Table\)$/m);
    assert.ok(stdout.includes(`\nAdopted ${holders.join(", ")}, with what is in them\n`), stdout);
    assert.match(stdout, /refuses a forged event/);
    assert.deepEqual([stack()?.status, stack()?.isProtected], ["UPDATE_COMPLETE", true]);
    for (const [index, name] of holders.entries()) {
      assert.equal(cloud.holders.get(name), left[index]);
      assert.equal(left[index]?.stack, stack());
    }
    const { EventsQueue } = stack()?.template.Resources ?? {};
    assert.equal(EventsQueue?.DeletionPolicy, "RetainExceptOnCreate");
    const again = await run("deploy", "--dry-run");
    assert.equal(again.code, 0, again.stderr);
    assert.equal(
      again.stdout,
      "Would change nothing of the stack larkpost-prod in ap-southeast-1 of account 111122223333\n",
    );
    assertAllowed();
  });

  /** That whoever has the rights on the page may do what was done since the calls were forgotten. */
  function assertAllowed(): void {
    const [policy] = policiesOnPage() as [Policy];
    const needed = [...new Set(cloud.calls)].filter((call) => call !== "sts:GetCallerIdentity");
    assert.ok(needed.length >= 15, needed.join());
    assert.deepEqual(
      needed.filter((call) => !isAllowedBy(policy, call)),
      [],
    );
  }
});
