import { type Answer, rateLimited, refused } from "./answer.ts";
import { match } from "./route.ts";

/** What happens to a call instead of the normal answer. */
export type Fault =
  /** The operation does not run. `code` implies the HTTP status and the message, unless they are given. */
  | { readonly kind: "answer"; readonly code: number; readonly status?: number; readonly msg?: string }
  /**
   * The operation does not run, because there are too many calls. Some old APIs use the status 400.
   * https://open.feishu.cn/document/ukTMukTMukTM/uUzN04SN3QjL1cDN
   */
  | { readonly kind: "rate-limit"; readonly resetSeconds: number; readonly limit?: number; readonly status?: 400 | 429 }
  /** The operation does not run, and the connection is closed without an answer. */
  | { readonly kind: "close" }
  /** The operation runs, but the connection is closed without an answer. */
  | { readonly kind: "lose-answer" };

/** Which calls fail or wait, and how. */
export interface Rule {
  /** If absent, any method. */
  readonly method?: string;
  /** A path in which a segment that begins with a colon matches any text. If absent, any path. */
  readonly path?: string;
  /** For how many calls; by default 1. */
  readonly times?: number;
  /** Delays the answer. The operation runs at once; during the delay its message is "being sent". */
  readonly delayMs?: number;
  /** Without a fault the call succeeds, after `delayMs`. */
  readonly fault?: Fault;
}

/** Rules in the order they were added. The first rule that matches a call is used, and its count goes down by one. */
export function createRules() {
  let active: { readonly rule: Rule; left: number }[] = [];
  return {
    add(rule: Rule) {
      const entry = { rule, left: rule.times ?? 1 };
      active.push(entry);
      return {
        /** For how many further calls the rule holds. */
        left: () => entry.left,
        remove() {
          entry.left = 0;
        },
      };
    },
    take(method: string, path: string): Rule | undefined {
      active = active.filter(({ left }) => left > 0);
      const entry = active.find(
        ({ rule }) =>
          (rule.method === undefined || rule.method.toUpperCase() === method) &&
          (rule.path === undefined || match(rule.path, path) !== undefined),
      );
      if (entry === undefined) return undefined;
      entry.left--;
      return entry.rule;
    },
  };
}

/** The answer that replaces the operation; `null` closes the connection, `undefined` lets the operation run. */
export function replacementFor(fault: Fault | undefined): Answer | null | undefined {
  switch (fault?.kind) {
    case "answer":
      return refused(fault.code, fault);
    case "rate-limit":
      return refused(99991400, { status: fault.status, headers: rateLimited({ limit: 100, ...fault }).headers });
    case "close":
      return null;
    default:
      return undefined;
  }
}
