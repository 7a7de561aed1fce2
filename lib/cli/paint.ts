import { styleText } from "node:util";

export type Style = Parameters<typeof styleText>[0];

/** The text in that style, where stdout is a terminal with colours. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

/** How far long work is, on one line at a terminal. Scripts and logs get none of it. */
export function progressLine(): { show(text: string): void; clear(): void } {
  if (process.stderr.isTTY !== true) return { show() {}, clear() {} };
  const never = Number.NEGATIVE_INFINITY;
  let shownAtMs = never;
  return {
    show(text) {
      const nowMs = performance.now();
      if (nowMs - shownAtMs < 50) return;
      shownAtMs = nowMs;
      process.stderr.write(`\r${text}\x1b[K`);
    },
    clear() {
      if (shownAtMs !== never) process.stderr.write("\r\x1b[K");
      shownAtMs = never;
    },
  };
}

/** How many columns of a terminal a text takes: Chinese characters and their punctuation take two. */
export function columnsOf(text: string): number {
  return [...text].reduce(
    (columns, character) => columns + (/[\u2e80-\u9fff\uff00-\uff60]/.test(character) ? 2 : 1),
    0,
  );
}
