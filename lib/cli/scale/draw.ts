/** A small seeded generator of numbers in [0, 1) (mulberry32): the same seed gives the same numbers. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/**
 * Takes `count` out of groups, from each its share, in whole numbers.
 * @returns What was taken, by group.
 */
export function draw(groups: number[], count: number): number[] {
  if (count <= 0) return [];
  let whole = 0;
  for (const size of groups) whole += size;
  if (count >= whole) {
    const all = groups.slice();
    groups.fill(0);
    return all;
  }
  let left = count;
  const taken = groups.slice();
  for (let index = 0; index < groups.length; index++) {
    taken[index] = Math.floor(((groups[index] ?? 0) * count) / whole);
    left -= taken[index] ?? 0;
  }
  for (let index = 0; index < groups.length; index++) {
    const size = groups[index] ?? 0;
    const part = taken[index] ?? 0;
    // What rounding left over.
    const more = Math.min(left, size - part);
    left -= more;
    taken[index] = part + more;
    groups[index] = size - part - more;
  }
  return taken;
}

/** How many of something that happens `mean` times on average happen now. */
export function poisson(mean: number, random: () => number): number {
  if (mean > 50) {
    // Box and Muller's normal distribution is close enough.
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal));
  }
  let count = 0;
  for (let product = random(), least = Math.exp(-mean); product > least; product *= random()) count++;
  return count;
}
