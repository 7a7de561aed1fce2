import { appendFileSync, mkdirSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { UsageError } from "../command.ts";
import { awsClients } from "../deploy/clients.ts";
import { hasId, type Letter, type QueueName, toLetter } from "./letters.ts";
import type { Place } from "./place.ts";
import { askAws } from "./sqs.ts";
import { takeLetters } from "./take.ts";
import { letterFacts } from "./text.ts";

/** Who dropped which letter, when and why: a JSON line for each, in the state folder of this machine. */
export const droppedFile = "dropped.jsonl";

/**
 * Asks at a terminal, on standard error. Ctrl-C and Ctrl-D are no.
 * @throws {UsageError} There is none, so nobody can answer.
 */
export async function isConfirmed(question: string): Promise<boolean> {
  const { stdin: input, stderr: output } = process;
  if (input.isTTY !== true) throw new UsageError("Cannot drop: nobody can be asked here. Pass --yes");
  const lines = createInterface({ input, output, terminal: true });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ABORT_ERR") throw error;
    output.write("\n");
    return false;
  } finally {
    lines.close();
  }
}

/**
 * Deletes letters, and writes down who did it and why before it does.
 * @returns The letters that were deleted; one that another desk has meanwhile is not among them.
 */
export async function drop(
  ids: readonly string[],
  options: { place: Place; queue: QueueName; why: string; signal: AbortSignal },
): Promise<Letter[]> {
  const { place, queue, why, signal } = options;
  const cannot = "Cannot drop";
  const who = await callerOf(cannot, place);
  const { sqs, letters } = await place.queues();
  const missing = new Set(ids);
  const dropped: Letter[] = [];
  for (const { url, isFifo } of letters[queue]) {
    const taking = { cannot, sqs, url, isFifo, atOnce: 10, isEnough: () => missing.size === 0, signal };
    await takeLetters(async (message, receipt) => {
      const letter = toLetter(message, queue, place.lanes);
      const named = ids.filter((id) => hasId(letter, id));
      if (named.length === 0) return false;
      for (const id of named) missing.delete(id);
      const line = { droppedAt: new Date().toISOString(), who, why, place: place.name, queue, ...letterFacts(letter) };
      mkdirSync(place.stateFolder, { recursive: true, mode: 0o700 });
      appendFileSync(join(place.stateFolder, droppedFile), `${JSON.stringify(line)}\n`, { mode: 0o600 });
      await askAws(cannot, "sqs:DeleteMessage", sqs.deleteMessage({ QueueUrl: url, ReceiptHandle: receipt }));
      dropped.push(letter);
      return true;
    }, taking);
  }
  return dropped;
}

/** Whom AWS takes the caller for; on this machine, its user. */
async function callerOf(cannot: string, { stage, region }: Place): Promise<string> {
  if (stage === undefined || region === undefined) return userInfo().username;
  const { sts } = awsClients({ region });
  const { Arn = "" } = await askAws(cannot, "sts:GetCallerIdentity", sts.getCallerIdentity({}));
  return Arn;
}
