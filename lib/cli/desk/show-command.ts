import type { Command } from "commander";
import { parseExact } from "../send/payload.ts";
import { appOf } from "./letters.ts";
import { findLetters } from "./look.ts";
import { type CommonOptions, common } from "./options.ts";
import { findPlace } from "./place.ts";
import { contentText, letterFacts, showText } from "./text.ts";

export function addShow(parent: Command): void {
  common(parent.command("show"))
    .description("print one dead letter: why it died, where, and what it is about")
    .argument("<id>", "the event's id, or the message's")
    .option("--payload", "its content as well, without secrets")
    .addHelpText(
      "after",
      `
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
    for (const letter of letters) {
      if (json) {
        const facts = { ...letterFacts(letter), app: appOf(letter), error: letter.error };
        console.log(JSON.stringify(isPayload ? { ...facts, payload: jsonOr(contentText(letter)) } : facts));
      } else console.log(showText(letter, { place, queue, nowMs: Date.now(), isPayload }));
    }
  } finally {
    await place.close();
  }
}

function jsonOr(text: string): unknown {
  try {
    return parseExact(text);
  } catch {
    return text;
  }
}
