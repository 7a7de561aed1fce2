/**
 * Waits for a fact of another process: asks again, every `everyMs`, until `ask` gives something, and fails with
 * `what` after `withinMs`. Not a deadline under test: only a bound on how long a broken test may hang.
 */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { withinMs = 150_000, everyMs = 10 }: { withinMs?: number; everyMs?: number } = {},
) {
  const endMs = Date.now() + withinMs;
  for (;;) {
    const found = await ask();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > endMs) throw new Error(`waited ${withinMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
