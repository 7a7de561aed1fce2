import { parentPort } from "node:worker_threads";
import { rows } from "./all.ts";

// A thread of its own for the rows: in the test's own, node:test keeps a book of every promise, and rows make
// millions. It says which rows there are, then runs them as it is asked to.

export interface Job {
  /** Among the rows, in the order told. */
  readonly index: number;
  readonly seed: number;
}
export type Message =
  | { readonly rows: readonly { readonly id: string; readonly title: string; readonly sample: number }[] }
  | { readonly holds: true }
  | { readonly holds: false; readonly error: unknown };

parentPort?.on("message", ({ index, seed }: Job) => {
  const tell = (message: Message) => parentPort?.postMessage(message);
  const row = rows[index];
  row?.run({ n: row.sample, seed, progress: () => {} }).then(
    () => tell({ holds: true }),
    (error: unknown) => tell({ holds: false, error }),
  );
});
parentPort?.postMessage({ rows: rows.map(({ id, title, sample }) => ({ id, title, sample })) } satisfies Message);
