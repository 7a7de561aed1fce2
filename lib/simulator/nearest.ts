/**
 * What someone who wrote `name` may have meant: names that contain it, then those it takes the fewest edits to reach. A
 * name that `name` does not contain and that takes more edits than half of its letters is another name.
 */
export function nearest(name: string, names: readonly string[], n: number): string[] {
  // No name is half as long; it bounds the work that a pasted page of text makes.
  const wanted = name.slice(0, 200).toLowerCase();
  return names
    .map((known) => {
      const lower = known.toLowerCase();
      return { name: known, isPart: wanted.length > 2 && lower.includes(wanted), edits: editsBetween(wanted, lower) };
    })
    .filter(({ name, isPart, edits }) => isPart || 2 * edits <= wanted.length || wanted.includes(name.toLowerCase()))
    .sort((a, b) => Number(b.isPart) - Number(a.isPart) || a.edits - b.edits || (a.name < b.name ? -1 : 1))
    .slice(0, n)
    .map(({ name }) => name);
}

/** Whether one of the names was meant for the other: one letter more, less or other, or two swapped; twice for a long name. */
export function isSlip(name: string, likely: string): boolean {
  return likely !== "" && editsBetween(name, likely) <= (likely.length > 8 ? 2 : 1);
}

/** Whether a member of a payload was meant by a name: a slip, or `chatId` for `chat_id`. */
export function isSlipOfMember(name: string, likely: string): boolean {
  const [one = "", other = ""] = [name, likely].map((each) => each.toLowerCase().replaceAll("_", ""));
  return isSlip(one, other);
}

/** ` Did you mean "x"?`, the end of a message; empty when no name is near. */
export function didYouMean(name: string, names: readonly string[]): string {
  const [likely] = nearest(name, names, 1);
  return likely === undefined ? "" : ` Did you mean "${likely}"?`;
}

/** Letters to insert, delete, replace, or swap with the next one. */
function editsBetween(one: string, other: string): number {
  const letters = [...one];
  let before: number[] = [];
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, letter] of letters.entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const replaced = (row[j] ?? 0) + (letter === other[j] ? 0 : 1);
      const isSwap = letter === other[j - 1] && letters[i - 1] === other[j];
      const swapped = isSwap ? (before[j - 1] ?? 0) + 1 : replaced;
      next.push(Math.min(replaced, swapped, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[other.length] ?? 0;
}
