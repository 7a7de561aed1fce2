import { isObject } from "../lib/feishu/json.ts";

type Dependencies = Readonly<Record<string, string>>;

/** An entry under `packages` of a lock file, as far as it is read here. */
interface Entry {
  readonly version?: string;
  readonly dependencies?: Dependencies;
  readonly optionalDependencies?: Dependencies;
  readonly peerDependencies?: Dependencies;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
  readonly [member: string]: unknown;
}

/** Entries by their place: `node_modules/ws`, or `node_modules/one/node_modules/ws` for another version of it. */
type Packages = Readonly<Record<string, Entry>>;

/** The part of a package.json that a lock repeats, and its scripts. */
export interface Manifest {
  readonly name: string;
  readonly version?: string;
  readonly license?: string;
  readonly dependencies: Dependencies;
  readonly devDependencies: Dependencies;
  readonly bin?: Dependencies;
  readonly engines?: Dependencies;
  readonly scripts?: Dependencies;
}

/**
 * A lock for a project whose packages are among those of another lock, in the same versions and places.
 * @param packages Those of the other lock, and those that are the project's alone.
 * @returns Its text as npm would write it, so that an upgrade changes the lines of the engine and no others.
 */
export function deriveLock(manifest: Manifest, packages: Packages): string {
  const { name, version, license, dependencies, devDependencies, bin, engines, scripts } = manifest;
  const production = reach(packages, dependencies, { withOptional: false });
  const development = reach(packages, devDependencies, { withOptional: false });
  const productionAll = reach(packages, dependencies, { withOptional: true });
  const all = reach(packages, { ...dependencies, ...devDependencies }, { withOptional: true });
  /** What npm's `--omit` goes by. */
  const flagsOf = (place: string) => {
    if (production.has(place)) return {};
    if (productionAll.has(place)) return development.has(place) ? { devOptional: true } : { optional: true };
    return development.has(place) ? { dev: true } : { dev: true, optional: true };
  };
  const entries = [...all].map((place) => {
    const { dev, optional, devOptional, ...entry } = packages[place] ?? {};
    return [place, { ...entry, ...flagsOf(place) }] as const;
  });
  const hasInstallScript = scripts?.["postinstall"] === undefined ? undefined : true;
  const root = { name, version, license, dependencies, devDependencies, bin, engines, hasInstallScript };
  const lock = {
    name,
    version,
    lockfileVersion: 3,
    requires: true,
    packages: { "": root, ...Object.fromEntries(entries) },
  };
  return `${JSON.stringify(lock, (_, value: unknown) => (isObject(value) ? inOrder(value) : value), 2)}\n`;
}

/** npm writes these first. */
const firstMembers = [
  "name",
  "version",
  "lockfileVersion",
  "resolved",
  "integrity",
  "requires",
  "packages",
  "dependencies",
];

/** The members in npm's order: objects after all others, and by name. */
function inOrder(members: Readonly<Record<string, unknown>>): object {
  const rank = (name: string) => (firstMembers.includes(name) ? firstMembers.indexOf(name) : firstMembers.length);
  const sorted = Object.entries(members).sort(
    ([one, a], [other, b]) =>
      Number(isObject(a)) - Number(isObject(b)) || rank(one) - rank(other) || one.localeCompare(other, "en"),
  );
  return Object.fromEntries(sorted);
}

/** Places of all packages that these need. */
function reach(packages: Packages, roots: Dependencies, { withOptional }: { withOptional: boolean }): Set<string> {
  const places = new Set<string>();
  const visit = (from: string, names: readonly string[]) => {
    for (const name of names) {
      const place = placeOf(packages, from, name);
      if (place === undefined || places.has(place)) continue;
      places.add(place);
      const { dependencies, optionalDependencies, peerDependencies = {}, peerDependenciesMeta } = packages[place] ?? {};
      const optionalPeers = Object.keys(peerDependencies).filter((peer) => peerDependenciesMeta?.[peer]?.optional);
      const optional = [...Object.keys(optionalDependencies ?? {}), ...optionalPeers];
      const needed = Object.keys({ ...dependencies, ...peerDependencies }).filter(
        (dependency) => !optional.includes(dependency),
      );
      visit(place, withOptional ? [...needed, ...optional] : needed);
    }
  };
  visit("", Object.keys(roots));
  return places;
}

/** Where Node finds a package from a place: in the nearest node_modules upwards that has it. */
function placeOf(packages: Packages, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    const place = `${folder === "" ? "" : `${folder}/`}node_modules/${name}`;
    if (packages[place] !== undefined) return place;
    if (folder === "") return undefined;
  }
}
