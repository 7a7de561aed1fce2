import { RetryLaterError } from "../../lib/errors.ts";

class Getters extends Error {
  override get message(): string {
    throw new Error("message");
  }
  override get stack(): string {
    throw new Error("stack");
  }
  get code(): string {
    throw new Error("code");
  }
}
class Delay extends RetryLaterError {
  constructor() {
    super("later", { delaySeconds: 5 });
    Object.defineProperty(this, "delaySeconds", {
      get() {
        throw new Error("delaySeconds");
      },
    });
  }
}
export const refuse = () => {
  throw new Error("trap");
};
const traps = Object.fromEntries(
  Object.getOwnPropertyNames(Reflect).map((name) => [name, refuse]),
) as ProxyHandler<object>;
const revoked = Proxy.revocable({}, {});
revoked.revoke();
export const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
/** What a handler may throw that is no plain error. */
export const odd: readonly unknown[] = [
  undefined,
  null,
  0,
  Number.NaN,
  "",
  "text\nof two lines",
  Symbol("symbol"),
  1n,
  false,
  [],
  cyclic,
  () => refuse(),
  Object.freeze({ code: "FROZEN" }),
  Object.create(null),
  Object.freeze(new Error("frozen")),
  new Getters(),
  new Delay(),
  new Proxy({}, traps),
  new Proxy(new RetryLaterError("later", { delaySeconds: 5 }), { get: refuse }),
  new Proxy(new Error("proxied"), { getPrototypeOf: refuse }),
  revoked.proxy,
  // biome-ignore lint/suspicious/noThenProperty: a thrown thenable must not be awaited.
  { then: refuse },
  new Error("x".repeat(1_000_000)),
  Object.assign(new Error("stack"), { stack: 5, name: {} }),
  new AggregateError([new Error("one")], "several"),
  new DOMException("aborted", "AbortError"),
  Object.assign(Object.create(Error.prototype), { toString: refuse }),
];

/** Takes over what the test runner does for a promise that nobody listens to; returns the way back. */
export function hearDropped(listener: (error: unknown) => void): () => void {
  const others = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection").on("unhandledRejection", listener);
  return () => {
    process.removeAllListeners("unhandledRejection");
    for (const other of others) process.on("unhandledRejection", other);
  };
}
