import { randomBytes, randomUUID } from "node:crypto";
import type { SSM } from "@aws-sdk/client-ssm";
import { type Clock, pause, systemClock } from "../../clock.ts";
import type { SealedRequest } from "../../feishu/envelope.ts";
import { appKeys, defaultApp, type KeyRing } from "../../feishu/keys.ts";
import { smokeType } from "../../handling/dispatcher.ts";
import type { AppSecrets } from "../../settings/app-secrets.ts";
import { toMessage } from "../../simulator/platform/platform.ts";
import { type PushResult, spoilSignature } from "../../simulator/platform/push.ts";
import { checkAddress, toWebhook } from "../../simulator/platform/webhook.ts";
import { randomId, sampleEnvelope } from "../../simulator/samples/samples.ts";
import { oneLine } from "../command.ts";
import { paint } from "../paint.ts";
import { probeLogId } from "../start/render.ts";
import { reasonOf } from "./clients.ts";
import { findSecrets } from "./parameter-store.ts";
import { type Stack, variableOf } from "./stack.ts";

/** A new address may not be known everywhere at once. */
const newAddressMs = [1_000, 2_000, 4_000, 8_000];

/** A step of an event's or a click's way, and what came of it. */
export interface Hop {
  readonly hop: "challenge" | "forged push" | "push" | "queue" | "ledger" | "click";
  readonly isOk: boolean;
  readonly ms: number;
  /** What the step did, or did not do and why. */
  readonly text: string;
  /** What to check, if it did not. */
  readonly advice?: string;
  readonly address?: string;
  /** What the address answered, if it answered; or why it did not: `ENOTFOUND`. */
  readonly status?: number | null;
  readonly code?: string | undefined;
  /** The lane that the event goes to, if it has one. */
  readonly lane?: string;
}

/** Whose pushes an address takes. */
export interface Sender {
  readonly keys: KeyRing;
  readonly appId: string;
}

export function senderOf({ appId, ...secrets }: AppSecrets): Sender {
  return { appId, keys: new Map([[defaultApp, appKeys({ appId, ...secrets })]]) };
}

/** The addresses among a stack's outputs. */
export function addressesOf(outputs: ReadonlyMap<string, string>): string[] {
  return [...outputs].flatMap(([name, value]) => (/^(Request|Callback)Address/.test(name) ? [value] : []));
}

/**
 * Probes the addresses of a stack, with the keys that are stored for it.
 * @returns Whether nothing is wrong with them.
 */
export async function probeStack(
  addresses: readonly string[],
  { stack, ssm }: { stack: Stack; ssm: SSM },
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
  let isOk = true;
  const onHop = (hop: Hop) => {
    isOk &&= hop.isOk;
    console.log(hopLine(hop));
  };
  for (const url of addresses) await probe(url, { ...senderOf(secrets), onHop });
  return isOk;
}

export function hopLine({ isOk, ms, text, lane }: Hop): string {
  const what = lane === undefined ? text : `lane ${lane}: ${text}`;
  return isOk ? `  ${paint("green", "✔")} ${what}, ${ms} ms` : `  ${paint("red", "✖")} ${what}`;
}

interface ProbeOptions extends Sender {
  readonly onHop: (hop: Hop) => void;
  readonly clock?: Clock | undefined;
  /** Between two challenges, until one is answered. */
  readonly waitsMs?: readonly number[] | undefined;
}

/**
 * Asks an address what Feishu would ask: a challenge, a forged event that must be refused, and one that must be stored.
 * @returns `isReached`: it has answered the challenge. `eventId`: that of the event that it has stored.
 */
