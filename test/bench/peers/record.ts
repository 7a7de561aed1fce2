import { randomUUID } from "node:crypto";
import { dynamoClient } from "../../../lib/aws/dynamodb.ts";
import { dynamoLedger } from "../../../lib/aws/ledger.ts";
import { systemClock } from "../../../lib/clock.ts";
import type { EventList } from "../../../lib/handler.ts";
import { dispatcher } from "../../../lib/handling/dispatcher.ts";
import type { Ledger } from "../../../lib/handling/idempotency.ts";
import { consume } from "../../../lib/handling/worker.ts";
import { envelopeOf, noCallbacks } from "../../support/events.ts";
import { eventType, messageText } from "../requests.ts";

// Our worker from the envelope on: dispatch, claim, a handler that does nothing, complete.

const base = envelopeOf(messageText(1024));
const dispatch = dispatcher({
  [eventType]: async () => ({ default: { type: eventType, handle: () => {} } }),
} as unknown as EventList);

const noLedger: Ledger = {
  claim: async () => ({ state: "claimed", run: 1 }),
  conclude: async () => true,
  withdraw: async () => true,
};

export const handler = worker(dynamoLedger(dynamoClient(), process.env["LEDGER_TABLE"] ?? ""));
export const withoutLedger = worker(noLedger);

function worker(ledger: Ledger) {
  return async () => {
    const verdict = await consume(
      { ...base, id: randomUUID() },
      { receives: 1, redrives: 0, bury: async () => {} },
      {
        ...{ ...noCallbacks, dispatch },
        ...{ ledger, clock: systemClock, random: Math.random, newOwner: randomUUID, maxAttempts: 10 },
        remainingMs: () => 60_000,
      },
    );
    return { statusCode: verdict.kind === "done" ? 200 : 500 };
  };
}
