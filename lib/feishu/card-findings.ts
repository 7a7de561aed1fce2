import rules from "./card-rules.json" with { type: "json" };
import type { CardFinding } from "./checked-card.ts";

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
