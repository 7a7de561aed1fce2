import { type Answer, refused } from "./answer.ts";
import { match } from "./route.ts";

/** What happens to a call instead of its answer. */
export type Fault =
  /** Nothing is done. `code` brings its own HTTP status and sentence, unless others are given. */
  | { readonly kind: "answer"; readonly code: number; readonly status?: number; readonly msg?: string }
  /**
   * Nothing is done: too many calls. Some old APIs say it with status 400.
   * https://open.feishu.cn/document/ukTMukTMukTM/uUzN04SN3QjL1cDN
   */
  | { readonly kind: "rate-limit"; readonly resetSeconds: number; readonly limit?: number; readonly status?: 400 | 429 }
  /** Nothing is done, and the connection is closed without an answer. */
  | { readonly kind: "close" }
  /** Everything is done, but the connection is closed without an answer. */
  | { readonly kind: "lose-answer" };

/** Which calls go wrong, and how. */
export interface Rule {
  /** Any, when left out. */
  readonly method?: string;
  /** A path, in which segments that begin with a colon stand for any text. Any, when left out. */
  readonly path?: string;
  /** For how many calls; 1 unless said otherwise. */
  readonly times?: number;
  /** The answer waits for so long. What the call does is done at once; meanwhile its message is "being sent". */
  readonly delayMs?: number;
  /** Without one the call goes well, late perhaps. */
  readonly fault?: Fault;
}

/** Rules in the order they were added: a call uses up one of the first that fits it. */
export function createRules() {
  const active: { readonly rule: Rule; left: number }[] = [];
  return {
    add(rule: Rule) {
      const entry = { rule, left: rule.times ?? 1 };
      active.push(entry);
      return {
        /** How many calls it is still waiting for. */
        left: () => entry.left,
        remove() {
          entry.left = 0;
        },
      };
    },
    take(method: string, path: string): Rule | undefined {
      const entry = active.find(
        ({ rule, left }) =>
          left > 0 &&
          (rule.method === undefined || rule.method.toUpperCase() === method) &&
          (rule.path === undefined || match(rule.path, path) !== undefined),
      );
      if (entry === undefined) return undefined;
      entry.left--;
      for (let i = active.length - 1; i >= 0; i--) if ((active[i]?.left ?? 0) <= 0) active.splice(i, 1);
      return entry.rule;
    },
  };
}

/** The answer that a fault gives in place of the operation; `undefined` when the operation runs. */
export function answerOf(fault: Fault | undefined): Answer | null | undefined {
  switch (fault?.kind) {
    case "answer":
      return refused(fault.code, fault);
    case "rate-limit":
      return refused(99991400, {
        ...(fault.status === undefined ? {} : { status: fault.status }),
        headers: {
          "x-ogw-ratelimit-limit": String(fault.limit ?? 100),
          "x-ogw-ratelimit-reset": String(fault.resetSeconds),
        },
      });
    case "close":
      return null;
    default:
      return undefined;
  }
}
