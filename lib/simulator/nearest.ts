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

/** Whether one of the names was meant for the other: one letter more, less or other, two for a long name. */
export function isSlip(name: string, likely: string): boolean {
  return likely !== "" && editsBetween(name, likely) <= (likely.length > 8 ? 2 : 1);
}

/** Whether a member of a payload was meant by a name: a slip, swapped letters, or `chatId` for `chat_id`. */
export function isSlipOfMember(name: string, likely: string): boolean {
  const [one = "", other = ""] = [name, likely].map((each) => each.toLowerCase().replaceAll("_", ""));
  return isSlip(one, other) || [...one].sort().join("") === [...other].sort().join("");
}

/** ` Did you mean "x"?`, the end of a message; empty when no name is near. */
export function didYouMean(name: string, names: readonly string[]): string {
  const [likely] = nearest(name, names, 1);
  return likely === undefined ? "" : ` Did you mean "${likely}"?`;
}

/** Levenshtein's distance: letters to insert, delete or replace. */
function editsBetween(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...one].entries()) {
    let before = i + 1;
    const next = [before];
    for (let j = 0; j < other.length; j++) {
      const replaced = (row[j] ?? 0) + (letter === other[j] ? 0 : 1);
      before = Math.min(replaced, (row[j + 1] ?? 0) + 1, before + 1);
      next.push(before);
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
