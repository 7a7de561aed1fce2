import type { LookupAddress } from "node:dns";
import { lookup } from "node:dns/promises";
import { Agent, type RequestOptions, request } from "node:https";
import { BlockList, isIP } from "node:net";
import { PermanentError } from "./api-errors.ts";
import { DeadlineError, NonRetryableError } from "./errors.ts";

/** A URL that must not be fetched, or that led to one: whoever wrote it wants something of a network it cannot reach. */
export class UnsafeUrlError extends PermanentError {
  override readonly name = "UnsafeUrlError";
  override readonly code = "UNSAFE_URL";
}

export interface PublicFetchOptions {
  /** The run's, from the context. */
  readonly signal?: AbortSignal;
  /** For everything, redirects included; 10 s unless set. */
  readonly withinMs?: number;
  /** 5 MiB unless set. */
  readonly maxBytes?: number;
  /** Ports that a URL may name; 443 alone unless set. */
  readonly ports?: readonly number[];
  /** Sent on every hop, so never a secret: `authorization`, `cookie` and their like are left out. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface PublicAnswer {
  /** After redirects. */
  readonly url: string;
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** As it came: no encoding is asked for. */
  readonly body: Buffer;
}

/** What tests stand in for: who answers for names, which authorities are trusted, and where an address really leads. */
export interface Network {
  readonly resolve: (hostname: string) => Promise<readonly LookupAddress[]>;
  readonly connect?: Pick<RequestOptions, "ca"> & {
    readonly to: (address: LookupAddress, port: number) => { address: string; port: number };
  };
}

/**
 * Fetches (GET) a URL that came from outside: in an event, in a message. Only https, only public addresses: a name is
 * resolved once, all that it resolves to is checked, and the connection goes to the very address that was checked; each
 * of at most three redirects starts again. No credential goes out, neither the URL's nor a header's.
 *
 * @throws {UnsafeUrlError} Not https, another port, or not public; {@link NonRetryableError} over `maxBytes`, or too many redirects;
 * {@link DeadlineError} over `withinMs`. What the server answers, 404 for one, is an answer.
 */
export const fetchPublic = publicFetch({ resolve: (hostname) => lookup(hostname, { all: true }) });

const defaultWithinMs = 10_000;
const defaultMaxBytes = 5 * 1024 * 1024;
const redirectLimit = 3;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const credentials = /^(authorization|proxy-authorization|cookie|host|.*(token|secret|api-?key).*)$/i;

export function publicFetch(network: Network) {
  return async (url: string | URL, options: PublicFetchOptions = {}): Promise<PublicAnswer> => {
    const { withinMs = defaultWithinMs, maxBytes = defaultMaxBytes, ports = [443] } = options;
    const headers = {
      ...Object.fromEntries(Object.entries(options.headers ?? {}).filter(([name]) => !credentials.test(name))),
      "accept-encoding": "identity",
    };
    const late = AbortSignal.timeout(withinMs);
    const signal = options.signal === undefined ? late : AbortSignal.any([late, options.signal]);
    try {
      let next = checkUrl(url, undefined, ports);
      for (let hop = 0; hop <= redirectLimit; hop++) {
        const address = await unlessAborted(signal, addressOf(next, network));
        const answer = await get(next, address, { network, headers, maxBytes, signal });
        const location = answer.headers.get("location");
        if (!redirects.has(answer.status) || location === undefined) return answer;
        next = checkUrl(location, next, ports);
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      if (late.aborted) throw new DeadlineError(`Cannot fetch the URL within ${withinMs} ms`, { cause: error });
      throw error;
    }
    throw new NonRetryableError(`Cannot fetch the URL: it redirects more than ${redirectLimit} times`);
  };
}

function checkUrl(text: string | URL, base: URL | undefined, ports: readonly number[]): URL {
  if (!URL.canParse(String(text), base?.href)) throw new UnsafeUrlError("Cannot fetch the URL: it is none");
  const url = new URL(text, base);
  if (url.protocol !== "https:") throw new UnsafeUrlError(`Cannot fetch the URL: it is ${url.protocol}, not https:`);
  if (!ports.includes(portOf(url))) throw new UnsafeUrlError(`Cannot fetch the URL: port ${url.port} is not allowed`);
  url.username = "";
  url.password = "";
  return url;
}

function portOf(url: URL): number {
  return url.port === "" ? 443 : Number(url.port);
}

/** The one address that will be connected to. All are checked: a name that leads inside as well is not to be trusted. */
async function addressOf(url: URL, { resolve }: Network): Promise<LookupAddress> {
  // A URL has put every spelling of an IPv4 address (0x7f.1, 2130706433) into its usual one.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const family = isIP(hostname);
  const addresses = family === 0 ? await resolve(hostname) : [{ address: hostname, family }];
  for (const { address } of addresses) {
    if (!isPublic(address)) throw new UnsafeUrlError(`Cannot fetch the URL: ${address} is not a public address`);
  }
  const [first] = addresses;
  if (first === undefined) throw new Error("Cannot fetch the URL: its host has no address");
  return first;
}

function get(
  url: URL,
  address: LookupAddress,
  {
    network: { connect },
    headers,
    maxBytes,
    signal,
  }: { network: Network; headers: Record<string, string>; maxBytes: number; signal: AbortSignal },
): Promise<PublicAnswer> {
  const target = connect?.to(address, portOf(url)) ?? { address: address.address, port: portOf(url) };
  const { promise, resolve, reject } = Promise.withResolvers<PublicAnswer>();
  const outgoing = request(
    {
      host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: target.port,
      path: url.pathname + url.search,
      headers: { ...headers, host: url.host },
      signal,
      ...(connect?.ca === undefined ? undefined : { ca: connect.ca }),
      // Of its own: no connection that was made for another check, and no proxy of the environment's.
      agent: new Agent({ keepAlive: false }),
      // Whatever the name leads to by now, this is what was checked.
      lookup: (_hostname, { all }, tell) => {
        const family = isIP(target.address);
        if (all === true)
          (tell as unknown as (error: null, list: LookupAddress[]) => void)(null, [
            { address: target.address, family },
          ]);
        else tell(null, target.address, family);
      },
    },
    (incoming) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      incoming.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > maxBytes) incoming.destroy(new NonRetryableError(`Cannot fetch the URL: over ${maxBytes} bytes`));
      });
      incoming.on("error", reject);
      incoming.on("end", () => {
        const { statusCode: status = 0, headers } = incoming;
        const named = Object.entries(headers).map(([name, value]) => [name, String(value)] as const);
        resolve({ url: url.href, status, headers: new Map(named), body: Buffer.concat(chunks) });
      });
    },
  );
  outgoing.on("error", reject);
  outgoing.end();
  return promise;
}

function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", stop));
}

/** https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry */
const inside = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  // Azure's own, beside its metadata.
  ["168.63.129.16", 32],
] as const) {
  inside.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  // An IPv4 address in disguise.
  ["2002::", 16],
  ["3fff::", 20],
] as const) {
  inside.addSubnet(network, prefix, "ipv6");
}
/** All that is routed; loopback, mapped and translated IPv4, unique local, link-local and multicast lie outside of it. */
const unicast = new BlockList();
unicast.addSubnet("2000::", 3, "ipv6");

/** Whether an address, in its numeric form, is one that anybody could reach. */
export function isPublic(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !inside.check(address, "ipv4");
  // A zone (`fe80::1%eth0`) belongs to one link.
  return family === 6 && !address.includes("%") && unicast.check(address, "ipv6") && !inside.check(address, "ipv6");
}
