/** What of a Markdown page can be compared and checked. Understands what our pages use, not all of GitHub's dialect. */
export interface Page {
  readonly headings: readonly Heading[];
  readonly blocks: readonly Block[];
  /** Of each table, the number of cells in each row. */
  readonly tables: readonly (readonly number[])[];
  readonly links: readonly string[];
  /** What is in code font within the text. */
  readonly spans: readonly string[];
}

export interface Heading {
  readonly level: number;
  readonly anchor: string;
}

export interface Block {
  readonly language: string;
  readonly code: string;
}

export function readPage(markdown: string): Page {
  const blocks: Block[] = [];
  const fence = /^( *)```(\w*)\n([\s\S]*?)^ *```$/gm;
  const text = markdown.replace(fence, (_, indent: string, language: string, code: string) => {
    blocks.push({ language, code: code.replaceAll(new RegExp(`^${indent}`, "gm"), "") });
    return "";
  });
  const lines = text.split("\n");
  return {
    headings: readHeadings(lines),
    blocks,
    tables: readTables(lines),
    links: [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g)].map(
      ([, link, html]) => link ?? html ?? "",
    ),
    spans: [...text.matchAll(/`([^`\n]+)`/g)].map(([, span]) => span ?? ""),
  };
}

/** A heading's anchor is its text in lower case, without punctuation, with hyphens for blanks, as GitHub makes it. */
function readHeadings(lines: readonly string[]): Heading[] {
  const seen = new Map<string, number>();
  return lines.flatMap((line) => {
    const match = /^(#{1,6}) (.+)$/.exec(line);
    if (match === null) return [];
    const [, marks = "", title = ""] = match;
    const shown = title.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    const slug = shown
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{M}\p{Nd}\p{Pc} -]/gu, "")
      .replaceAll(" ", "-");
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return [{ level: marks.length, anchor: count === 0 ? slug : `${slug}-${count}` }];
  });
}

function readTables(lines: readonly string[]): number[][] {
  const tables: number[][] = [];
  for (const [index, line] of lines.entries()) {
    if (!line.startsWith("|")) continue;
    if (!lines[index - 1]?.startsWith("|")) tables.push([]);
    tables.at(-1)?.push(rowCells(line).length);
  }
  return tables;
}

/** The cells of a table's row; `\|` is no border. */
export function rowCells(line: string): string[] {
  return line
    .trim()
    .slice(1, -1)
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim());
}
