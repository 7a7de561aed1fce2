import { createHash } from "node:crypto";
import { globSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/**
 * The parts of `npm test` that judge files alone, and passed. Files are compared by their contents, and packages by the
 * list of what npm installed, so a part that passed would pass again.
 */
export function passedParts(root: string) {
  const kept = join(root, "node_modules/.cache/larkpost/passed.json");
  const hash = hashOf(root);
  const passed = readPassed(kept);
  return {
    has: (part: string) => passed[part] === hash,
    add(part: string): void {
      passed[part] = hash;
      mkdirSync(dirname(kept), { recursive: true });
      writeFileSync(kept, JSON.stringify(passed));
    },
  };
}

/** Of every file that the compiler, the linter and the formatter may read, with its path. */
function hashOf(root: string): string {
  const hash = createHash("sha256");
  const files = globSync(["*", "{docs,functions,infra,lib,package,test}/**", "node_modules/.package-lock.json"], {
    cwd: root,
  });
  for (const file of files.sort()) {
    const path = join(root, file);
    // A length before each, or the end of one file and the beginning of the next could be exchanged.
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === true)
      for (const part of [file, readFileSync(path)]) hash.update(`${part.length} `).update(part);
  }
  return hash.digest("hex");
}

function readPassed(file: string): Record<string, string> {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
  } catch {
    // No run has been before.
    return {};
  }
}
