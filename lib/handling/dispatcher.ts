import { NonRetryableError } from "../errors.ts";
import type { CallbackContext, CallbackList, CallbackOptions, Context, EventList, KeyContext } from "../handler.ts";
import type { TicketEvent } from "../open-api/tickets.ts";

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
  readonly dedupe: "required" | "off";
  readonly signedValues: boolean;
  /** The purposes that a signed value may have; `null` is a value without one. */
  readonly purposes: readonly (string | null)[];
  readonly deferred?: ((payload: unknown, context: Context) => unknown) | undefined;
}

/** Where a handler is. Its file is user code, so whoever loads it decides under which guard. */
export interface HandlerFile {
  /** {@link LoadedHandler.name}. */
  readonly name: string;
  /** Rejects when the file cannot be loaded. */
  readonly load: () => Promise<LoadedHandler>;
}

/** Finds the handler of a type; `undefined` when there is none. */
export type Dispatch = (type: string) => HandlerFile | undefined;
/** The same for callbacks, whose files are loaded at once. */
export type DispatchCallback = (type: string) => Promise<LoadedCallback> | undefined;

type Load = () => Promise<{ default: unknown }>;

/** Turns the generated list into a lookup. A Map, since types come from outside and `constructor` is no handler. */
export function dispatcher(list: EventList): Dispatch {
  const files = loaders(list, loaded);
  return (type) => {
    // A type called "_default" is an event like any other, and takes the file of that name as all do.
    const name = files.has(type) ? type : "_default";
    const load = files.get(name);
    return load === undefined ? undefined : { name, load };
  };
}

export function callbackDispatcher(list: CallbackList): DispatchCallback {
  const files = loaders(list, loadedCallback);
  return (name) => files.get(name)?.();
}

/** Files by name. One that was loaded is kept; one that failed to load is asked for again. */
function loaders<T>(list: EventList | CallbackList, check: (name: string, exported: unknown) => T) {
  const files = Object.entries(list as Readonly<Record<string, Load>>).map(([name, load]) => {
    let kept: Promise<T> | undefined;
    const loadOnce = () => {
      kept ??= Promise.try(load)
        .then((module) => check(name, module.default))
        .catch((error: unknown) => {
          kept = undefined;
          throw error;
        });
      return kept;
    };
    return [name, loadOnce] as const;
  });
  return new Map(files);
}

/**
 * Finds what is to run for a job: the `deferred` of its callback's file. There is always one, if only one that
 * fails for good: somebody was promised that work, so without a file it is kept in the dead-letter queue.
 */
export function jobDispatcher(dispatch: DispatchCallback): Dispatch {
  return (type) => {
    const name = `callbacks/${type}`;
    const missing = () => {
      throw new NonRetryableError(`Cannot run what was put off: functions/${name}.ts has no deferred`);
    };
    return { name, load: async () => ({ name, handle: (await dispatch(type))?.deferred ?? missing }) };
  };
}

const ticketType = "app_ticket";

/**
 * Keeps the ticket that a marketplace's app gets as an event, before the user's own handler of it, if there is one:
 * as a handler, so that it has the same time, and is tried again.
 */
export function keepingTickets(dispatch: Dispatch, keep: (ticket: TicketEvent) => Promise<void>): Dispatch {
  return (type) => {
    const file = dispatch(type);
    if (type !== ticketType) return file;
    const load = async (): Promise<LoadedHandler> => {
      const own = await file?.load();
      return {
        ...own,
        name: ticketType,
        async handle(event, context) {
          await keep({ kind: "event", type, event: event as TicketEvent["event"], createdAtMs: context.createdAtMs });
          return own?.handle(event, context);
        },
      };
    };
    return { name: ticketType, load };
  };
}

function loaded(name: string, exported: unknown): LoadedHandler {
  const { type, handle, key } = (exported ?? {}) as { type?: unknown; handle?: unknown; key?: unknown };
  if (type !== name || typeof handle !== "function") throw misfit("events", `onEvent("${name}", …)`, name);
  return { name, handle: handle as LoadedHandler["handle"], key: key as LoadedHandler["key"] };
}

function loadedCallback(name: string, exported: unknown): LoadedCallback {
  const { type, handle, dedupe, signedValues, deferred } = (exported ?? {}) as {
    type?: unknown;
    handle?: unknown;
  } & CallbackOptions<"card.action.trigger">;
  if (type !== name || typeof handle !== "function") throw misfit("callbacks", `onCallback("${name}", …)`, name);
  return {
    name,
    handle: handle as LoadedCallback["handle"],
    dedupe: dedupe ?? (readsOnly.has(name) ? "off" : "required"),
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
