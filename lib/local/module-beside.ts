import { extname, join } from "node:path";

/** Path of a module beside the one whose `import.meta` it is: `.ts` in this repository, `.js` in the package. */
export function moduleBeside({ dirname, filename }: ImportMeta, name: string): string {
  return join(dirname, `${name}${extname(filename)}`);
}
