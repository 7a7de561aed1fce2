import type { Command } from "commander";
import { apiConfig } from "../../open-api/config.ts";
import { noSecret } from "../../settings/app-secrets.ts";
import { CommandError } from "../command.ts";
import { awsClients } from "../deploy/clients.ts";
import { askSsm, findSecrets, parameterName } from "../deploy/parameter-store.ts";
import { findLetters } from "./look.ts";
import { type CommonOptions, common } from "./options.ts";
import { findPlace, type Place, stoppable } from "./place.ts";
import { eventOf } from "./redrive.ts";
import { laneNamed, runHandler } from "./run.ts";
import { runLines } from "./run-text.ts";

export function addRun(parent: Command): void {
  common(parent.command("run"))
    .description("run today's handler on this machine with a dead event, and send nothing")
    .argument("<id>", "the event's id, or the message's")
    .option("--send", "really call the Open API, with APP_SECRET or, where APP_ID is another, the stage's secret")
    .addHelpText(
      "after",
      `
The files of functions/ run as they are here, without the ledger and the queues: the letter stays where it is. Calls of
the Open API are recorded and printed, and a simulated Feishu answers them. All else that the handler reaches, it
reaches for real: databases, other services. Its environment is that of this machine, with .env. Without --stage its
DynamoDB is that of a running npm start.

With --send a message goes out under the event's own uuid, so that Feishu drops a second one within an hour. It exits
with 1 when the handler fails, ends its process, or still runs at its lane's timeout.

On a stage it needs the rights of list; with --send, and of the quarantine, also ssm:GetParameter on the keys.

Examples:
  npm run dead -- run 5e3702a84e847582be8db7fb73283c02
  npm run dead -- run 5e3702a84e847582be8db7fb73283c02 --stage prod --send`,
    )
    .action(runLetter);
}

async function runLetter(
  id: string,
  { send = false, ...options }: CommonOptions & { readonly send?: boolean },
): Promise<void> {
  const { queue, json = false } = options;
  const place = await findPlace("Cannot run", options);
  try {
    const [letter] = await findLetters(place, queue, id);
    const content = letter === undefined ? undefined : eventOf(letter, await place.encryptKeys(queue))?.envelope;
    if (letter === undefined || content === undefined) {
      throw new CommandError("Cannot run it: the letter is no event that this release reads");
    }
    const api = send ? await realApi(place, content.receivedBy ?? content.app ?? undefined) : undefined;
    const { root, stage, stateFolder } = place;
    const lane = await laneNamed(letter.lane, root);
    const order = { envelope: content, place: { root, stage, stateFolder }, lane, api };
    const onText = json ? () => {} : console.log;
    const { lines, ...report } = await stoppable((signal) => runHandler(order, { onText, signal }));
    if (json) console.log(JSON.stringify({ ...report, lines, isSent: send }));
    else for (const line of runLines({ ...report, isSent: send })) console.log(line);
    if (report.verdict !== "done" && report.verdict !== "unhandled")
      throw new CommandError("The handler fails: the letter is not to be redriven yet");
  } finally {
    await place.close();
  }
}

/** @throws {CommandError} The secret is not to be had. */
async function realApi({ stage, region }: Place, appId: string | undefined) {
  const { isMarketplace, warnings: _, ...api } = apiConfig(process.env, appId);
  if (isMarketplace)
    throw new CommandError("Cannot run with --send: a marketplace app's tickets are in the stage's ledger");
  // The secret of another app, such as the one for tests in .env, does not fit the letter.
  const isOther = process.env["APP_ID"] !== undefined && process.env["APP_ID"] !== appId;
  const own = isOther ? undefined : process.env["APP_SECRET"];
  const name = stage === undefined ? "" : parameterName(stage, "app");
  const stored =
    own || stage === undefined
      ? undefined
      : await askSsm(name, findSecrets(awsClients({ region: region ?? "" }).ssm, name));
  const secret = own || stored?.appSecret;
  if (!secret) throw new CommandError(`Cannot run with --send: ${noSecret}`);
  const { appId: calledAs, origin, proxyEnv } = api;
  return { appId: calledAs, origin, proxyEnv, appSecret: secret };
}
