import { ConfigError, NonRetryableError } from "../errors.ts";
import type { JobEnvelope } from "../feishu/envelope.ts";
import { fieldsOf } from "../feishu/json.ts";
import type {
  CallbackContext,
  CallbackList,
  CallbackOptions,
  Context,
  Death,
  EventList,
  GiveUpContext,
  HandlerOptions,
  KeyContext,
} from "../handler.ts";

/** What a handler's file has. Its payloads come from outside, so their types are unknown. */
interface LoadedFile {
  /** The file's name: the event type, or `_default`. Part of the idempotency key. */
  readonly name: string;
  readonly deferred?: ((payload: unknown, context: Context) => unknown) | undefined;
  /** Only a callback's file has one. */
  readonly deferredKey?: LoadedHandler["key"];
  readonly onGiveUp?: ((event: unknown, context: GiveUpContext, death: Death) => unknown) | undefined;
}

interface LoadedHandler extends LoadedFile {
  readonly handle: (event: unknown, context: Context) => unknown;
  readonly key?: ((event: unknown, context: KeyContext) => unknown) | undefined;
  /** `off`: without the ledger. */
  readonly dedupe?: "required" | "off" | undefined;
}

export interface LoadedCallback extends LoadedFile {
  readonly handle: (callback: unknown, context: CallbackContext) => unknown;
  readonly dedupe: "required" | "off";
  readonly signedValues: boolean;
  /** The purposes that a signed value may have; `null` is a value without a purpose. */
  readonly purposes: readonly (string | null)[];
}

/** A handler's file, not loaded yet: loading runs the user's code, so the caller decides when. */
export interface HandlerFile {
  readonly name: string;
  /** Rejects when the file cannot be loaded. */
  readonly load: () => Promise<LoadedHandler>;
}

/** Finds the handler of a type; `undefined` when there is none. */
export type Dispatch = (type: string) => HandlerFile | undefined;
/** Finds what runs deferred work. */
export type DispatchJob = (job: Pick<JobEnvelope, "of" | "type" | "depth">) => HandlerFile;
/** The same for callbacks. It starts loading the file. */
export type DispatchCallback = (type: string) => Promise<LoadedCallback> | undefined;

type Load = () => Promise<{ default: unknown }>;

/** The event type and the component's tag with which `larkpost smoke` tries a deployment. No handler file gets them. */
export const smokeType = "larkpost.smoke";

/** Whether a type is reserved for the smoke test: each lane has one. */
export function isSmokeType(type: string): boolean {
  return type === smokeType || type.startsWith(`${smokeType}.`);
}

/** What a click of {@link smokeType} is answered. */
export function smokeAnswer({ isSigned }: { readonly isSigned: boolean }) {
  return { toast: { type: "info", content: `${smokeType}${isSigned ? ", signed" : ""}` } };
}

const smokeFile: HandlerFile = { name: smokeType, load: async () => ({ name: smokeType, handle: () => {} }) };
const smokeCallback: LoadedCallback = {
  name: smokeType,
  handle: (_callback, context) => smokeAnswer(context),
  dedupe: "required",
  signedValues: false,
  purposes: [smokeType],
};

export function dispatcher(list: EventList): Dispatch {
  const files = loaders(list, toHandler);
  return (type) => {
    if (isSmokeType(type)) return smokeFile;
    const name = files.has(type) ? type : "_default";
    const load = files.get(name);
    return load === undefined ? undefined : { name, load };
  };
}

export function callbackDispatcher(list: CallbackList): DispatchCallback {
  const files = loaders(list, toCallback);
  return (name) => (name === smokeType ? Promise.resolve(smokeCallback) : files.get(name)?.());
}

/** Files by name; a Map, so that a type named `constructor` finds nothing. A file that failed to load is loaded again. */
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
 * Finds the `deferred` of a job's file, under a name that no event's handler has. Without one it returns a handler that
 * throws a NonRetryableError: the work was promised to a person, so it goes to the dead-letter queue.
 */
export function jobDispatcher(events: Dispatch, callbacks: DispatchCallback): DispatchJob {
  return ({ of, type, depth }) => {
    const file = of === "event" ? events(type) : undefined;
    const name = of === "event" ? `events/${file?.name ?? type}` : `callbacks/${type}`;
    const missing = () => {
      throw new NonRetryableError(`Cannot run the deferred work: functions/${name}.ts has no deferred`);
    };
    return {
      name,
      async load() {
        const loaded = await (of === "event" ? file?.load() : callbacks(type));
        const { deferred, deferredKey, onGiveUp } = loaded ?? {};
        // Further work of a chain would have the key of the work that defers it.
        return { name, deferred, onGiveUp, handle: deferred ?? missing, key: depth === 1 ? deferredKey : undefined };
      },
    };
  };
}

const ticketType = "app_ticket";

/**
 * Stores the ticket that a marketplace app receives as an event, and then runs the user's own handler of it. It is a
 * handler itself, so it gets the same deadline and retries.
 */
export function keepingTickets(
  dispatch: Dispatch,
  keep: (ticket: unknown, createdAtMs: number | null) => Promise<void>,
): Dispatch {
  return (type) => {
    const file = dispatch(type);
    if (type !== ticketType) return file;
    const load = async (): Promise<LoadedHandler> => {
      const handler = await file?.load();
      return {
        ...handler,
        name: ticketType,
        async handle(event, context) {
          await keep(fieldsOf(event)[ticketType], context.createdAtMs);
          return handler?.handle(event, context);
        },
      };
    };
    return { name: ticketType, load };
  };
}

function toHandler(name: string, exported: unknown): LoadedHandler {
  const { type, handle, key, dedupe, deferred, onGiveUp } = (exported ?? {}) as {
    type?: unknown;
    handle?: unknown;
  } & HandlerOptions<unknown>;
  if (type !== name || typeof handle !== "function") throw wrongExport("events", `onEvent("${name}", …)`, name);
  return {
    name,
    handle: handle as LoadedHandler["handle"],
    key,
    dedupe,
    deferred: deferred as LoadedHandler["deferred"],
    onGiveUp,
  };
}

function toCallback(name: string, exported: unknown): LoadedCallback {
  const { type, handle, dedupe, signedValues, deferred, deferredKey, onGiveUp } = (exported ?? {}) as {
    type?: unknown;
    handle?: unknown;
  } & CallbackOptions<"card.action.trigger">;
  if (type !== name || typeof handle !== "function") throw wrongExport("callbacks", `onCallback("${name}", …)`, name);
  return {
    name,
    handle: handle as LoadedCallback["handle"],
    dedupe: dedupe ?? (readsOnly.has(name) ? "off" : "required"),
    signedValues: Boolean(signedValues),
    purposes: typeof signedValues === "object" ? signedValues.purposes : [null],
    deferred: deferred as LoadedCallback["deferred"],
    deferredKey,
    onGiveUp: onGiveUp as LoadedCallback["onGiveUp"],
  };
}

/** Callbacks that change nothing. To run one twice costs less than to store its answer. */
const readsOnly: ReadonlySet<string> = new Set(["url.preview.get", "profile.view.get"]);

function wrongExport(folder: string, wanted: string, name: string): ConfigError {
  return new ConfigError(
    `Cannot load functions/${folder}/${name}.ts: its default export is not ${wanted}. Check the file's name and type`,
  );
}
