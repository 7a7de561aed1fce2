import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { CommandError } from "../command.ts";
import { compactText, withoutSecrets } from "../start/payloads.ts";

/** A line of the log, of this machine or of a stage. */
export interface LogEntry {
  readonly atMs: number;
  /** The function: `webhook`, `worker`, … */
  readonly source: string;
  readonly line: Readonly<Record<string, unknown>>;
}

/** An event or a callback that came, without its secrets. */
export interface Push {
  readonly id: string;
  readonly atMs: number;
  readonly kind: "event" | "callback";
  readonly text: string;
}

/** How much is kept. What is more is deleted at the start, and after so many writes. */
const bounds = { keptMs: 7 * 86_400_000, maxLines: 50_000, maxPushedCharacters: 64 * 1_048_576, trimEvery: 1_000 };

/**
 * Keeps what happened of late in the state folder: the log's lines, and what was pushed. Each write is in the file at
 * once, so that it outlives `kill -9`. What cannot be kept stops nothing.
 * @param onProblem Receives a sentence for the developer.
 */
export function keepRecent(folder: string, onProblem: (problem: string) => void, limits = bounds) {
  const { keptMs, maxLines, maxPushedCharacters, trimEvery } = limits;
  const file = fileOf(folder);
  let database: DatabaseSync | undefined;
  const statements = new Map<string, StatementSync>();
  const attempt = (work: () => void) => {
    try {
      work();
    } catch (error) {
      database = undefined;
      onProblem(`${file} cannot be written, so what happens from now on is not kept: ${(error as Error).message}`);
    }
  };
  const open = () => {
    // The mode, since pushes are kept there. SQLite gives it to the files that it makes beside it.
    closeSync(openSync(file, "a", 0o600));
    const opened = new DatabaseSync(file, { timeout: 1_000 });
    opened.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
      CREATE TABLE IF NOT EXISTS lines (n INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER, source TEXT, id TEXT, line TEXT);
      CREATE TABLE IF NOT EXISTS pushes (id TEXT PRIMARY KEY, at_ms INTEGER, kind TEXT, text TEXT)`);
    database = opened;
  };
  const trim = () => {
    database?.exec(`DELETE FROM lines WHERE at_ms < ${Date.now() - keptMs}
        OR n <= (SELECT max(n) FROM lines) - ${maxLines};
      DELETE FROM pushes WHERE at_ms < ${Date.now() - keptMs} OR rowid IN (SELECT rowid FROM
        (SELECT rowid, sum(length(text)) OVER (ORDER BY rowid DESC) AS total FROM pushes) WHERE total > ${maxPushedCharacters})`);
  };
  attempt(() => {
    try {
      open();
      trim();
    } catch {
      // It is damaged. Nothing depends on it.
      for (const end of ["", "-wal", "-shm"]) rmSync(`${file}${end}`, { force: true });
      open();
    }
  });
  let writes = 0;
  const write = (sql: string, ...values: (string | number | null)[]) => {
    if (database === undefined) return;
    attempt(() => {
      const statement = statements.get(sql) ?? database?.prepare(sql);
      if (statement !== undefined) statements.set(sql, statement);
      statement?.run(...values);
      if (++writes % trimEvery === 0) trim();
    });
  };
  return {
    line(source: string, line: Readonly<Record<string, unknown>>): void {
      const id = typeof line["id"] === "string" ? line["id"] : null;
      const text = JSON.stringify(line, withoutSecrets);
      write("INSERT INTO lines (at_ms, source, id, line) VALUES (?, ?, ?, ?)", Date.now(), source, id, text);
    },
    push({ id, kind, text }: Omit<Push, "atMs">): void {
      const sql = "INSERT OR IGNORE INTO pushes (id, at_ms, kind, text) VALUES (?, ?, ?, ?)";
      write(sql, id, Date.now(), kind, compactText(text));
    },
    close: () => attempt(() => database?.close()),
  };
}

/**
 * What {@link keepRecent} has kept. Reads the file, whether a runtime writes to it or not.
 * What it returns throws a {@link CommandError} if the file cannot be read.
 */
export function openRecent(folder: string) {
  const file = fileOf(folder);
  const select = (sql: string, ...values: (string | number)[]): Readonly<Record<string, unknown>>[] => {
    if (!existsSync(file)) return [];
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(file, { readOnly: true, timeout: 10_000 });
      return database.prepare(sql).all(...values);
    } catch (cause) {
      const problem = `Cannot read ${file}: ${(cause as Error).message}`;
      throw new CommandError(`${problem}. If it is damaged, delete it: npm start makes another`, { cause });
    } finally {
      database?.close();
    }
  };
  return {
    /** The lines after the `n`th, oldest first. */
    after(n: number): (LogEntry & { readonly n: number })[] {
      return select("SELECT * FROM lines WHERE n > ? ORDER BY n", n).map((row) => ({
        n: Number(row["n"]),
        ...toEntry(row),
      }));
    },
    /** The warnings and errors about an event or a callback. */
    troubleOf(id: string, sinceMs: number): LogEntry[] {
      return select("SELECT * FROM lines WHERE id = ? AND at_ms >= ? ORDER BY n", id, sinceMs)
        .map(toEntry)
        .filter(({ line: { level } }) => level === "warn" || level === "error");
    },
    push(id: string): Push | undefined {
      return select("SELECT * FROM pushes WHERE id = ?", id).map(toPush)[0];
    },
    /** The pushes whose text has `part`, such as the id of a chat's message. */
    pushesWith(part: string): Push[] {
      return select("SELECT * FROM pushes WHERE instr(text, ?) > 0 ORDER BY rowid", part).map(toPush);
    },
  };
}

export type Recent = ReturnType<typeof openRecent>;

function toEntry(row: Readonly<Record<string, unknown>>): LogEntry {
  const { at_ms: atMs, source, line } = row;
  return { atMs: Number(atMs), source: String(source), line: JSON.parse(String(line)) as LogEntry["line"] };
}

function toPush(row: Readonly<Record<string, unknown>>): Push {
  const { id, at_ms: atMs, kind, text } = row;
  return { id: String(id), atMs: Number(atMs), kind: kind === "callback" ? kind : "event", text: String(text) };
}

function fileOf(folder: string): string {
  return join(folder, "recent.db");
}
