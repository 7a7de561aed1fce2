import { CommandError, oneLine } from "../command.ts";
import { progressLine } from "../paint.ts";
import { hasId, type Letter, type QueueName, toLetter } from "./letters.ts";
import { wholeId } from "./log.ts";
import type { Place } from "./place.ts";

/** The letters of a place's queue. At a terminal, it shows its progress. */
export async function lettersIn(place: Place, queue: QueueName): Promise<{ letters: Letter[]; total: number }> {
  const progress = progressLine();
  const { messages, total } = await place.look(queue, (seen, of) => progress.show(`${seen} of ${of} seen`));
  progress.clear();
  return { letters: messages.map((message) => toLetter(message, queue, place.lanes)), total };
}

/** @throws {CommandError} None was seen. */
export async function findLetters(place: Place, queue: QueueName, id: string): Promise<Letter[]> {
  const { letters, total } = await lettersIn(place, queue);
  const whole = wholeId("Cannot find it", id, new Set(letters.flatMap((letter) => letter.id ?? [])));
  const found = letters.filter((letter) => hasId(letter, id) || hasId(letter, whole));
  if (found.length > 0) return found;
  throw notFound(
    id,
    queue,
    place,
    letters.length < total ? `: ${letters.length} of about ${total} were seen, so try again` : undefined,
  );
}

export function notFound(
  id: string,
  queue: QueueName,
  { name, args }: Place,
  advice = `. Check the id: "npm run dead -- list${queue === "dead" ? "" : ` --queue ${queue}`}${args}"`,
): CommandError {
  return new CommandError(`Cannot find "${oneLine(id, 128)}" among the ${queue} letters of ${name}${advice}`);
}
