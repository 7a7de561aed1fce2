import { randomBytes, randomUUID } from "node:crypto";
import { type Clock, pause, systemClock } from "../../clock.ts";
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

/** The delay between the first and the other pushes of one event. */
const sameEventAfterMs = 1_000;

export interface PushOptions {
  readonly times: number;
  readonly clock: Clock;
  readonly repush: boolean;
  readonly badSignature: boolean;
  /** If given, it delivers the pushes instead of HTTP. */
  readonly deliver?: Deliver | undefined;
  /** Whether all messages are the same event. */
  readonly isOneEvent: boolean;
  /** Called when one of several events is to be pushed again, which {@link repush} did not ask for. */
  readonly onRetry: () => void;
  /** Called after each push. `done` is how many pushes have ended. */
  readonly show: (outcome: Outcome, done: number) => void;
}

/** How the pushes of one event or callback ended. */
export interface Ending {
  readonly id: string;
  /** Whether its last push was answered as promised. */
  readonly isOk: boolean;
  readonly isGivenUp: boolean;
}

/**
 * Pushes `times` messages, at most {@link concurrency} at once. A message that waits for its retry delays no other.
 * Without retries, it stops early when the receiver is unreachable. Of several events, those that are answered 503 are
 * pushed once more, as the platform does: a burst may be more than this machine answers in time.
 */
export async function pushAll(
  target: Target,
  next: () => Message,
  { times, clock, repush, badSignature, deliver, isOneEvent, onRetry, show }: PushOptions,
): Promise<{ outcomes: Outcome[]; endings: Ending[] }> {
  const urlOf = ({ kind }: Message) => (kind === "callback" ? target.callbackUrl : target.url);
  const toAddress = () =>
    toWebhook({ url: urlOf, keys: target.keys, clock, randomBytes, spoil: badSignature ? spoil : undefined });
  const outcomes: Outcome[] = [];
  const firstIsOver = new WeakMap<Message, () => void>();
  const lastOutcome = new WeakMap<Message, Outcome>();
  let isStopped = false;
  const platform = startPlatform({
    deliver: deliver ?? toAddress(),
    clock,
    random: Math.random,
    delaysMs: repush ? retryDelaysMs : retryDelaysMs.slice(0, times > 1 ? 1 : 0),
    isRetried: ({ status }) => repush || status === 503,
    onAttempt(message, { number, result }) {
      const outcome: Outcome = {
        ...judge(message, result, badSignature),
        url: deliver === undefined ? urlOf(message) : "the long connection",
        retry: repush && message.kind === "event" ? { number, againMs: retryDelaysMs[number - 1] ?? null } : undefined,
      };
      outcomes.push(outcome);
      lastOutcome.set(message, outcome);
      if (!repush && times > 1 && number === 1 && result.status === 503) onRetry();
      isStopped ||= !repush && isUnreachable(result);
      show(outcome, outcomes.length);
      firstIsOver.get(message)?.();
    },
  });
  const endings: Promise<Ending>[] = [];
  const toEnding = ({ message, outcome }: Delivery): Ending => {
    return { id: message.id, isOk: lastOutcome.get(message)?.isOk === true, isGivenUp: outcome === "given-up" };
  };
  const pushNext = async () => {
    const first = Promise.withResolvers<void>();
    // A copy is the key of the maps above, because the same message may be pushed several times at once.
    const message = { ...next() };
    firstIsOver.set(message, first.resolve);
    const ending = platform.push(message).then(toEnding);
    endings.push(ending);
    await Promise.race([first.promise, ending]);
  };
  const lane = async () => {
    while (endings.length < times && !isStopped) await pushNext();
  };
  if (isOneEvent && times > 1) {
    await pushNext();
    // The platform does not push an event again at once either. The run should be over, so that the rest are duplicates.
    await pause(clock, sameEventAfterMs);
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, times) }, lane));
  return { outcomes, endings: await Promise.all(endings) };
}

function spoil(sealed: Parameters<typeof spoilSignature>[0]) {
  const spoiled = spoilSignature(sealed);
  if (spoiled !== undefined) return spoiled;
  throw new UsageError("Cannot sign wrongly: without ENCRYPT_KEY, or for a challenge, nothing is signed");
}

/** Whether the answer is what was promised, and what the client shows. */
export function judge({ kind, type, id }: Message, result: PushResult, badSignature: boolean): Omit<Outcome, "url"> {
  const { status, problem } = result;
  if (badSignature) {
    if (status === 401) return { type, id, result, isOk: true, note: "refused with 401, as it should be" };
    const note = status === 200 ? "answered 200 although the signature is wrong" : problem;
    return { type, id, result, isOk: false, note };
  }
  if (kind === "callback") {
    const view = clientView(type, result);
    return { type, id, result, isOk: view.isTaken, note: view.problem ?? view.warning, view };
  }
  if (type === "unreadable" && id === "" && result.delivered) {
    const note = "quarantined, and not delivered: no handler gets it";
    return { type, id, result: { ...result, delivered: false }, isOk: false, note };
  }
  return { type, id, result, isOk: result.delivered, note: problem };
}

export function isUnreachable({ code }: PushResult): boolean {
  return code !== undefined && unreachable.has(code);
}
