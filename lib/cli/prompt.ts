import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { CommandError, UsageError } from "./command.ts";

/** Asks for a line, and shows nothing of it. */
export type Ask = (question: string) => Promise<string>;

/**
 * Asks at a terminal, on standard error, so that an answer is neither in the shell's history nor in what is printed.
 * @param cannot The beginning of each message: `Cannot store`.
 * @throws {UsageError} There is no terminal. {@link CommandError}: whoever was asked has pressed Ctrl-C or Ctrl-D.
 */
export async function asking<T>(cannot: string, work: (ask: Ask) => Promise<T>): Promise<T> {
  const { stdin: input } = process;
  if (input.isTTY !== true) {
    throw new UsageError(`${cannot}: --prompt needs a terminal to ask at. Leave it out, and set the variables`);
  }
  // In this mode the terminal shows nothing of its own, and what the reader would show goes nowhere.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output, terminal: true });
  const answers = lines[Symbol.asyncIterator]();
  try {
    return await work(async (question) => {
      process.stderr.write(question);
      const { value, done } = await answers.next();
      process.stderr.write("\n");
      if (done === true) throw new CommandError(`${cannot}: stopped. Nothing was stored`);
      return String(value).trim();
    });
  } finally {
    lines.close();
  }
}
