import type { Clock } from "../clock.ts";
import { oldCardType } from "../feishu/classify.ts";
import type { CallbackEnvelope } from "../feishu/envelope.ts";
import { fieldsOf, type JsonObject } from "../feishu/json.ts";
import type { CallbackContext } from "../handler.ts";
import { readValue, type Signer } from "../signed-value.ts";
import { type LoadedCallback, smokeType } from "./dispatcher.ts";

/** Names the member without which a click must not run: the update token, or who clicked. */
export function missingMember({ type, event }: CallbackEnvelope): string | undefined {
  if (type === oldCardType) return ["token", "open_id"].find((name) => isBlank(event[name]));
  if (type !== "card.action.trigger") return undefined;
  if (isBlank(event["token"])) return "event.token";
  const { open_id, union_id, user_id } = fieldsOf(event["operator"]);
  return [open_id, union_id, user_id].every(isBlank) ? "event.operator" : undefined;
}

/** Whether the click is one of `larkpost smoke`. The platform has no component of this tag. */
export function isSmoke({ type, event }: CallbackEnvelope): boolean {
  return type === "card.action.trigger" && fieldsOf(event["action"])["tag"] === smokeType;
}

/** Invisible characters count as blank, since an id has a letter or a digit. */
function isBlank(value: unknown): boolean {
  return typeof value !== "string" || !/[\p{L}\p{N}]/u.test(value);
}

/** The event for the handler, with its signed value unpacked. @throws {UntrustedValueError} The handler must not run. */
export async function readCard(
  { event, tenant }: CallbackEnvelope,
  { signedValues, purposes }: LoadedCallback,
  { signer, clock }: { readonly signer: Signer; readonly clock: Clock },
): Promise<{ event: JsonObject } & Pick<CallbackContext, "isSigned" | "purpose">> {
  // A malformed `action` counts as unsigned, so `signedValues` still refuses it.
  const action = fieldsOf(event["action"]);
  const read = await readValue(action["value"], { signer, tenant, nowMs: clock.nowMs() });
  if (read.state === "unsigned" && !signedValues) return { event, isSigned: false, purpose: null };
  if (read.state !== "signed") throw new UntrustedValueError(read.state);
  const { value, purpose } = read;
  if (!purposes.includes(purpose)) throw new UntrustedValueError("purpose");
  return { event: { ...event, action: { ...action, value } }, isSigned: true, purpose };
}

export class UntrustedValueError extends Error {
  readonly state: string;
  constructor(state: string) {
    super(`Cannot trust the card's value: ${state}`);
    this.state = state;
  }
}
