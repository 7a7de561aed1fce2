import { Queue } from "./queue.ts";
import type { Step } from "./step.ts";

/** How many ticks records wait, as if they were taken in their order. */
export class Waits {
  readonly #stored = new Queue();
  #sum = 0;
  #count = 0;
  longest = 0;

  /**
   * Adds what is stored in a step and takes what begins in it.
   * @returns The ticks that the last of them has waited.
   */
  pass({ tick }: Step, stored: number, begun: number): number {
    this.#stored.add(tick, stored);
    let left = begun;
    while (left > 0 && this.#stored.firstTick <= tick) {
      const waited = tick - this.#stored.firstTick;
      const part = this.#stored.take(left);
      left -= part;
      this.#sum += part * waited;
      this.#count += part;
      this.longest = Math.max(this.longest, waited);
    }
    return Math.max(0, tick - this.#stored.firstTick);
  }

  get mean(): number {
    return this.#sum / Math.max(1, this.#count);
  }
}
