import { linkSync, mkdirSync, readFileSync, rmdirSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir, uptime } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { ConfigError } from "../errors.ts";

interface Holder {
  readonly pid: number;
  readonly startedAtMs: number;
}

export interface Lock {
  /** Lets the next one in. Twice is once. */
  release(): void;
}

/** Locks that this process holds: a file with its id that it does not hold is from another life of that id. */
const held = new Set<string>();
/** Removing what a dead process left takes less than a millisecond. */
const guardTries = 200;
const guardPauseMs = 10;
/** Clocks are set, and a machine's start is known to the second. */
const bootSlackMs = 60_000;

/**
 * The one long connection of an app on this machine: a file with the process's id, for as long as the process
 * lives. What a process left that died is taken over.
 *
 * @param options.folder The machine's temporary files.
 * @throws {ConfigError} Another process of this machine has it; the message names it.
 */
export async function lockApp(appId: string, options: { folder?: string } = {}): Promise<Lock> {
  const { folder = tmpdir() } = options;
  const file = join(folder, `larkpost-${appId.replaceAll(/[^\w-]/g, "_")}.lock`);
  const guard = `${file}.removing`;
  for (let tries = 0; tries < guardTries; tries++) {
    if (create(file)) return holding(file);
    const holder = readHolder(file);
    if (holder !== undefined && isAlive(file, holder)) throw taken(appId, holder, file);
    // Between looking and removing, another may have removed it and put its own there: one at a time, and look again.
    if (!enter(guard)) {
      await pause(guardPauseMs);
      continue;
    }
    try {
      const still = readHolder(file);
      if (still !== undefined && !isAlive(file, still)) remove(file);
    } finally {
      rmdirSync(guard);
    }
  }
  throw new ConfigError(
    `Cannot start: ${guard} has stood for seconds. Check that no other process of this app is starting, then delete it`,
  );
}

/** With its content at once, so that nobody reads half of it. */
function create(file: string): boolean {
  const own = `${file}.${process.pid}`;
  writeFileSync(own, JSON.stringify({ pid: process.pid, startedAtMs: Date.now() }), { mode: 0o600 });
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    remove(own);
  }
}

function holding(file: string): Lock {
  held.add(file);
  const release = () => {
    process.off("exit", release);
    if (held.delete(file)) remove(file);
  };
  process.on("exit", release);
  return { release };
}

/** `undefined` where there is none any more. What cannot be read was written by nobody who lives. */
function readHolder(file: string): Holder | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const { pid, startedAtMs } = Object(JSON.parse(text)) as { pid?: unknown; startedAtMs?: unknown };
    if (Number.isInteger(pid) && typeof startedAtMs === "number") return { pid: Number(pid), startedAtMs };
  } catch {
    // Said below.
  }
  return { pid: 0, startedAtMs: 0 };
}

function isAlive(file: string, { pid, startedAtMs }: Holder): boolean {
  if (pid <= 0) return false;
  // Ids begin anew with the machine.
  if (startedAtMs < Date.now() - uptime() * 1000 - bootSlackMs) return false;
  if (pid === process.pid) return held.has(file);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It is there, and another user's.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function enter(guard: string): boolean {
  try {
    mkdirSync(guard);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function remove(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function taken(appId: string, { pid, startedAtMs }: Holder, file: string): ConfigError {
  const since = new Date(startedAtMs).toISOString().slice(0, 19).replace("T", " ");
  return new ConfigError(
    `Cannot start: process ${pid} of this machine has the long connection of "${appId}" since ${since} UTC, and two would share its events at random. Stop it first; if it is another program, delete ${file}`,
  );
}
