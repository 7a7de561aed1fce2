import { createHash, randomUUID } from "node:crypto";
import { callbackTypes } from "../../feishu/classify.ts";
import { approvals } from "./approvals.ts";
import { callbacks } from "./callbacks.ts";
import { defaultTenant, type Facts, mei, tomas } from "./facts.ts";
import { genericEvent } from "./generic.ts";
import { messages } from "./messages.ts";
import { people } from "./people.ts";
import { work } from "./work.ts";

type Sample = (facts: Facts) => object;

const samples: ReadonlyMap<string, Sample> = new Map<string, Sample>(
  Object.entries({ ...messages, ...people, ...work, ...approvals, ...callbacks }),
);
const schema1: ReadonlySet<string> = new Set(["message", "app_ticket", ...Object.keys(approvals)]);

/** Types with a written payload. The other types get the members that their family has in common. */
export const sampleTypes: readonly string[] = [...samples.keys()].sort();

export function hasSample(type: string): boolean {
  return samples.has(type);
}

export interface SampleOptions {
  readonly nowMs: number;
  readonly appId: string;
  /** Returns a new id of 32 hex digits. */
  readonly newId: () => string;
  /** All other ids (message id, task id, …) are derived from it. The same id makes the same event. */
  readonly eventId?: string | undefined;
  readonly tenant?: string | undefined;
  /** For types without a written sample; by default 2.0. */
  readonly schema?: "1.0" | "2.0" | undefined;
}

/** An envelope as the platform would push it, but with an empty token: `seal` sets it. */
export type SampleEnvelope = Record<string, unknown> & { event: Record<string, unknown> };

/** An id like those of the platform's events. */
export function randomId(): string {
  return randomUUID().replaceAll("-", "");
}

/**
 * An envelope of any type, from its written sample or a generic one.
 * @param event Replaces the sample's event.
 */
export function sampleEnvelope(type: string, options: SampleOptions, event?: object): SampleEnvelope {
  const { nowMs, appId, newId, eventId = newId(), tenant = defaultTenant } = options;
  const facts: Facts = {
    nowMs,
    appId,
    tenant,
    id: (name) => createHash("sha256").update(`${eventId} ${name}`).digest("hex").slice(0, 32),
  };
  const content: Record<string, unknown> = { ...(event ?? samples.get(type)?.(facts) ?? genericEvent(type, facts)) };
  const isSchema1 = samples.has(type) ? schema1.has(type) : options.schema === "1.0";
  if (isSchema1) {
    // A ticket is the app's. It has no tenant.
    const about = type === "app_ticket" ? { type, app_id: appId } : { type, app_id: appId, tenant_key: tenant };
    return {
      ts: (nowMs / 1000).toFixed(7),
      uuid: eventId,
      token: "",
      type: "event_callback",
      event: { ...about, ...content },
    };
  }
  const header = {
    event_id: eventId,
    event_type: type,
    // Microseconds in callbacks, milliseconds in events.
    create_time: callbackTypes.has(type) ? `${nowMs}000` : String(nowMs),
    token: "",
    app_id: appId,
    tenant_key: tenant,
  };
  const ofDrive = { ...header, resource_id: content["file_token"], user_list: [tomas, mei] };
  return { schema: "2.0", header: type.startsWith("drive.") ? ofDrive : header, event: content };
}

/** The body of an old card callback. It has no envelope. */
export function oldCardSample(options: SampleOptions): Record<string, unknown> {
  const { event } = sampleEnvelope("card.action.trigger", options);
  const { operator, token, action, context } = event as Record<string, Readonly<Record<string, unknown>>>;
  const { open_message_id, open_chat_id } = context ?? {};
  return {
    open_id: operator?.["open_id"],
    user_id: operator?.["user_id"],
    open_message_id,
    open_chat_id,
    tenant_key: operator?.["tenant_key"],
    token,
    action,
  };
}

/** {@link sampleEnvelope} as JSON text, for `classify` and `seal`. */
export function sampleText(type: string, options: SampleOptions): string {
  return JSON.stringify(sampleEnvelope(type, options));
}
