import { randomBytes, randomUUID } from "node:crypto";
import type { SSM } from "@aws-sdk/client-ssm";
import { type Clock, pause, systemClock } from "../../clock.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { appKeys, defaultApp, type KeyRing } from "../../feishu/keys.ts";
import type { AppSecrets } from "../../settings/app-secrets.ts";
import { toMessage } from "../../simulator/platform/platform.ts";
import { type PushResult, spoilSignature } from "../../simulator/platform/push.ts";
import { checkAddress, toWebhook } from "../../simulator/platform/webhook.ts";
import { sampleEnvelope } from "../../simulator/samples/samples.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { reasonOf } from "./clients.ts";
import { findSecrets } from "./parameter-store.ts";
import { type Stack, variableOf } from "./stack.ts";

/** Feishu has no such type, so no handler file is named after it. Only `_default.ts` would run. */
const probeType = "larkpost.probe";
/** A new address may not be known everywhere at once. */
const waitsMs = [1_000, 2_000, 4_000, 8_000];

interface Options {
  readonly secrets: AppSecrets;
  /** Whether a handler would run for an event of the probe. Then none is pushed. */
  readonly hasDefaultHandler: boolean;
  readonly clock?: Clock;
}

/**
 * Probes the addresses of a stack, with the keys that are stored for it.
 * @returns Whether nothing is wrong with them.
 */
export async function probeStack(
  addresses: readonly string[],
  { stack, ssm, hasDefaultHandler }: { stack: Stack; ssm: SSM } & Pick<Options, "hasDefaultHandler">,
): Promise<boolean> {
  const parameter = variableOf(stack, "WebhookLambdaFunction", "SECRETS_PARAMETER") ?? "";
  let secrets: AppSecrets | undefined;
  try {
    secrets = await findSecrets(ssm, parameter);
  } catch (error) {
    // Whoever deploys, such as CI, need not be allowed to read the keys.
    console.error(`Did not probe the addresses: ${parameter} cannot be read (${reasonOf(error)})`);
    return true;
  }
  if (secrets === undefined) {
    console.error(`Did not probe the addresses: there is no ${parameter} any more`);
    return false;
  }
  console.log("What the addresses answer:");
  return probe(addresses, { secrets, hasDefaultHandler });
}

/**
 * Asks each address what Feishu would ask: a challenge, an event that must be stored, and a forged one that must be
 * refused. Prints what came of it.
 * @returns Whether all was answered as it should be.
 */
export async function probe(addresses: readonly string[], options: Options): Promise<boolean> {
  const { secrets, hasDefaultHandler, clock = systemClock } = options;
  const keys: KeyRing = new Map([[defaultApp, appKeys(secrets)]]);
  const deliver = (url: string, spoil?: typeof forge) => {
    const newId = () => randomUUID().replaceAll("-", "");
    const envelope = sampleEnvelope(probeType, { nowMs: clock.nowMs(), appId: secrets.appId, newId });
    return toWebhook({ url, keys, clock, randomBytes, spoil })(toMessage(JSON.stringify(envelope)), { number: 1 });
  };
  const results: boolean[] = [];
  /** @param did What the address did, or did not do. */
  const report = (isOk: boolean, [did, didNot]: readonly [string, string], result: PushResult) => {
    console.log(isOk ? `  ${paint("green", "✔")} ${did}` : `  ${paint("red", "✖")} ${didNot}: ${fault(result)}`);
    results.push(isOk);
  };
  for (const url of addresses) {
    const { result, isAccepted } = await challenge(url, { keys, clock });
    report(isAccepted, [`${url} answers a challenge`, `${url} does not answer a challenge`], result);
    // Its other answers would say the same again.
    if (!isAccepted) continue;
    if (!hasDefaultHandler) {
      const good = await deliver(url);
      report(good.delivered, ["stores an event", "does not store an event"], good);
    }
    const forged = await deliver(url, forge);
    report(forged.status === 401, ["refuses a forged event", "does not refuse a forged event"], forged);
  }
  return results.every((isOk) => isOk);
}

function forge(sealed: SealedRequest): SealedRequest {
  const forged = spoilSignature(sealed);
  if (forged === undefined) throw new TypeError("An event without a signature cannot be forged");
  return forged;
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
