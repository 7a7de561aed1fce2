import type { Notice, UnreadableReason } from "./classify.ts";

/** A request as received. */
export interface ReceivedRequest {
  /** Name of the app's route, a key of the ring. */
  readonly app: string;
  /** Names in lower case. */
  readonly headers: Pick<ReadonlyMap<string, string>, "get">;
  /** Not re-encoded, or it could not be verified. A text stands for its UTF-8 bytes. */
  readonly rawBody: Uint8Array | string;
}

/** A request as the platform makes it. */
export interface SealedRequest extends ReceivedRequest {
  readonly headers: ReadonlyMap<string, string>;
  readonly rawBody: Uint8Array;
}

/** How a message reached us. */
export interface TransportFields {
  /** `X-Tt-Logid`, else `X-Request-Id`: vendor support asks for it. Outside text. */
  readonly requestId: string | null;
  readonly transport: "webhook" | "long-connection";
  /** Id of the app whose keys or long connection opened the message; `null` if none did. Many events name no app. */
  readonly receivedBy: string | null;
}

export type EventEnvelope = { readonly kind: "event" } & Notice & TransportFields;
export type CallbackEnvelope = { readonly kind: "callback" } & Notice & TransportFields;
export type UnreadableEnvelope = {
  readonly kind: "unreadable";
  readonly reason: UnreadableReason;
  readonly rawBody: Uint8Array;
} & TransportFields;

/** Work that a callback's handler deferred: the callback, with an id of its own and the payload that the handler gave. */
export type JobEnvelope = { readonly kind: "job"; readonly payload: unknown } & Notice & TransportFields;

/** A callback defers at most once, so its id identifies the job as well. */
export function jobId(callbackId: string): string {
  return `${callbackId}#deferred`;
}

/** A message of Feishu's, in either schema (1.0, 2.0) and over either transport. */
export type Envelope =
  | EventEnvelope
  | CallbackEnvelope
  | ({ readonly kind: "challenge"; readonly challenge: string } & TransportFields)
  | UnreadableEnvelope;
