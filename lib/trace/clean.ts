/** Outside text for one log line: at most `max` long, without control, bidirectional and line-breaking characters. */
export function clean(text: string | null | undefined, max = 128): string | undefined {
  if (typeof text !== "string") return undefined;
  // Cut first, so that a megabyte costs nothing. A surrogate cut in half is removed like any unprintable character.
  return text
    .slice(0, max)
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "")
    .trim();
}
