import {
  AppType,
  Client,
  defaultHttpInstance,
  LoggerLevel,
  messageCard,
  withTenantKey,
  withUserAccessToken,
} from "@larksuiteoapi/node-sdk";
import type { LarkClient } from "../handler.ts";
import { type Call, networkCode, type Send } from "./transport.ts";

// The official client, with our transport under it. It is large: this file is loaded when a handler first asks for it.

type HttpInstance = NonNullable<ConstructorParameters<typeof Client>[0]["httpInstance"]>;
type HttpOptions = Parameters<HttpInstance["request"]>[0];

/** Stands where the client wants a token, its tenant behind it; the transport puts the real one in for each attempt. */
const placeholder = "t-larkpost:";
/** Under which the client keeps a tenant's token of a marketplace's app. */
const tenantCacheKey = /^larkMarketAccessToken(.+)$/s;
const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
/** An answer that refuses is read up to here, for its code. */
const refusalBytes = 64 * 1024;

/** The official client for one run of a handler, with what builds cards and picks tokens. */
export function larkClient(options: { appId: string; origin: string; isMarketplace: boolean; call: Call }): LarkClient {
  const client = new Client({
    appId: options.appId,
    // Never sent: tokens are not its business.
    appSecret: "unused",
    appType: options.isMarketplace ? AppType.ISV : AppType.SelfBuild,
    domain: options.origin,
    cache: {
      get: async (key) => placeholder + (tenantCacheKey.exec(String(key))?.[1] ?? ""),
      set: async () => true,
    },
    httpInstance: httpInstance(options.call),
    // Its log lines hold tokens and payloads.
    logger: silent,
    loggerLevel: LoggerLevel.fatal,
  });
  return Object.assign(client, { messageCard, withTenantKey, withUserAccessToken });
}

/** What the client sends by; the exchange itself is its own library's, which knows forms and streams. */
function httpInstance(call: Call): HttpInstance {
  const request = async (options: HttpOptions): Promise<unknown> => {
    const { data, params, $return_headers } = options;
    const { Authorization: given, ...headers } = (options.headers ?? {}) as Record<string, string | undefined>;
    const isOurs = given === undefined || given.startsWith(`Bearer ${placeholder}`);
    const method = (options.method ?? "GET").toUpperCase();
    const fields = Object(data) as Record<string, unknown>;

    const send: Send = async ({ url, authorization, uuid, signal }) => {
      const sent = {
        ...options,
        ...{ method, url: url.href, signal, $return_headers: true },
        headers: { ...headers, ...(authorization === undefined ? undefined : { Authorization: authorization }) },
        ...(uuid?.in === "body" ? { data: { ...fields, uuid: uuid.value } } : undefined),
        ...(uuid?.in === "query" ? { params: { ...params, uuid: uuid.value } } : undefined),
        // Followed, a redirect would take the token elsewhere; a proxy of the environment is not asked by `fetch` either.
        ...{ maxRedirects: 0, proxy: false, baseURL: undefined },
        validateStatus: (status: number) => status >= 200 && status < 300,
      };
      try {
        const instance = defaultHttpInstance as HttpInstance;
        const answer = await instance.request<unknown, { data: unknown; headers: object }>(sent);
        const isText = options.responseType === undefined && typeof answer.data === "string" && answer.data !== "";
        if (isText) throw Object.assign(new Error("The answer is not the platform's"), { code: "UNREADABLE" });
        return { status: 200, headers: headerMap(answer.headers), body: answer.data };
      } catch (error) {
        const { response } = Object(error) as { response?: { status: number; headers: object; data: unknown } };
        // Its error holds the request, and with it the token: whoever prints it would print that.
        if (response === undefined) throw Object.assign(new Error("no answer"), { code: networkCode(error) });
        return { status: response.status, headers: headerMap(response.headers), body: await refusal(response.data) };
      }
    };

    const answer = await call(
      {
        ...{ method, url: new URL(options.url ?? "") },
        authorization: isOurs ? undefined : given,
        tenant: (isOurs && given?.slice(`Bearer ${placeholder}`.length)) || undefined,
        content: { query: params, body: fields },
        body: bodyKind(data, headers),
      },
      send,
    );
    return $return_headers === true ? { data: answer.body, headers: Object.fromEntries(answer.headers) } : answer.body;
  };
  const by =
    (method: string) =>
    (url: string, options: HttpOptions = {}) =>
      request({ ...options, method, url });
  const withBody =
    (method: string) =>
    (url: string, data?: unknown, options: HttpOptions = {}) =>
      request({ ...options, method, url, data });
  return {
    request,
    ...{ get: by("GET"), delete: by("DELETE"), head: by("HEAD"), options: by("OPTIONS") },
    ...{ post: withBody("POST"), put: withBody("PUT"), patch: withBody("PATCH") },
  } as HttpInstance;
}

function bodyKind(data: unknown, headers: Readonly<Record<string, unknown>>): "form" | "stream" | undefined {
  const fields = Object(data) as Record<string, unknown>;
  if ([fields, ...Object.values(fields)].some(isStream)) return "stream";
  const isForm = Object.entries(headers).some(
    ([name, value]) => name.toLowerCase() === "content-type" && String(value).startsWith("multipart/"),
  );
  return isForm ? "form" : undefined;
}

function isStream(value: unknown): boolean {
  return typeof (Object(value) as { pipe?: unknown }).pipe === "function";
}

/** What a refusal says: where a file was asked for it comes as the file would, a stream. */
async function refusal(data: unknown): Promise<unknown> {
  if (!isStream(data) && !Buffer.isBuffer(data)) return data;
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of Buffer.isBuffer(data) ? [data] : (data as AsyncIterable<Buffer>)) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > refusalBytes) return undefined;
    }
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch {
    return undefined;
  }
}

function headerMap(headers: object): ReadonlyMap<string, string> {
  return new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]));
}
