import type { Clock } from "../../clock.ts";
import { countsLine, headLine, isOutcome, nestedLine, nestedText, timeOf } from "./render.ts";

type Line = Readonly<Record<string, unknown>>;

interface Item {
  readonly nested: readonly string[];
  /** The lines that show its error. */
  readonly details?: readonly string[];
  readonly stage?: string;
  /** The line at the head of a block that gets no outcome in time. */
  readonly head?: string;
  /** What went wrong, equal for the same fault. */
  readonly trouble?: string | undefined;
}

interface Block {
  /** What was not printed yet. */
  readonly items: Item[];
  cancelFlush: (() => void) | undefined;
}

interface BlocksOptions {
  readonly print: (text: string) => void;
  readonly clock: Clock;
  readonly isQuiet: boolean;
  /** What to type to see a dead letter, but for its id. */
  readonly showCommand: string;
}

const secondMs = 1_000;
/** More outcomes within a second, or more events at the same time, are load: blocks would scroll away unread. */
const maxOutcomes = 3;
const maxOpen = 4;
/** So many lines of counts follow each other before the time between two is doubled. A slow machine's load fits a screen as well. */
const linesPerInterval = 3;
/** An id that means nothing to a shell. */
const typeable = /^[\w:.-]{1,128}(?:#deferred(?:-[\w-]+)?)?$/;
/** So many closed blocks are remembered: a line of the webhook may come after the worker's outcome. */
const maxClosed = 1_000;

/**
 * Prints one block for each event: the outcome, and under it what led to it. After a second without an outcome, what
 * there is gets printed, and the outcome follows in a block of its own. Under load, and always with `isQuiet`, outcomes
 * are counted, a line a second at first; a fault is still printed, once.
 */
export function createBlocks(options: BlocksOptions) {
  const { clock, showCommand } = options;
  const open = new Map<string, Block>();
  const closed = new Set<string>();
  const waiting = () => [...open.values()].filter(({ items }) => items.length > 0).length;
  const load = createLoad(options, waiting);
  const now = () => new Date(clock.nowMs());

  /** Prints what there is of an event that takes long. */
  function flush(id: string): void {
    const block = open.get(id);
    if (block !== undefined) block.cancelFlush = undefined;
    printUnfinished(block?.items.splice(0) ?? [], load);
  }

  function add(id: string, item: Item): void {
    const block = open.get(id) ?? { items: [], cancelFlush: undefined };
    block.cancelFlush ??= clock.after(secondMs, () => flush(id));
    block.items.push(item);
    open.set(id, block);
  }

  function close(id: string): readonly Item[] {
    const block = open.get(id);
    block?.cancelFlush?.();
    open.delete(id);
    closed.add(id);
    const [oldest = ""] = closed;
    if (closed.size > maxClosed) closed.delete(oldest);
    return block?.items ?? [];
  }

  return {
    /**
     * Takes a trace entry of a function.
     * @param details The lines that show its error.
     */
    line(line: Line, details: readonly string[], isCallback: boolean): void {
      const { stage } = line;
      const id = typeof line["id"] === "string" ? line["id"] : undefined;
      const head = headLine(line, { now: now(), isCallback, details });
      const trouble = troubleOf(line);
      if (isOutcome(stage)) {
        load.addOutcome();
        const items = id === undefined ? [] : close(id);
        const all = [...items, { nested: [], trouble }];
        const command = stage === "dead" && id !== undefined && typeable.test(id) ? [`${showCommand} ${id}`] : [];
        const before = items.flatMap((item) => nestedOf(item, details));
        const lines = [head, ...details, ...command.map(nestedText), ...before];
        if (!load.print(lines, troublesOf(all))) load.count(String(stage));
      } else if (id === undefined) load.print([head, ...details], [trouble ?? head]);
      else if (stage !== "queued" || !closed.has(id)) {
        add(id, { head, stage: String(stage), nested: [nestedLine(line, { isCallback, details })], details, trouble });
      }
    },

    /** Takes the line for what a bot did. It is the only running event's, if there is one. */
    bot(line: string): void {
      const [id, ...others] = open.keys();
      if (id !== undefined && others.length === 0) add(id, { nested: [nestedText(line)] });
      else if (!load.print([`${timeOf(now())}  ${line}`], [])) load.countBotMessage();
    },

    /** Takes what came, as text of some lines. */
    payload(id: string, text: string): void {
      add(id, { nested: text.split("\n").map(nestedText) });
    },

    /** Prints what is left. */
    stop(): void {
      for (const id of [...open.keys()]) {
        open.get(id)?.cancelFlush?.();
        flush(id);
      }
      load.stop();
    },
  };
}

/**
 * Prints at once while little comes, and counts under load.
 * @param waiting How many blocks have something to print.
 */
function createLoad({ print, clock, isQuiet }: BlocksOptions, waiting: () => number) {
  const faults = new Set<string>();
  const counts = new Map<string, number>();
  let botMessages = 0;
  let countLines = 0;
  let outcomes = 0;
  let isLoad = isQuiet;
  let cancelSecond: (() => void) | undefined;

  function beginSecond(): void {
    cancelSecond ??= clock.after(secondMs * 2 ** Math.floor(countLines / linesPerInterval), () => {
      cancelSecond = undefined;
      printCounts();
      // Load ends with a second in which little comes.
      if (outcomes >= maxOutcomes) beginSecond();
      else {
        isLoad = isQuiet;
        faults.clear();
        countLines = 0;
      }
      outcomes = 0;
    });
  }

  function printCounts(): void {
    if (counts.size > 0 || botMessages > 0) {
      print(countsLine(counts, botMessages, new Date(clock.nowMs())));
      countLines++;
    }
    counts.clear();
    botMessages = 0;
  }

  return {
    isQuiet,
    /** Prints the lines, unless there is load. A fault that was not seen before is printed all the same. */
    print(lines: readonly string[], troubles: readonly string[]): boolean {
      beginSecond();
      if (outcomes > maxOutcomes || waiting() > maxOpen) isLoad = true;
      const isNew = troubles.some((trouble) => !faults.has(trouble));
      for (const trouble of troubles) faults.add(trouble);
      if (isLoad && !isNew) return false;
      print(lines.join("\n"));
      return true;
    },
    addOutcome(): void {
      outcomes++;
      if (waiting() > maxOpen) isLoad = true;
    },
    count: (stage: string): void => void counts.set(stage, (counts.get(stage) ?? 0) + 1),
    countBotMessage: (): void => void botMessages++,
    /** Prints the counts that are left. */
    stop(): void {
      cancelSecond?.();
      printCounts();
    },
  };
}

function printUnfinished(items: readonly Item[], load: ReturnType<typeof createLoad>): void {
  const first = items.find(({ head }) => head !== undefined);
  const rest = items.filter((item) => item !== first).flatMap((item) => nestedOf(item));
  if (first?.head === undefined) return;
  if (load.print([first.head, ...(first.details ?? []), ...rest], troublesOf(items))) return;
  // How far it is: queued, or started.
  const stage = items.findLast((item) => item.stage === "queued" || item.stage === "started")?.stage;
  if (stage !== undefined && !load.isQuiet) load.count(stage);
}

/** Without its error's lines if they were `shown`: a leaked error may be what the run fails with. */
function nestedOf({ nested, details = [] }: Item, shown: readonly string[] = []): readonly string[] {
  return details.join("\n") === shown.join("\n") ? nested : [...nested, ...details];
}

function troublesOf(items: readonly Item[]): string[] {
  return items.flatMap(({ trouble }) => (trouble === undefined ? [] : [trouble]));
}

function troubleOf({ level, stage, fingerprint, message, reason, type }: Line): string | undefined {
  if (level !== "warn" && level !== "error") return undefined;
  return [stage, type, fingerprint ?? message ?? reason].join("\n");
}
