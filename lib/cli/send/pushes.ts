import { randomBytes, randomUUID } from "node:crypto";
import { type Clock, systemClock } from "../../clock.ts";
import { clientView } from "../../simulator/platform/client-view.ts";
import { type Deliver, type Delivery, type Message, startPlatform } from "../../simulator/platform/platform.ts";
import { type PushResult, spoilSignature } from "../../simulator/platform/push.ts";
import { retryDelaysMs } from "../../simulator/platform/retries.ts";
import { checkAddress, toWebhook } from "../../simulator/platform/webhook.ts";
import { UsageError } from "../command.ts";
import type { Target } from "../state/target.ts";
import type { Outcome } from "./report.ts";

/** How many pushes run at the same time. */
export const concurrency = 16;

const unreachable: ReadonlySet<string> = new Set(
  "ECONNREFUSED ECONNECTTIMEOUT ENOTFOUND EAI_AGAIN EHOSTUNREACH ENETUNREACH".split(" "),
);

/** Checks the request address as the developer console does. */
export async function pushChallenge(target: Target, show: PushOptions["show"]): Promise<Outcome> {
  const challenge = randomUUID();
  const { result, isAccepted } = await checkAddress(challenge, { ...target, clock: systemClock, randomBytes });
  const note = isAccepted ? "the challenge came back" : (result.problem ?? "the challenge did not come back");
  const outcome = { type: "url_verification", id: challenge, url: target.url, result, isOk: isAccepted, note };
  show(outcome, 1);
  return outcome;
}

export interface PushOptions {
  readonly times: number;
  readonly clock: Clock;
  readonly repush: boolean;
  readonly badSignature: boolean;
  /** If given, it delivers the pushes instead of HTTP. */
  readonly deliver?: Deliver | undefined;
  /** Called after each push. `done` is how many pushes have ended. */
  readonly show: (outcome: Outcome, done: number) => void;
}

/** How the pushes of one event or callback ended. */
export interface Ending {
  readonly id: string;
  readonly isDelivered: boolean;
  readonly isGivenUp: boolean;
}

/**
 * Pushes `times` messages, at most {@link concurrency} at once. A message that waits for its retry delays no other.
 * Without retries, it stops early when the receiver is unreachable.
 */
export async function pushAll(
  target: Target,
  next: () => Message,
  { times, clock, repush, badSignature, deliver, show }: PushOptions,
): Promise<{ outcomes: Outcome[]; endings: Ending[] }> {
  const urlOf = ({ kind }: Message) => (kind === "callback" ? target.callbackUrl : target.url);
  const toAddress = () =>
    toWebhook({ url: urlOf, keys: target.keys, clock, randomBytes, spoil: badSignature ? spoil : undefined });
  const outcomes: Outcome[] = [];
  const firstIsOver = new WeakMap<Message, () => void>();
  let isStopped = false;
  const platform = startPlatform({
    deliver: deliver ?? toAddress(),
    clock,
    random: Math.random,
    delaysMs: repush ? retryDelaysMs : [],
    onAttempt(message, { number, result }) {
      const outcome: Outcome = {
        ...judge(message, result, badSignature),
        url: deliver === undefined ? urlOf(message) : "the long connection",
        retry: repush && message.kind === "event" ? { number, againMs: retryDelaysMs[number - 1] ?? null } : undefined,
      };
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
      // A copy is the key of the map below, because the same message may be pushed several times at once.
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

function spoil(sealed: Parameters<typeof spoilSignature>[0]) {
  const spoiled = spoilSignature(sealed);
  if (spoiled !== undefined) return spoiled;
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
