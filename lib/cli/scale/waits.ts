import type { Step } from "./step.ts";

/** How many ticks records wait, as if they were taken in their order. */
export class Waits {
  readonly #stored: Float64Array;
  #oldest = 0;
  #sum = 0;
  #count = 0;
  longest = 0;

  constructor(ticks: number) {
    this.#stored = new Float64Array(ticks);
  }

  /**
   * Adds what is stored in a step and takes what begins in it.
   * @returns The ticks that the last of them has waited.
   */
  pass({ tick }: Step, stored: number, begun: number): number {
    this.#stored[tick] = stored;
    let left = begun;
    while (this.#oldest <= tick) {
      const size = this.#stored[this.#oldest] ?? 0;
      if (size === 0) {
        if (this.#oldest === tick) break;
        this.#oldest++;
        continue;
      }
      if (left === 0) break;
      const part = Math.min(left, size);
      const waited = tick - this.#oldest;
      this.#stored[this.#oldest] = size - part;
      left -= part;
      this.#sum += part * waited;
      this.#count += part;
      this.longest = Math.max(this.longest, waited);
    }
    return tick - this.#oldest;
  }

  get mean(): number {
    return this.#sum / Math.max(1, this.#count);
  }
}
