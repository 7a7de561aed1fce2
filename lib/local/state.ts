import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { pause, systemClock } from "../clock.ts";
import { ConfigError } from "../errors.ts";

/** SQLite's result codes: https://www.sqlite.org/rescode.html */
const busy = 5;
const damaged: ReadonlySet<unknown> = new Set([11, 26]);

/**
 * Creates the state folder and locks it for this process, because two runtimes would take each other's messages. The
 * operating system releases the lock when the process ends, however it ends.
 * @returns Releases the lock.
 * @throws {ConfigError} Another process has the lock, or the folder cannot be used.
 */
export function lockState(folder: string): () => void {
  const pidFile = join(folder, "lock.pid");
  let lock: DatabaseSync | undefined;
  try {
    // The mode, because queued payloads are kept there.
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    lock = new DatabaseSync(join(folder, "lock"));
    // The lock is an open transaction. The number is written once it is held, and is not in the database, which others
    // could not read then.
    lock.exec("BEGIN IMMEDIATE");
    writeFileSync(pidFile, String(process.pid));
    const held = lock;
    return () => held.close();
  } catch (error) {
    const { errcode, message } = error as Error & { errcode?: number };
    lock?.close();
    const other = "Choose another folder with --state";
    throw new ConfigError(
      errcode === busy
        ? `Cannot start: ${holder(pidFile)} runs with the state folder ${folder} already. Stop that process. ${other}, if both are to run`
        : `Cannot start: the state folder ${folder} cannot be used: ${message}. Check the folder and the disk. ${other}, if need be`,
      { cause: error },
    );
  }
}

/** Whether {@link lockState} failed because another process has the lock. */
export function isLockedByOther(error: unknown): boolean {
  return Object(Object(error).cause).errcode === busy;
}

/** Who has the lock. Two that start at once race, and the other may not have written its number yet. */
function holder(pidFile: string): string {
  const pid = existsSync(pidFile) ? readFileSync(pidFile, "utf8") : "";
  return pid === "" ? "another process" : `process ${pid}`;
}

/**
 * Moves a store aside that is damaged, so that an empty one can take its place and the other store stays.
 * @returns A sentence for the developer, if the store was damaged.
 */
function moveAside(path: string, problem: string, consequence: string): string {
  const aside = `${path}.damaged-${new Date().toISOString().replaceAll(/\D/g, "").slice(0, 14)}`;
  renameSync(path, aside);
  return `${path} is damaged (${problem}) and was moved to ${aside}. ${consequence}`;
}

/** @see moveAside */
export function checkQueues(folder: string): string | undefined {
  const file = join(folder, "fauxqs.db");
  if (!existsSync(file)) return undefined;
  const database = new DatabaseSync(file);
  let problem: unknown;
  try {
    problem = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  } catch (error) {
    const { errcode, message } = error as Error & { errcode?: number };
    if (!damaged.has(errcode)) throw error;
    problem = message;
  } finally {
    database.close();
  }
  if (problem === "ok") return undefined;
  return moveAside(folder, String(problem), "The queues start empty: push again what had not ended");
}

/** A message of the embedded SQS, as its file has it. */
export interface StoredMessage {
  readonly message_id: string;
  readonly body: string;
  /** JSON: name → the SDK's attribute value. */
  readonly message_attributes: string;
  readonly sent_timestamp: number;
  readonly message_group_id: string | null;
}

/**
 * All messages of a queue, oldest first. Reads the file, so nothing is received: a runtime that is running does not
 * notice.
 */
export function storedMessages(stateFolder: string, queue: string): StoredMessage[] {
  const file = join(stateFolder, "sqs", "fauxqs.db");
  if (!existsSync(file)) return [];
  const database = new DatabaseSync(file, { readOnly: true, timeout: 10_000 });
  try {
    const columns = "message_id, body, message_attributes, sent_timestamp, message_group_id";
    const select = `SELECT ${columns} FROM sqs_messages WHERE queue_name = ? ORDER BY sent_timestamp, rowid`;
    return database.prepare(select).all(queue) as unknown as StoredMessage[];
  } finally {
    database.close();
  }
}

/** The embedded SQS's queues by name: how many messages wait, are being handled or delayed, and how old the oldest is. */
export function storedQueues(stateFolder: string, nowMs: number) {
  const file = join(stateFolder, "sqs", "fauxqs.db");
  if (!existsSync(file)) return [];
  const database = new DatabaseSync(file, { readOnly: true, timeout: 10_000 });
  try {
    const select = `SELECT name, count(message_id) AS total, total(visibility_deadline > :now) AS running,
      total(delay_until > :now) AS delayed, min(sent_timestamp) AS oldest
      FROM sqs_queues LEFT JOIN sqs_messages ON queue_name = name GROUP BY name ORDER BY name`;
    const rows = database.prepare(select).all({ now: nowMs }) as Record<string, number | null>[];
    return rows.map(({ name, total, running, delayed, oldest }) => ({
      name: String(name),
      waiting: Number(total) - Number(running) - Number(delayed),
      running: Number(running),
      delayed: Number(delayed),
      oldestSeconds: oldest === null || oldest === undefined ? undefined : Math.round((nowMs - oldest) / 1000),
    }));
  } finally {
    database.close();
  }
}

/** dynalite's own database, which does not say itself why it cannot be opened. Loaded when it is asked for. */
export function level(path: string): { open(): Promise<void>; close(): Promise<void> } {
  const { Level } = createRequire(createRequire(import.meta.url).resolve("dynalite"))("level");
  return new Level(path);
}

/**
 * @param freeWithinMs How long to wait for the services of a killed runtime, which are about to end.
 * @see moveAside
 */
export async function checkLedger(folder: string, freeWithinMs = 10_000): Promise<string | undefined> {
  const endMs = Date.now() + freeWithinMs;
  for (;;) {
    const database = level(folder);
    const cause = await database.open().then(
      () => undefined,
      (error: Error) => Object(error.cause ?? error) as { code?: string; message: string },
    );
    await database.close();
    if (cause === undefined) return undefined;
    const { code, message } = cause;
    if (code === "LEVEL_CORRUPTION" || message.includes("No such file or directory")) {
      return moveAside(folder, message, "The ledger starts empty: an event that is pushed again runs again");
    }
    if (code !== "LEVEL_LOCKED" || Date.now() > endMs) throw new Error(`${folder} cannot be opened: ${message}`);
    await pause(systemClock, 50);
  }
}
