import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** V8's collector. Its flag is taken back, since Node's compile cache holds nothing for a process with another flag. */
export function garbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return collect;
}
