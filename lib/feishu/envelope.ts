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
interface TransportFields {
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

/**
 * Work that a handler deferred: the event or callback that it began with, an id of its own, and the payload that the
 * handler gave. Work may defer further work, and together they are a chain.
 */
export type JobEnvelope = {
  readonly kind: "job";
  readonly of: "event" | "callback";
  readonly payload: unknown;
  /** Id of the event or callback, and what makes the job's own id of it: see {@link jobId}. */
  readonly root: string;
  readonly place: string;
  /** Identifies the work in the ledger: the same in each run that defers it. */
  readonly key: string;
  /** From 1: how many runs of deferred work the chain has with this one. */
  readonly depth: number;
  /** When the chain began, in epoch milliseconds. */
  readonly chainStartedAtMs: number;
} & Notice &
  TransportFields;

/** The id of deferred work. `place` is empty for what a handler deferred first. */
export function jobId(root: string, place = ""): string {
  return place === "" ? `${root}#deferred` : `${root}#deferred-${place}`;
}

/** A message of Feishu's, in either schema (1.0, 2.0) and over either transport. */
export type Envelope =
  | EventEnvelope
  | CallbackEnvelope
  | ({ readonly kind: "challenge"; readonly challenge: string } & TransportFields)
  | UnreadableEnvelope;
