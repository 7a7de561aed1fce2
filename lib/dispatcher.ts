import type { Context, EventList, KeyContext } from "./handler.ts";

/** A handler after its static type has done its work: payloads from outside are only known at run time. */
export interface LoadedHandler {
  /** The file's name: the event type, or `_default`. Part of the idempotency key. */
  readonly name: string;
  readonly handle: (event: unknown, context: Context) => unknown;
  readonly key?: ((event: unknown, context: KeyContext) => unknown) | undefined;
}

/** Finds the handler of a type; `undefined` when there is none. Rejects when its file cannot be loaded. */
export type Dispatch = (type: string) => Promise<LoadedHandler> | undefined;

/** Turns the generated list into a lookup. A Map, since types come from outside and `constructor` is no handler. */
export function dispatcher(list: EventList): Dispatch {
  const loaders = new Map<string, () => Promise<{ default: unknown }>>(Object.entries(list));
  return (type) => {
    // A type called "_default" is an event like any other, and takes the file of that name as all do.
    const name = loaders.has(type) ? type : "_default";
    const load = loaders.get(name);
    return load === undefined ? undefined : load().then((module) => loaded(name, module.default));
  };
}

function loaded(name: string, exported: unknown): LoadedHandler {
  const { type, handle, key } = (exported ?? {}) as { type?: unknown; handle?: unknown; key?: unknown };
  if (type !== name || typeof handle !== "function") {
    throw new TypeError(
      `Cannot load functions/events/${name}.ts: its default export is not onEvent("${name}", …). Check the file's name and type`,
    );
  }
  return { name, handle: handle as LoadedHandler["handle"], key: key as LoadedHandler["key"] };
}
