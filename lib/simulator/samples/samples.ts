import { createHash } from "node:crypto";
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

/** Types with a payload written out; others get the members that their family has in common. */
export const sampleTypes: readonly string[] = [...samples.keys()].sort();

export function hasSample(type: string): boolean {
  return samples.has(type);
}

export interface SampleOptions {
  readonly nowMs: number;
  readonly appId: string;
  /** A fresh id, 32 hex digits. */
  readonly newId: () => string;
  /** Everything that identifies (message id, task id, …) derives from it: the same id is the same event. */
  readonly eventId?: string | undefined;
  readonly tenant?: string | undefined;
  /** For types without a written sample; 2.0 unless said otherwise. */
  readonly schema?: "1.0" | "2.0" | undefined;
}

/** An envelope as the platform would push it; the token is empty, since only `seal` knows it. */
export type SampleEnvelope = Record<string, unknown> & { event: Record<string, unknown> };

/**
 * A whole envelope of any type: its written sample, or a generic one.
 * @param event Takes the place of the sample's event.
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

  if ((samples.has(type) ? (schema1.has(type) ? "1.0" : "2.0") : options.schema) === "1.0") {
    // A ticket is the app's own: no tenant has a part in it.
    const own = type === "app_ticket" ? { type, app_id: appId } : { type, app_id: appId, tenant_key: tenant };
    return {
      ts: (nowMs / 1000).toFixed(7),
      uuid: eventId,
      token: "",
      type: "event_callback",
      event: { ...own, ...content },
    };
  }
  return {
    schema: "2.0",
    header: {
      event_id: eventId,
      event_type: type,
      // Callbacks count microseconds, events milliseconds.
      create_time: callbackTypes.has(type) ? `${nowMs}000` : String(nowMs),
      token: "",
      app_id: appId,
      tenant_key: tenant,
      ...(type.startsWith("drive.") ? { resource_id: content["file_token"], user_list: [tomas, mei] } : {}),
    },
    event: content,
  };
}

/** The body of an old card callback, which has no envelope; its `event` is all of it. */
export function oldCardSample(options: SampleOptions): Record<string, unknown> {
  const { event } = sampleEnvelope("card.action.trigger", options);
  const { operator, token, action, context } = event as Record<string, Readonly<Record<string, unknown>>>;
  const { open_message_id, open_chat_id } = context ?? {};
  return {
    ...{ open_id: operator?.["open_id"], user_id: operator?.["user_id"], open_message_id, open_chat_id },
    ...{ tenant_key: operator?.["tenant_key"], token, action },
  };
}

/** {@link sampleEnvelope} as JSON text: what `classify` and `seal` take. */
export function sampleText(type: string, options: SampleOptions): string {
  return JSON.stringify(sampleEnvelope(type, options));
}
