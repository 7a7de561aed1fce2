import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { spread } from "./measure.ts";
import type { Race } from "./races.ts";
import { runRace } from "./run.ts";
import type { Surroundings } from "./surroundings.ts";

const rounds = 10;

/** What V8 writes with `--cpu-prof`. */
export interface Profile {
  readonly nodes: readonly ProfileNode[];
  /** The node that ran, sample by sample, and the µs since the sample before. */
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}
interface ProfileNode {
  readonly id: number;
  readonly callFrame: Frame;
  readonly children?: readonly number[];
}
interface Frame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
  readonly columnNumber: number;
}

const native = "program: native code, TLS's included";
/** By the source of a function, or by its name where it has none. */
const groups: readonly (readonly [name: string, source: RegExp])[] = [
  ["idle", /^\(idle\)$/],
  ["garbage collection", /^\(garbage collector\)$/],
  [native, /^\((?:program|root)\)$/],
  // The realm compiles Node's own modules when they are first required.
  ["module loading", /^node:(?:internal\/(?:modules|vm|source_map|bootstrap\/realm)|module)/],
  ["Node's start", /^node:internal\/(?:bootstrap|main|process\/pre_execution)/],
  ["node:https, TLS, sockets", /^node:_?(?:internal\/)?_?(?:https?|tls|net|dns|streams?)(?:\b|_)/],
  ["cryptography", /^node:(?:internal\/)?crypto/],
  [
    "AWS client",
    /@(?:aws-sdk|smithy|aws-lambda-powertools)\/|\/lib\/aws\/(?:client|connections|sign\w+|sqs|dynamodb)\.ts$/,
  ],
  ["other packages", /node_modules\//],
  ["our modules", /\/(?:lib|infra)\//],
  ["the bench itself", /\/test\/bench\//],
];

/** Self time by what the code belongs to, in ms. Idle time is left out. */
export function selfTimes(profiles: readonly Profile[], sourceOf = sourceFinder()): Map<string, number> {
  const times = new Map<string, number>();
  for (const { nodes, samples, timeDeltas } of profiles) {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const parents = new Map(nodes.flatMap((node) => (node.children ?? []).map((child) => [child, node] as const)));
    for (const [index, id] of samples.entries()) {
      const group = groupOf(byId.get(id), parents, sourceOf);
      if (group !== "idle") times.set(group, (times.get(group) ?? 0) + (timeDeltas[index] ?? 0) / 1000);
    }
  }
  return times;
}

function groupOf(
  node: ProfileNode | undefined,
  parents: ReadonlyMap<number, ProfileNode>,
  sourceOf: (frame: Frame) => string | undefined,
): string {
  if (node === undefined) return native;
  const { functionName, url } = node.callFrame;
  const source = sourceOf(node.callFrame) ?? (url || functionName);
  // What Node's small modules do (buffers, URLs, timers) belongs to who called them.
  return groups.find(([, pattern]) => pattern.test(source))?.[0] ?? groupOf(parents.get(node.id), parents, sourceOf);
}

/** Finds the source of a place in a bundle by the source map beside it. */
function sourceFinder() {
  const maps = new Map<string, SourceMap | undefined>();
  return ({ url, lineNumber, columnNumber }: Frame): string | undefined => {
    if (!url.startsWith("file:")) return undefined;
    const file = fileURLToPath(url);
    if (!maps.has(file)) {
      const isMapped = existsSync(`${file}.map`);
      maps.set(file, isMapped ? new SourceMap(JSON.parse(readFileSync(`${file}.map`, "utf8"))) : undefined);
    }
    const entry = maps.get(file)?.findEntry(lineNumber, columnNumber);
    return entry !== undefined && "originalSource" in entry ? join(dirname(file), entry.originalSource) : undefined;
  };
}

/**
 * Profiles ours and what it is compared with, side by side.
 * @returns A table of their self times by group. The profile of our last process is written to the current folder.
 */
export async function profile(
  race: Race,
  surroundings: Surroundings,
  progress: (text: string) => void,
): Promise<string> {
  const by = race.rows[0]?.by ?? "";
  const folderOf = (name: string) => join(surroundings.folder, `profile ${name}`);
  const entrants = Object.entries(race.entrants).filter(([name]) => name === "ours" || name === by);
  const profiled = entrants.map(([name, { program, task }]) => {
    const nodeOptions = ["--cpu-prof", "--cpu-prof-interval=100", `--cpu-prof-dir=${folderOf(name)}`];
    return [name, { program, task: () => ({ ...task(), nodeOptions }) }] as const;
  });
  const samples = await runRace({ ...race, entrants: Object.fromEntries(profiled) }, surroundings, {
    rounds,
    onRound: (round) => progress(`profile of ${race.name}: round ${round} of ${rounds}`),
  });
  const filesOf = (name: string) => readdirSync(folderOf(name)).map((file) => join(folderOf(name), file));
  const [ours = new Map(), other = new Map()] = ["ours", by].map((name) => {
    const times = selfTimes(filesOf(name).map((file) => JSON.parse(readFileSync(file, "utf8")) as Profile));
    // Profiles count the time on the clock, and all calls of a process that stays. What one call costs is CPU time.
    const cpuMs = spread((samples[name] ?? []).map((sample) => sample["cpuMs"] ?? Number.NaN)).median;
    const total = [...times.values()].reduce((sum, ms) => sum + ms, 0);
    return new Map([...times, ["all", total] as const].map(([group, ms]) => [group, (ms / total) * cpuMs]));
  });
  const file = `bench-${race.name}.cpuprofile`;
  cpSync(filesOf("ours").at(-1) ?? "", file);
  progress("");
  return `${differences(ours, other, by)}\nProfile of ours: ${file}\n`;
}

/** A line for each group, those first in which ours takes most more. */
function differences(ours: ReadonlyMap<string, number>, other: ReadonlyMap<string, number>, by: string): string {
  const line = (group: string, cells: readonly string[]) =>
    group.padEnd(32) + cells.map((cell) => cell.padStart(12)).join("");
  const lines = [...new Set([...ours.keys(), ...other.keys()])]
    .map((group) => ({ group, figures: [ours.get(group) ?? 0, other.get(group) ?? 0] as const }))
    .map(({ group, figures: [a, b] }) => ({ group, figures: [a, b, a - b] }))
    .sort(({ figures: [, , a = 0] }, { figures: [, , b = 0] }) => b - a)
    .map(({ group, figures }) =>
      line(
        group,
        figures.map((ms) => ms.toFixed(3)),
      ),
    );
  return [line("CPU of one call, ms", ["ours", by, "more"]), ...lines, ""].join("\n");
}
