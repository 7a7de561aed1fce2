import { existsSync, mkdirSync, readFileSync, rmdirSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { systemClock, withDeadline } from "../../../clock.ts";
import { DeadlineError } from "../../../errors.ts";
import { exchange } from "../../../https.ts";
import { isLockedByOther, level, lockState, storedQueues } from "../../../local/state.ts";
import { openRecent } from "../../state/recent.ts";
import { type LocalRuntime, readLocal } from "../../state/target.ts";
import { verdictOf } from "../timeline.ts";
import type { Check } from "./check.ts";
import { type Finding, found } from "./finding.ts";
import { lettersIn, waitIn } from "./queues.ts";

/** Who has the state folder. */
export interface Holder {
  /** Why it cannot be used. */
  readonly problem?: string;
  /** The other process that has it. `isAnswering` if it answers as `npm start`. */
  readonly pid?: string;
  readonly running?: LocalRuntime | undefined;
  readonly isAnswering: boolean;
  /** Why the ledger cannot be opened, although no process has the folder. */
  readonly ledgerFault?: { readonly code: string; readonly message: string } | undefined;
}

export interface State {
  readonly stateFolder: string;
  /** What to type to get to it: ` --state .other`, or nothing. */
  readonly args: string;
  readonly holder: () => Promise<Holder>;
}

const answersWithinMs = 3_000;

/** Holds the lock, if it is free, while the ledger is opened: npm start would be refused in that moment alone. */
export async function holderOf(folder: string): Promise<Holder> {
  if (!existsSync(folder)) return { isAnswering: false, ...notMade(folder) };
  let unlock: () => void;
  try {
    unlock = lockState(folder);
  } catch (error) {
    if (isLockedByOther(error)) return heldBy(folder);
    const { message } = ((error as Error).cause ?? error) as Error;
    return { isAnswering: false, problem: message };
  }
  try {
    return { isAnswering: false, ledgerFault: await ledgerFault(join(folder, "dynamodb")) };
  } finally {
    unlock();
  }
}

/** Makes the folder, as npm start would, and takes it away again: only that says whether it can be made. */
function notMade(folder: string): { problem?: string } {
  try {
    const first = mkdirSync(folder, { recursive: true });
    // Not with what is in it: npm start may have begun to use it.
    for (let made = folder; first !== undefined && made.length >= first.length; made = dirname(made)) rmdirSync(made);
    return {};
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOTEMPTY" ? {} : { problem: (error as Error).message };
  }
}

/** The folder itself, or the nearest one above it that is there. */
export function nearestFolder(folder: string): string {
  return existsSync(folder) ? folder : nearestFolder(dirname(folder));
}

async function heldBy(folder: string): Promise<Holder> {
  const pidFile = join(folder, "lock.pid");
  const pid = existsSync(pidFile) ? readFileSync(pidFile, "utf8") : "";
  const running = readLocal(join(folder, "local.json"));
  const { url } = running ?? {};
  if (url === undefined) return { pid, running, isAnswering: running?.control !== undefined };
  const error = () => new DeadlineError("no answer in time");
  const isAnswering = await withDeadline(systemClock, { ms: answersWithinMs, error }, (signal) =>
    exchange(new URL(url), { method: "GET", headers: {}, body: undefined, signal }),
  ).then(
    () => true,
    () => false,
  );
  return { pid, running, isAnswering };
}

async function ledgerFault(folder: string): Promise<Holder["ledgerFault"]> {
  if (!existsSync(folder)) return undefined;
  const database = level(folder);
  try {
    await database.open();
    return undefined;
  } catch (error) {
    const { code = "", message } = ((error as Error).cause ?? error) as Error & { code?: string };
    return { code, message };
  } finally {
    await database.close();
  }
}

export const stateChecks: readonly Check<State>[] = [
  {
    id: "state",
    about: "the state folder",
    fine: "the state folder is usable, and free or npm start's",
    async find({ holder, stateFolder }) {
      const { problem, pid, isAnswering, ledgerFault: fault } = await holder();
      const other = "choose another folder with --state";
      if (problem !== undefined) {
        const what = `the state folder ${stateFolder} cannot be used: ${problem}`;
        return [found("state-unusable", what, `Check who owns it and the disk, or ${other}`)];
      }
      if (pid !== undefined && !isAnswering) {
        const what = `process ${pid} has the state folder ${stateFolder} and does not answer, so npm start is refused`;
        return [found("state-held", what, `Wait until it has ended, or stop it; or ${other}`)];
      }
      if (fault === undefined) return [];
      if (fault.code === "LEVEL_LOCKED") {
        const what = `what a killed npm start has left still has the ledger in ${stateFolder}`;
        return [
          found(
            "state-left",
            what,
            `It ends within seconds; else find it: "lsof ${join(stateFolder, "dynamodb/LOCK")}"`,
          ),
        ];
      }
      const what = `the ledger in ${stateFolder} cannot be read: ${fault.message}`;
      return [found("state-other", what, "npm start moves it aside and starts with an empty one")];
    },
  },
  {
    id: "start",
    about: "the running npm start",
    fine: "npm start runs",
    async find({ holder, stateFolder }) {
      const { problem, pid } = await holder();
      if (problem !== undefined) return undefined;
      const what = `no npm start runs with ${relative(process.cwd(), stateFolder) || "."}, so nothing is received or handled`;
      return pid === undefined
        ? [found("start-missing", what, "Run it, or look at another's folder with --state")]
        : [];
    },
  },
  {
    id: "blocked",
    about: "the handlers",
    fine: "no handler blocks its function",
    async find({ holder, stateFolder, args }) {
      if (!(await holder()).isAnswering) return undefined;
      const sinceMs = statSync(join(stateFolder, "local.json")).mtimeMs;
      const lines = openRecent(stateFolder)
        .after(0)
        .filter(({ atMs }) => atMs >= sinceMs);
      return [...Map.groupBy(lines, ({ line }) => line["id"])].flatMap(([id, entries]) => {
        const { verdict, entry } = verdictOf(entries) ?? {};
        if (verdict !== "blocked") return [];
        const what = `a handler blocks its function, perhaps that of ${entry?.line["type"]} (${id})`;
        const cure = `It loops, or waits without await: save a repaired one. "npm run trace --${args} ${id}"`;
        return [found("handler-blocks", what, cure)];
      });
    },
  },
  {
    id: "letters",
    about: "the stored queues",
    fine: "no event has waited for long, and no dead letter and no unreadable message waits",
    async find({ stateFolder, args, holder }) {
      try {
        const queues = storedQueues(stateFolder, Date.now());
        // Without npm start all wait, which another check says.
        const { isAnswering } = await holder();
        const late = ({ name, oldestSeconds = 0 }: (typeof queues)[number]) =>
          isAnswering ? waitIn(name, oldestSeconds, args) : [];
        return queues.flatMap((queue): Finding[] => [...lettersIn(queue, args), ...late(queue)]);
      } catch (error) {
        const what = `the queues in ${stateFolder} cannot be read: ${(error as Error).message}`;
        return [
          found("state-other", what, "Another release or program wrote them: move the folder aside, and start again"),
        ];
      }
    },
  },
];
