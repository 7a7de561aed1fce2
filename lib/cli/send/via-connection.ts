import type { Deliver } from "../../simulator/platform/platform.ts";
import type { PushResult } from "../../simulator/platform/push.ts";
import { UsageError } from "../command.ts";
import type { Target } from "../state/target.ts";

/**
 * Delivers over the long connection that the running `npm start -- --long-connection` has with its simulated platform.
 * @throws {UsageError} There is none.
 */
export function viaConnection({ control }: Pick<Target, "control">): Deliver {
  const advice = 'Run "npm start -- --long-connection" without the keys of a real app';
  if (control === undefined) throw new UsageError(`Cannot send over the long connection: there is none. ${advice}`);
  const { url, token } = control;
  return async ({ text }, { signal }) => {
    const headers = { authorization: `Bearer ${token}` };
    const body = JSON.stringify({ text });
    const response = await fetch(`${url}/push`, { method: "POST", headers, body, signal: signal ?? null }).catch(
      (cause: unknown) => {
        signal?.throwIfAborted();
        throw new UsageError("Cannot send over the long connection: npm start has ended", { cause });
      },
    );
    if (!response.ok) throw new UsageError(`Cannot send over the long connection: there is none. ${advice}`);
    return (await response.json()) as PushResult;
  };
}
