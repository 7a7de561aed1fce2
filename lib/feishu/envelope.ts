import type { Notice, UnreadableReason } from "./classify.ts";

/** What the wire gave. Header names are lower-case; `rawBody` is exactly as received: a re-encoded body cannot be verified. */
export interface SealedRequest {
  /** Name of the app's route, a key of the ring. */
  readonly app: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly rawBody: Uint8Array;
}

export interface Carried {
  /** `X-Tt-Logid`, else `X-Request-Id`: what vendor support asks for. Outside text. */
  readonly requestId: string | null;
  readonly transport: "webhook" | "long-connection";
  /** Id of the app whose keys, or whose long connection, opened the message; `null` if nothing did. Many events name no app themselves. */
  readonly receivedBy: string | null;
}

export type EventEnvelope = { readonly kind: "event" } & Notice & Carried;
export type CallbackEnvelope = { readonly kind: "callback" } & Notice & Carried;
export type UnreadableEnvelope = {
  readonly kind: "unreadable";
  readonly reason: UnreadableReason;
  readonly rawBody: Uint8Array;
} & Carried;

/** What a callback's handler put off: the callback, and the payload that it gave along. Its id is one of its own. */
export type JobEnvelope = { readonly kind: "job"; readonly payload: unknown } & Notice & Carried;

/** A callback defers at most once, so that its own identity makes the job's. */
export function jobId(callbackId: string): string {
  return `${callbackId}#deferred`;
}

/** What Feishu said, whichever schema (1.0, 2.0) and transport it came by. */
export type Envelope =
  | EventEnvelope
  | CallbackEnvelope
  | ({ readonly kind: "challenge"; readonly challenge: string } & Carried)
  | UnreadableEnvelope;
