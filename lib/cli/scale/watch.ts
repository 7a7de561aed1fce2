/** The limits, in the order in which an event meets them. */
const limitNames = [
  "route",
  "gateway",
  "requests",
  "starts",
  "concurrency",
  "parameters",
  "keys",
  "mapping growth",
  "mapping",
  "pollers",
  "in flight",
  "ledger",
  "logs",
] as const;
export type LimitName = (typeof limitNames)[number];

/** How far a limit was used. */
export interface Reading {
  readonly name: LimitName;
  /** A second's sum, or the most at once. */
  readonly used: number;
  /** At the end: some limits grow. */
  readonly limit: number;
  /** When it first turned something away; `undefined`: never. */
  readonly passedAtSeconds: number | undefined;
  /** Pushes that were refused, records that had to wait, calls that were throttled. */
  readonly turnedAway: number;
}

interface Note {
  most: number;
  limit: number;
  sum: number;
  turnedAway: number;
  passedAtSeconds: number | undefined;
}

/** Notes for each limit how far it is used, and when it is passed. */
export class Watch {
  readonly #notes = new Map<LimitName, Note>();
  #nowSeconds = 0;

  /** Notes how far a limit on what happens at once is used. */
  gauge(name: LimitName, used: number, limit: number): void {
    const note = this.#of(name);
    note.limit = limit;
    if (used > note.most) note.most = used;
  }

  /** Notes how far a limit on what happens in a second is used. */
  count(name: LimitName, wanted: number, limit: number): void {
    const note = this.#of(name);
    note.limit = limit;
    note.sum += wanted;
  }

  turnAway(name: LimitName, count: number): void {
    if (count <= 0) return;
    const note = this.#of(name);
    note.turnedAway += count;
    note.passedAtSeconds ??= this.#nowSeconds;
  }

  /** @param isSecond Whether a second ends. */
  advance(nowSeconds: number, isSecond: boolean): void {
    this.#nowSeconds = nowSeconds;
    if (!isSecond) return;
    for (const note of this.#notes.values()) {
      note.most = Math.max(note.most, note.sum);
      note.sum = 0;
    }
  }

  readings(): Reading[] {
    return limitNames.flatMap((name) => {
      const note = this.#notes.get(name);
      if (note === undefined) return [];
      const { most, limit, turnedAway, passedAtSeconds } = note;
      return [{ name, used: Math.round(most), limit, passedAtSeconds, turnedAway: Math.round(turnedAway) }];
    });
  }

  #of(name: LimitName): Note {
    const known = this.#notes.get(name);
    if (known !== undefined) return known;
    const note = { most: 0, limit: 0, sum: 0, turnedAway: 0, passedAtSeconds: undefined };
    this.#notes.set(name, note);
    return note;
  }
}
