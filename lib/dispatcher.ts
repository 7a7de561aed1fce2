import { NonRetryableError } from "./errors.ts";
import type { CallbackContext, CallbackList, CallbackOptions, Context, EventList, KeyContext } from "./handler.ts";

/** A handler after its static type has done its work: payloads from outside are only known at run time. */
export interface LoadedHandler {
  /** The file's name: the event type, or `_default`. Part of the idempotency key. */
  readonly name: string;
  readonly handle: (event: unknown, context: Context) => unknown;
  readonly key?: ((event: unknown, context: KeyContext) => unknown) | undefined;
}

export interface LoadedCallback {
  readonly name: string;
  readonly handle: (callback: unknown, context: CallbackContext) => unknown;
  readonly once: "always" | "best-effort" | "never";
  readonly signedValues: boolean;
  /** The purposes that a signed value may have; `null` is a value without one. */
  readonly purposes: readonly (string | null)[];
  readonly deferred?: ((payload: unknown, context: Context) => unknown) | undefined;
}

/** Finds the handler of a type; `undefined` when there is none. Rejects when its file cannot be loaded. */
export type Dispatch = (type: string) => Promise<LoadedHandler> | undefined;
export type DispatchCallback = (type: string) => Promise<LoadedCallback> | undefined;

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

/** The same for callbacks; a file that was loaded is not asked for again, since somebody waits. */
export function callbackDispatcher(list: CallbackList): DispatchCallback {
  const loaders = new Map<string, () => Promise<{ default: unknown }>>(Object.entries(list));
  const ready = new Map<string, Promise<LoadedCallback>>();
  return (name) => {
    const load = loaders.get(name);
    const before = ready.get(name);
    if (load === undefined || before !== undefined) return before;
    const found = load().then((module) => loadedCallback(name, module.default));
    found.then(
      () => ready.set(name, found),
      () => {},
    );
    return found;
  };
}

/**
 * Finds what is to run for a job: the `deferred` of its callback's file. There is always one, if only one that
 * fails for good: somebody was promised that work, so without a file it is kept in the dead-letter queue.
 */
export function jobDispatcher(dispatch: DispatchCallback): Dispatch {
  return async (type) => {
    const name = `callbacks/${type}`;
    const deferred = (await dispatch(type))?.deferred;
    const missing = () => {
      throw new NonRetryableError(`Cannot run what was put off: functions/${name}.ts has no deferred`);
    };
    return { name, handle: deferred ?? missing };
  };
}

function loaded(name: string, exported: unknown): LoadedHandler {
  const { type, handle, key } = (exported ?? {}) as { type?: unknown; handle?: unknown; key?: unknown };
  if (type !== name || typeof handle !== "function") throw misfit("events", `onEvent("${name}", …)`, name);
  return { name, handle: handle as LoadedHandler["handle"], key: key as LoadedHandler["key"] };
}

function loadedCallback(name: string, exported: unknown): LoadedCallback {
  const { type, handle, once, signedValues, deferred } = (exported ?? {}) as {
    type?: unknown;
    handle?: unknown;
  } & CallbackOptions<"card.action.trigger">;
  if (type !== name || typeof handle !== "function") throw misfit("callbacks", `onCallback("${name}", …)`, name);
  return {
    name,
    handle: handle as LoadedCallback["handle"],
    once: once ?? (readsOnly.has(name) ? "never" : "always"),
    signedValues: Boolean(signedValues),
    purposes: typeof signedValues === "object" ? signedValues.purposes : [null],
    deferred: deferred as LoadedCallback["deferred"],
  };
}

/** Callbacks that ask and change nothing: to run one twice costs less than to remember it. */
const readsOnly: ReadonlySet<string> = new Set(["url.preview.get", "profile.view.get"]);

function misfit(folder: string, wanted: string, name: string): TypeError {
  return new TypeError(
    `Cannot load functions/${folder}/${name}.ts: its default export is not ${wanted}. Check the file's name and type`,
  );
}
