import { randomBytes, randomUUID } from "node:crypto";
import { type Clock, systemClock } from "../../clock.ts";
import { clientView } from "../../simulator/platform/client-view.ts";
import { ladderMs } from "../../simulator/platform/ladder.ts";
import { type Deliver, type Delivery, type Message, startPlatform } from "../../simulator/platform/platform.ts";
import { type PushResult, spoilSignature } from "../../simulator/platform/push.ts";
import { checkAddress, toWebhook } from "../../simulator/platform/webhook.ts";
import { UsageError } from "../command.ts";
import type { Target } from "../state/target.ts";
import type { Outcome } from "./report.ts";

/** Pushes under way at once. */
export const concurrency = 16;

const unreachable: ReadonlySet<string> = new Set([
  ...["ECONNREFUSED", "ECONNECTTIMEOUT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"],
]);

/** Checks the request address as the developer console does. */
export async function askChallenge(target: Target, show: Fire["show"]): Promise<Outcome> {
  const challenge = randomUUID();
  const { result, isBack } = await checkAddress(challenge, { ...target, clock: systemClock, randomBytes });
  const note = isBack ? "the challenge came back" : (result.problem ?? "the challenge did not come back");
  const outcome = { type: "url_verification", id: challenge, url: target.url, result, isOk: isBack, note };
  show(outcome, 1);
  return outcome;
}

export interface Fire {
  readonly times: number;
  readonly clock: Clock;
  readonly repush: boolean;
  readonly badSignature: boolean;
  /** Instead of the addresses. */
  readonly deliver?: Deliver | undefined;
  /** Is told each push as it ends, and how many have. */
  readonly show: (outcome: Outcome, done: number) => void;
}

/** How the pushes of one event, or of one callback, ended. */
export interface Ending {
  readonly id: string;
  readonly isDelivered: boolean;
  readonly isGivenUp: boolean;
}

/**
 * Pushes all, at most {@link concurrency} at once; an event that waits to be pushed again holds no other up.
 * Without the ladder it stops early when nothing listens at all.
 */
export async function fire(
  target: Target,
  next: () => Message,
  { times, clock, repush, badSignature, deliver, show }: Fire,
): Promise<{ outcomes: Outcome[]; endings: Ending[] }> {
  const urlOf = ({ kind }: Message) => (kind === "callback" ? target.callbackUrl : target.url);
  const toAddress = () =>
    toWebhook({ url: urlOf, keys: target.keys, clock, randomBytes, ...(badSignature ? { spoil } : {}) });
  const outcomes: Outcome[] = [];
  const firstIsOver = new WeakMap<Message, () => void>();
  let isStopped = false;
  const platform = startPlatform({
    deliver: deliver ?? toAddress(),
    ...{ clock, random: Math.random, waitsMs: repush ? ladderMs : [] },
    onAttempt(message, { number, result }) {
      const told = {
        ...judge(message, result, badSignature),
        url: deliver === undefined ? urlOf(message) : "the long connection",
      };
      const outcome = repush && message.kind === "event" ? { ...told, ladder: rung(number) } : told;
      outcomes.push(outcome);
      isStopped ||= !repush && isUnreachable(result);
      show(outcome, outcomes.length);
      firstIsOver.get(message)?.();
    },
  });
  const endings: Promise<Ending>[] = [];
  const lane = async () => {
    while (endings.length < times && !isStopped) {
      const first = Promise.withResolvers<void>();
      // A copy: the same event may be under way more than once.
      const message = { ...next() };
      firstIsOver.set(message, first.resolve);
      const ending = platform.push(message).then(toEnding);
      endings.push(ending);
      await Promise.race([first.promise, ending]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, times) }, lane));
  return { outcomes, endings: await Promise.all(endings) };
}

/** Where an event is on the ladder after its `number`th push failed. */
function rung(number: number): { number: number; againMs: number | null } {
  return { number, againMs: ladderMs[number - 1] ?? null };
}

function spoil(sealed: Parameters<typeof spoilSignature>[0]) {
  const spoilt = spoilSignature(sealed);
  if (spoilt !== undefined) return spoilt;
  throw new UsageError("Cannot sign wrongly: without ENCRYPT_KEY, or for a challenge, nothing is signed");
}

function judge({ kind, type, id }: Message, result: PushResult, badSignature: boolean): Omit<Outcome, "url"> {
  const { status, problem } = result;
  if (badSignature) {
    if (status === 401) return { type, id, result, isOk: true, note: "refused with 401, as it should be" };
    const note = status === 200 ? "answered 200 although the signature is wrong" : problem;
    return { type, id, result, isOk: false, note };
  }
  if (kind === "callback") {
    const view = clientView(type, result);
    return { type, id, result, isOk: view.isTaken, note: view.problem, view };
  }
  return { type, id, result, isOk: result.delivered, note: problem };
}

function toEnding({ message: { id }, outcome, view }: Delivery): Ending {
  const isDelivered = outcome === "delivered" && view?.isTaken !== false;
  return { id, isDelivered, isGivenUp: outcome === "given-up" };
}

export function isUnreachable({ code }: PushResult): boolean {
  return code !== undefined && unreachable.has(code);
}
