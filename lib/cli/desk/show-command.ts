import type { Command } from "commander";
import { LarkpostError } from "../../errors.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import { parseExact } from "../send/payload.ts";
import { contentText, type LetterLog, showText } from "./letter-text.ts";
import { appOf, type Letter } from "./letters.ts";
import { logOf } from "./log.ts";
import { findLetters } from "./look.ts";
import { type CommonOptions, common } from "./options.ts";
import { findPlace, type Place, stoppable } from "./place.ts";
import { eventOf } from "./redrive.ts";
import { letterFacts } from "./text.ts";
import { entryFacts } from "./timeline.ts";

export function addShow(parent: Command): void {
  common(parent.command("show"))
    .description("print one dead letter: why it died, where, and what it is about")
    .argument("<id>", "the event's id, or the message's")
    .option("--payload", "its content as well, without secrets")
    .addHelpText(
      "after",
      `
With what the log says of it: on a stage by a query of CloudWatch Logs Insights, as npm run trace makes it, and with the
rights of that. Without them the letter is shown alone. With --queue quarantine and --payload, what was received
encrypted is decrypted: on a stage by the right ssm:GetParameter on the keys.

Examples:
  npm run dead -- show 5e3702a84e847582be8db7fb73283c02
  npm run dead -- show 5e3702a84e847582be8db7fb73283c02 --payload --stage prod`,
    )
    .action(show);
}

async function show(
  id: string,
  { payload: isPayload = false, ...options }: CommonOptions & { readonly payload?: boolean },
): Promise<void> {
  const { queue, json = false } = options;
  const place = await findPlace("Cannot show", options);
  try {
    const letters = await findLetters(place, queue, id);
    const encryptKeys = isPayload ? await place.encryptKeys(queue) : [];
    for (const letter of letters) {
      const text = isPayload ? contentText(letter, encryptKeys) : undefined;
      const log = await stoppable((signal) => logAbout(letter, place, signal));
      if (json) {
        const facts = { ...letterFacts(letter), app: appOf(letter), error: letter.error };
        const payload = text === undefined ? undefined : { payload: jsonOr(text) };
        console.log(
          JSON.stringify({ ...facts, ...payload, log: log.entries.map(entryFacts), logProblem: log.problem }),
        );
      } else {
        const isReadable = eventOf(letter, encryptKeys) !== undefined;
        console.log(showText(letter, { place, queue, nowMs: Date.now(), payload: text, isReadable, log }));
      }
    }
  } finally {
    await place.close();
  }
}

/** What the log says of a letter's event. A right that is missing for it does not keep the letter from being shown. */
async function logAbout(letter: Letter, place: Place, signal: AbortSignal): Promise<LetterLog> {
  const { firstAttemptAtMs, diedAtMs } = letter;
  const id = letter.id ?? stringOf(fieldsOf(parseJson(letter.body))["requestId"]);
  if (id === undefined) return { entries: [] };
  const content = letter.content();
  const firstMs = content.kind === "unreadable" ? diedAtMs : (content.createdAtMs ?? diedAtMs);
  const sinceMs = Math.min(firstMs, firstAttemptAtMs ?? diedAtMs, diedAtMs) - logMarginMs;
  const range = { sinceMs: place.stage === undefined ? 0 : sinceMs, untilMs: diedAtMs + logMarginMs };
  try {
    return { entries: await logOf("Cannot read the log", place).about(id, range, signal) };
  } catch (error) {
    if (!(error instanceof LarkpostError)) throw error;
    return { entries: [], problem: error.message };
  }
}

/** Around what a letter says of its times: clocks differ. */
const logMarginMs = 600_000;

function jsonOr(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}
