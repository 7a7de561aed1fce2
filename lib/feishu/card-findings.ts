import rules from "./card-rules.json" with { type: "json" };
import type { JsonObject } from "./json.ts";

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

export type Findings = ReturnType<typeof createFindings>;
type Refusal = keyof typeof rules.refusals;

/** Collects what is wrong, in the words of card-rules.json. */
export function createFindings() {
  const faults: CardFinding[] = [];
  const warnings: CardFinding[] = [];
  return {
    faults,
    warnings,
    refuse(by: Refusal, path: string, value?: string): void {
      const { code, message, page } = rules.refusals[by];
      faults.push({ code, path, message, page: address(page), ...(value === undefined ? {} : { value }) });
    },
    /** @param page `null`: only reports say so. */
    warn(path: string, message: string, page: string | null): void {
      warnings.push({ code: null, path, message, page: page === null ? null : address(page) });
    },
  };
}

function address(page: string): string {
  return page.startsWith("https:") ? page : rules.pages + page;
}
