import type { JsonObject } from "./json.ts";

export interface CheckedCard {
  /** Why the platform refuses the card. */
  readonly faults: readonly CardFinding[];
  /** What the platform accepts but does not show as meant, and what it refuses by the reports of its users only. */
  readonly warnings: readonly CardFinding[];
}

/** One thing that is wrong with a card, and where. */
export interface CardFinding {
  /** The platform's `ErrCode`; `null` for a warning, which has none. */
  readonly code: number | null;
  /** The place as the platform writes it: `ROOT -> body -> elements -> [1](tag: note)`. */
  readonly path: string;
  /** `ErrMsg` */
  readonly message: string;
  /** `ErrorValue` */
  readonly value?: string;
  /** The platform's page that has the rule; `null` when only its users report it. */
  readonly page: string | null;
}

/** A template of the card builder. */
export interface CardTemplate {
  /** The type of each of its variables. */
  readonly variables: Readonly<Record<string, "string" | "number" | "boolean" | "object" | "array">>;
  /** Its JSON, with `${name}` in place of the variables, to be shown in a chat. */
  readonly card?: JsonObject;
}

/** What exists on the platform. What has no function here is not checked. */
export interface KnownParts {
  isImage?(key: string): boolean;
  isCard?(id: string): boolean;
  /** `null`: there is no such template; `undefined`: there may be one. */
  template?(id: string): CardTemplate | null | undefined;
}
