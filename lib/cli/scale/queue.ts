/** Counts in the order of their ticks: nothing is added before what is there. */
export class Queue {
  readonly #ticks: number[] = [];
  readonly #counts: number[] = [];
  #first = 0;

  /** `Infinity`: it is empty. */
  get firstTick(): number {
    return this.#ticks[this.#first] ?? Number.POSITIVE_INFINITY;
  }

  add(tick: number, count: number): void {
    if (count === 0) return;
    this.#ticks.push(tick);
    this.#counts.push(count);
  }

  /** @returns How many of the wanted are of the first tick. */
  take(wanted = Number.POSITIVE_INFINITY): number {
    const size = this.#counts[this.#first] ?? 0;
    if (wanted >= size) {
      this.#first++;
      return size;
    }
    this.#counts[this.#first] = size - wanted;
    return wanted;
  }
}
