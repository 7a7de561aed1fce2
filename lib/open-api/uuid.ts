import { createHash } from "node:crypto";

/** The platform sends a message once per `uuid` within an hour. A forward takes it in its query, the others in their body. */
export interface Uuid {
  readonly value: string;
  readonly in: "body" | "query";
}

export interface Sending {
  readonly method: string;
  /** Must be on the API's origin. */
  readonly url: URL;
  /** What it sends in addition to its URL. */
  readonly content?: {
    readonly query?: Readonly<Record<string, unknown>> | undefined;
    readonly body?: Readonly<Record<string, unknown>> | undefined;
  };
}

const uuidLength = 50;

/** The calls that send a message. */
const places: readonly (readonly [RegExp, Uuid["in"]])[] = [
  [/^\/open-apis\/im\/v1\/messages$/, "body"],
  [/^\/open-apis\/im\/v1\/messages\/[^/]+\/reply$/, "body"],
  [/^\/open-apis\/im\/v1\/messages\/(?:[^/]+\/forward|merge_forward)$/, "query"],
  [/^\/open-apis\/im\/v1\/threads\/[^/]+\/forward$/, "query"],
];

/** Where a call takes its uuid; `undefined` when it takes none. */
export function uuidPlace({ method, url }: Sending): Uuid["in"] | undefined {
  return method === "POST" ? places.find(([path]) => path.test(url.pathname))?.[1] : undefined;
}

/**
 * Makes the uuids of one run; `undefined` for a call that takes none or has its own. A uuid counts the messages to one
 * receiver instead of hashing their text: a handler that runs again may word the same message in another way.
 */
export function uuidMaker(key: string): (sending: Sending) => Uuid | undefined {
  const counts = new Map<string, number>();
  return (sending) => {
    const { url, content } = sending;
    const place = uuidPlace(sending);
    if (place === undefined || hasUuid(sending, place)) return undefined;
    const receiver = JSON.stringify([key, url.pathname, content?.body?.["receive_id"] ?? null]);
    const nth = (counts.get(receiver) ?? 0) + 1;
    counts.set(receiver, nth);
    const value = createHash("sha256").update(`${nth} ${receiver}`).digest("hex").slice(0, uuidLength);
    return { in: place, value };
  };
}

function hasUuid({ url, content }: Sending, place: Uuid["in"]): boolean {
  const uuid = content?.[place]?.["uuid"] ?? (place === "query" ? url.searchParams.get("uuid") : undefined);
  return typeof uuid === "string" && uuid !== "";
}