export async function probe(
  url: string,
  { keys, appId, onHop, clock = systemClock, waitsMs = newAddressMs }: ProbeOptions,
): Promise<{ readonly isReached: boolean; readonly eventId?: string | undefined }> {
  const { result, isAccepted } = await challenge(url, { keys, clock, waitsMs });
  const advice = adviceOn(result);
  onHop(
    hopOf("challenge", isAccepted, result, [
      `${url} answers a challenge`,
      `${url} does not answer a challenge`,
      advice,
    ]),
  );
  // Its other answers would say the same again.
  if (!isAccepted) return { isReached: false };
  // Without an Encrypt Key, nothing is signed.
  if (keys.get(defaultApp)?.encryptKeys.length !== 0) {
    const forged = await pushSmoke(url, { keys, appId, clock, spoil: forge });
    onHop(
      hopOf("forged push", forged.result.status === 401, forged.result, [
        "refuses a forged event",
        "does not refuse a forged event",
        "Anybody may push to it: look at what stands before the function, and at ALLOW_UNENCRYPTED",
      ]),
    );
  }
  return { isReached: true, eventId: await storeSmoke(url, { keys, appId, clock, onHop }) };
}

/**
 * Pushes an event that no handler gets.
 * @param type Of the smoke test: another one reaches a lane.
 * @returns Its id, if it was stored.
 */
export async function storeSmoke(
  url: string,
  { onHop, clock = systemClock, ...sender }: ProbeOptions & { readonly type?: string },
): Promise<string | undefined> {
  const { result, eventId } = await pushSmoke(url, { ...sender, clock });
  onHop(hopOf("push", result.delivered, result, ["stores an event", "does not store an event", adviceOn(result)]));
  return result.delivered ? eventId : undefined;
}

/** @param texts What it did, what it did not do, and what to check then. */
export function hopOf(
  hop: Hop["hop"],
  isOk: boolean,
  result: Pick<PushResult, "ms" | "status" | "problem" | "body" | "code">,
  [did, didNot, advice]: readonly [string, string, string],
): Hop {
  const ms = Math.round(result.ms);
  const { status, code } = result;
  return isOk
    ? { hop, isOk, ms, text: did }
    : { hop, isOk, ms, text: `${didNot}: ${fault(result)}`, advice, status, code };
}

async function pushSmoke(
  url: string,
  { keys, appId, clock, spoil, type = smokeType }: Sender & { clock: Clock; spoil?: typeof forge; type?: string },
) {
  const eventId = randomId();
  const text = JSON.stringify(sampleEnvelope(type, { nowMs: clock.nowMs(), appId, newId: randomId, eventId }));
  const result = await toWebhook({ url, keys, clock, randomBytes, spoil })(toMessage(text), { number: 1 });
  return { result, eventId };
}

function forge(sealed: SealedRequest): SealedRequest {
  const forged = spoilSignature(sealed);
  if (forged === undefined) throw new TypeError("An event without a signature cannot be forged");
  const logId = `${probeLogId}${sealed.headers.get("x-tt-logid")}`;
  return { ...forged, headers: new Map([...forged.headers, ["x-tt-logid", logId]]) };
}

async function challenge(
  url: string,
  { keys, clock, waitsMs }: { keys: KeyRing; clock: Clock; waitsMs: readonly number[] },
) {
  for (const waitMs of [...waitsMs, undefined]) {
    const checked = await checkAddress(randomUUID(), { url, keys, clock, randomBytes });
    if (checked.isAccepted || waitMs === undefined || checked.result.status === 401) return checked;
    await pause(clock, waitMs);
  }
  throw new Error("not reached: the last try waits for nothing");
}

function fault({ status, problem, body }: Pick<PushResult, "status" | "problem" | "body">): string {
  // What sends the request back has its token, or its ciphertext.
  const shown = /\b(?:encrypt|token)\W{1,12}:/.test(body) ? "with what was sent to it" : body;
  return [problem ?? `answered ${status}`, shown]
    .filter((text) => text !== "")
    .map((text) => oneLine(text, 200))
    .join(" ");
}

/** What to check, by what an address answered. */
function adviceOn({ status }: PushResult): string {
  if (status === null) return "Check that it runs, the network, and the host's DNS";
  if (status === 401) return "The functions have other keys. They read changed ones within 5 minutes";
  if (status >= 500) return "The log's stages `unavailable` and `misconfigured` say why";
  return "Something else answers there: compare it with the stack's addresses, and look at what stands before it";
}
