/** A terminal's window: its title, and its lines with the colours of ANSI escape sequences. */
export interface Terminal {
  readonly title: string;
  readonly lines: readonly string[];
}

interface Piece {
  readonly text: string;
  readonly column: number;
  readonly classes: readonly string[];
}

const columnWidth = 8.4;
const rowHeight = 20;
const padding = 16;
const titleHeight = 32;
const gap = 16;

/** ANSI codes that our commands print: those that begin a style by its class, those that end one. */
const begins: Readonly<Record<string, string>> = {
  1: "bold",
  2: "dim",
  31: "red",
  32: "green",
  33: "yellow",
  35: "magenta",
  36: "cyan",
};
const ends: Readonly<Record<string, readonly string[]>> = {
  22: ["bold", "dim"],
  39: ["red", "green", "yellow", "magenta", "cyan"],
};

// Windows with a background of their own, so that the text reads the same on a light and on a dark page.
const style = `
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #e6edf3; white-space: pre; }
  .window { fill: #0d1117; stroke: #484f58; } .bar { fill: #21262d; } .title { fill: #b1bac4; }
  .bold { font-weight: 700; } .dim { fill: #9198a1; } .red { fill: #ff7b72; } .green { fill: #56d364; }
  .yellow { fill: #e3b341; } .magenta { fill: #d2a8ff; } .cyan { fill: #76e3ea; }`;

/** The windows, one below the other, as an SVG document. */
export function drawTerminals(terminals: readonly Terminal[]): string {
  const pieces = terminals.map(({ lines }) => lines.map(piecesOf));
  const columns = Math.max(...pieces.flat().map(lengthOf), ...terminals.map(({ title }) => title.length + 10));
  const width = Math.ceil(columns * columnWidth + 2 * padding);
  let top = 0;
  const windows = terminals.map(({ title }, index) => {
    const lines = pieces[index] ?? [];
    const height = titleHeight + lines.length * rowHeight + 2 * padding - 6;
    const firstLine = top + titleHeight + padding + 0.6 * rowHeight;
    const drawn = lines.flatMap((line, row) => line.map((piece) => drawPiece(piece, firstLine + row * rowHeight)));
    const frame = drawFrame({ title, top, width, height });
    top += height + gap;
    return [...frame, ...drawn].join("\n");
  });
  const height = top - gap;
  const spoken = terminals.map(({ title, lines }) => `${title}\n${lines.map(plain).join("\n")}`).join("\n\n");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>A recording of npm start and npm run chat</title>
<desc>
${xmlText(spoken)}
</desc>
<style>${style}
</style>
${windows.join("\n")}
</svg>
`;
}

function drawFrame(frame: { title: string; top: number; width: number; height: number }): string[] {
  const { title, top, width, height } = frame;
  const dots = ["#ff5f57", "#febc2e", "#28c840"].map(
    (colour, index) =>
      `<circle cx="${padding + 6 + index * 18}" cy="${top + titleHeight / 2}" r="5.5" fill="${colour}"/>`,
  );
  return [
    `<rect class="window" x="0.5" y="${top + 0.5}" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    `<path class="bar" d="M1 ${top + titleHeight}V${top + 9}a8 8 0 0 1 8-8H${width - 9}a8 8 0 0 1 8 8V${top + titleHeight}z"/>`,
    ...dots,
    drawPiece({ text: title, column: 8, classes: ["title"] }, top + titleHeight / 2 + 5),
  ];
}

/** Fonts differ in width, so each piece says where it begins and how wide it is: columns stay columns. */
function drawPiece({ text, column, classes }: Piece, y: number): string {
  const x = (padding + column * columnWidth).toFixed(1);
  const className = classes.length === 0 ? "" : ` class="${classes.join(" ")}"`;
  const length = (text.length * columnWidth).toFixed(1);
  return `<text${className} x="${x}" y="${y}" textLength="${length}" lengthAdjust="spacingAndGlyphs">${xmlText(text)}</text>`;
}

/** A line's words by their style. What is only blank is not drawn. */
function piecesOf(line: string): Piece[] {
  const pieces: Piece[] = [];
  let classes: readonly string[] = [];
  let column = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one.
  for (const [, code, text = ""] of line.matchAll(/\u001b\[(\d+)m|([^\u001b]+)/g)) {
    if (code !== undefined) {
      const begun = begins[code];
      const ended = ends[code] ?? [];
      classes = begun === undefined ? classes.filter((name) => !ended.includes(name)) : [...classes, begun];
      continue;
    }
    const indent = text.length - text.trimStart().length;
    const shown = text.trim();
    if (shown !== "") pieces.push({ text: shown, column: column + indent, classes });
    column += text.length;
  }
  return pieces;
}

function lengthOf(pieces: readonly Piece[]): number {
  const last = pieces.at(-1);
  return last === undefined ? 0 : last.column + last.text.length;
}

function plain(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one.
  return line.replaceAll(/\u001b\[\d+m/g, "");
}

function xmlText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
