import { randomBytes, randomUUID } from "node:crypto";
import { type Clock, pause, systemClock } from "../../clock.ts";
import { appKeys, defaultApp, type KeyRing } from "../../feishu/keys.ts";
import type { AppSecrets } from "../../settings/app-secrets.ts";
import { toMessage } from "../../simulator/platform/platform.ts";
import { type PushResult, spoilSignature } from "../../simulator/platform/push.ts";
import { checkAddress, toWebhook } from "../../simulator/platform/webhook.ts";
import { sampleEnvelope } from "../../simulator/samples/samples.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";

/** No handler file can have this type's events sent to it by Feishu. Only `_default.ts` would run. */
export const probeType = "larkpost.probe";
/** A new address may not be known everywhere at once. */
const waitsMs = [1_000, 2_000, 4_000, 8_000];

interface Options {
  readonly secrets: AppSecrets;
  /** Whether a handler would run for an event of the probe. Then none is pushed. */
  readonly hasDefaultHandler: boolean;
  readonly clock?: Clock;
}

/**
 * Asks each address what Feishu would ask: a challenge, an event that must be stored, and a forged one that must be
 * refused. Prints what came of it.
 * @returns Whether all was answered as it should be.
 */
export async function probe(addresses: readonly string[], options: Options): Promise<boolean> {
  const { secrets, hasDefaultHandler, clock = systemClock } = options;
  const keys: KeyRing = new Map([[defaultApp, appKeys(secrets)]]);
  const print = (isOk: boolean, text: string) => {
    console.log(`  ${isOk ? paint("green", "✔") : paint("red", "✖")} ${text}`);
    return isOk;
  };
  const newId = () => randomUUID().replaceAll("-", "");
  const deliver = (url: string, isForged: boolean) => {
    const spoil = isForged
      ? (sealed: Parameters<typeof spoilSignature>[0]) => spoilSignature(sealed) ?? sealed
      : undefined;
    const envelope = sampleEnvelope(probeType, { nowMs: clock.nowMs(), appId: secrets.appId, newId });
    return toWebhook({ url, keys, clock, randomBytes, spoil })(toMessage(JSON.stringify(envelope)), { number: 1 });
  };
  const results: boolean[] = [];
  for (const url of addresses) {
    const { result, isAccepted } = await challenge(url, { keys, clock });
    results.push(
      print(
        isAccepted,
        `${url} ${isAccepted ? "answers a challenge" : `does not answer a challenge: ${fault(result)}`}`,
      ),
    );
    // Its other answers would say the same again.
    if (!isAccepted) continue;
    if (!hasDefaultHandler) {
      const good = await deliver(url, false);
      results.push(
        print(good.delivered, good.delivered ? "stores an event" : `does not store an event: ${fault(good)}`),
      );
    }
    const forged = await deliver(url, true);
    const isRefused = forged.status === 401;
    results.push(
      print(isRefused, isRefused ? "refuses a forged event" : `does not refuse a forged event: ${fault(forged)}`),
    );
  }
  return results.every((isOk) => isOk);
}

async function challenge(url: string, { keys, clock }: { keys: KeyRing; clock: Clock }) {
  for (const waitMs of [...waitsMs, undefined]) {
    const checked = await checkAddress(randomUUID(), { url, keys, clock, randomBytes });
    if (checked.isAccepted || waitMs === undefined || checked.result.status === 401) return checked;
    await pause(clock, waitMs);
  }
  throw new Error("not reached: the last try waits for nothing");
}

function fault({ status, problem, body }: PushResult): string {
  return [problem ?? `answered ${status}`, body]
    .filter((text) => text !== "")
    .map((text) => oneLine(text, 200))
    .join(" ");
}
