/** A token bucket: `rate` tokens a second, at most `burst` saved up. */
export class Bucket {
  #rate: number;
  #burst: number;
  #tokens: number;

  constructor(rate: number, burst = rate) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
  }

  get rate(): number {
    return this.#rate;
  }

  /** How much of the burst is used. */
  get spent(): number {
    return Math.max(0, this.#burst - this.#tokens);
  }

  /** A higher rate holds from now on, with its burst. */
  grow(rate: number): void {
    this.#burst = Math.max(this.#burst, rate);
    this.#rate = rate;
  }

  refill(seconds: number): void {
    const added = this.#rate * seconds;
    this.#tokens = Math.min(Math.max(this.#burst, added), this.#tokens + added);
  }

  /** @returns How many of the wanted are granted: whole ones. */
  take(wanted: number): number {
    const granted = Math.min(wanted, Math.floor(this.#tokens));
    this.#tokens -= granted;
    return granted;
  }
}
