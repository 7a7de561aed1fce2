/**
 * Milliseconds that `work` takes when the machine lets it: of up to five runs the least, and no further run once one
 * took less than `enoughMs`. For a deadline of real time, which a busy machine notices late now and then, not always.
 */
export async function leastMs(enoughMs: number, work: () => Promise<unknown>): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5 && least >= enoughMs; run++) {
    const startMs = performance.now();
    await work();
    least = Math.min(least, performance.now() - startMs);
  }
  return least;
}
