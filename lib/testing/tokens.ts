import type { TokenStore } from "../open-api/tokens.ts";

/** A store of tokens in memory, with the table's rules. */
export function memoryTokens(): TokenStore & { readonly rows: Map<string, { sealed: string; endsAtMs: number }> } {
  const rows = new Map<string, { sealed: string; endsAtMs: number }>();
  const leases = new Map<string, number>();
  return {
    rows,
    read: async (name) => rows.get(name),
    async lease(name, { nowMs, untilMs }) {
      if ((leases.get(name) ?? Number.NEGATIVE_INFINITY) >= nowMs) return false;
      leases.set(name, untilMs);
      return true;
    },
    async release(name, untilMs) {
      if (leases.get(name) === untilMs) leases.delete(name);
    },
    async write(name, token) {
      if ((rows.get(name)?.endsAtMs ?? token.endsAtMs) <= token.endsAtMs) rows.set(name, token);
      leases.delete(name);
    },
  };
}
