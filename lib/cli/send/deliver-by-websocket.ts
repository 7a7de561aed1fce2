import { parseJson } from "../../feishu/json.ts";
import { exchange } from "../../https.ts";
import type { Deliver } from "../../simulator/platform/platform.ts";
import type { PushResult } from "../../simulator/platform/push.ts";
import { CommandError } from "../command.ts";
import type { Target } from "../state/target.ts";

/**
 * Delivers over the long connection to the simulated platform of `npm start -- --long-connection` or `npm run simulate`.
 * @throws {CommandError} There is no such connection.
 */
export function deliverByWebSocket({ control }: Pick<Target, "control">): Deliver {
  const advice = 'Run "npm start -- --long-connection" without the keys of a real app, or "npm run simulate"';
  if (control === undefined) throw new CommandError(`Cannot send over the long connection: there is none. ${advice}`);
  const { url, token } = control;
  return async ({ text: pushed }, { signal }) => {
    const headers = { authorization: `Bearer ${token}` };
    const body = JSON.stringify({ text: pushed });
    const sent = { method: "POST", headers, body, signal };
    const { status, bytes } = await exchange(new URL("/push", url), sent).catch((cause: unknown) => {
      signal?.throwIfAborted();
      throw new CommandError("Cannot send over the long connection: the simulated Feishu has ended", { cause });
    });
    if (status !== 200) throw new CommandError(`Cannot send over the long connection: there is none. ${advice}`);
    return parseJson(String(bytes)) as PushResult;
  };
}
