import { ConfigError } from "../../errors.ts";
import { UsageError } from "../command.ts";

// What the commands share that run until they are stopped.

/** Waits for a signal, or for one of `failures`. A second signal ends the process at once. */
export async function stopReason(failures: readonly Promise<never>[]): Promise<Error | undefined> {
  const { promise: signalled, resolve } = Promise.withResolvers<undefined>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      resolve(undefined);
      process.once(signal, () => process.exit(130));
    });
  }
  return Promise.race([signalled, ...failures]).catch((error: Error) => error);
}

export function portOf(option: string | undefined, variable: string | undefined): number {
  const text = option ?? (variable || "3000");
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  const message = `Cannot start: the port "${text}" is not a number from 0 to 65535. Check`;
  throw option === undefined ? new ConfigError(`${message} PORT`) : new UsageError(`${message} --port`);
}
