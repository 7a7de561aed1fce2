import { randomUUID } from "node:crypto";
import { dynamoAnswers } from "../../../lib/aws/answers.ts";
import { dynamoClient } from "../../../lib/aws/dynamodb.ts";
import { answerGateway } from "../../../lib/aws/gateway.ts";
import { systemClock } from "../../../lib/clock.ts";
import { answerCallback } from "../../../lib/handling/callback.ts";
import { type ReceiverPorts, receive } from "../../../lib/receiving/receiver.ts";
import { callbackList, cardText, cardType, toast } from "../../support/callbacks.ts";
import { httpApi } from "../../support/http-events.ts";
import { push, ring } from "../../support/push.ts";

// Our callback function with a handler that does nothing. One request is signed, and each time taken for another callback.

const keys = ring();
const never = () => Promise.reject(new Error("nothing of the kind was expected"));
let signedAtMs = 0;
let event: unknown;

function signedEvent(): unknown {
  // A callback is taken for five minutes.
  if (Date.now() - signedAtMs > 60_000) {
    signedAtMs = Date.now();
    event = httpApi(push(cardText(), { nowMs: signedAtMs }), { path: "/callback" });
  }
  return event;
}

export const handler = callbackFunction("required");
export const withoutTable = callbackFunction("off");

function callbackFunction(dedupe: "required" | "off") {
  const ports = {
    ...{ answers: dynamoAnswers(dynamoClient(), process.env["LEDGER_TABLE"] ?? ""), defer: never },
    tools: () => ({ secrets: {}, sign: never, signCard: never, lark: never, request: never, updateCard: never }),
    ...{ signer: { sign: never, isSigned: never }, clock: systemClock, newOwner: randomUUID, deadlineMs: 2_300 },
    dispatch: callbackList({ [cardType]: { handle: () => toast("done"), dedupe } }),
  };
  const callback: ReceiverPorts["callback"] = (envelope, timing) =>
    answerCallback({ ...envelope, id: randomUUID() }, ports, timing);
  return () =>
    answerGateway(signedEvent(), {
      ...{ clock: systemClock, path: "/callback", withinMs: 2_500, keys: () => keys },
      receive: (envelope, context) => receive(envelope, { send: never, quarantine: never, callback }, context),
    });
}
