import { fromApiGateway } from "../../aws/gateway.ts";
import { fromRecord } from "../../aws/record.ts";
import { defaultApp, type KeyRing } from "../../feishu/keys.ts";
import { open } from "../../feishu/open.ts";
import { isWorker } from "../../local/worker.ts";
import { parseExact } from "../send/payload.ts";

export interface Payload {
  readonly kind: "event" | "callback" | "job";
  readonly id: string;
  /** What the platform sent, decrypted; of deferred work, what the handler put off. */
  readonly text: string;
}

/** What a function is invoked with: a worker with records, the callback function with a request. */
export function payloadsOf(functionName: string, event: unknown, keys: KeyRing, nowMs: number): Payload[] {
  if (functionName === "webhook") return [];
  try {
    if (isWorker(functionName)) return (event as { Records: { body: string }[] }).Records.map(ofRecord);
    const { headers, rawBody } = fromApiGateway(event);
    const envelope = open({ app: defaultApp, headers, rawBody: rawBody() }, { keys, nowMs });
    return envelope.kind === "callback" ? [envelope] : [];
  } catch {
    // The function refuses it as well, and says why.
    return [];
  }
}

function ofRecord(record: { body: string }): Payload {
  const envelope = fromRecord(record);
  if (envelope.kind === "undecodable") throw new Error(envelope.reason);
  const { kind, id } = envelope;
  return { kind, id, text: kind === "job" ? JSON.stringify(envelope.payload) : envelope.text };
}

/** Members that open something: Verification Token, a card's update token, app tickets, what a project calls a secret. */
const secretNames = /(token|ticket|secret|password|^encrypt)$/i;

/** What is shown in a secret's place. */
export const hidden = "(hidden)";

/** Characters that JSON leaves as they are, and that could move a terminal's cursor or hide text. */
const unsafe = /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** The payload as indented JSON for a terminal, without secrets, also where a text is JSON itself. */
export function payloadText(text: string): string {
  const shown = JSON.stringify(parseExact(text), withoutSecrets, 2) ?? "";
  return shown.replaceAll(unsafe, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The same in one line. */
export function compactText(text: string): string {
  return JSON.stringify(parseExact(text), withoutSecrets) ?? "";
}

/** A replacer for `JSON.stringify`. */
export function withoutSecrets(name: string, value: unknown): unknown {
  if (secretNames.test(name) && value !== "") return hidden;
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  try {
    const inner = parseExact(value);
    const clean = JSON.stringify(inner, withoutSecrets);
    // A text without a secret stays as it came.
    return clean === JSON.stringify(inner) ? value : clean;
  } catch {
    return value;
  }
}
