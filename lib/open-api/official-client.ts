import type { Agent } from "node:http";
import { Readable } from "node:stream";
import {
  AppType,
  Client,
  defaultHttpInstance,
  LoggerLevel,
  messageCard,
  withTenantKey,
  withUserAccessToken,
} from "@larksuiteoapi/node-sdk";
import { fieldsOf, parseJson } from "../feishu/json.ts";
import type { LarkClient } from "../handler.ts";
import { bytesOf, headerMap, networkCode } from "../https.ts";
import { type Exchange, refusalBytes, type Transport, unreadableError } from "./transport.ts";

// The official client over our transport. It is large, so this file is loaded when a handler first asks for it.

type HttpInstance = NonNullable<ConstructorParameters<typeof Client>[0]["httpInstance"]>;
type HttpOptions = Parameters<HttpInstance["request"]>[0];

/** Stands for a token, with the tenant behind it. The transport sets the real token for each attempt. */
const placeholder = "t-larkpost:";
/** The client's cache key of a marketplace app's token, with the tenant. */
const tenantCacheKey = "larkMarketAccessToken";
const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };

/** The official client for one run of a handler, with its helpers for cards and tokens. */
export function larkClient(options: {
  appId: string;
  origin: string;
  isMarketplace: boolean;
  send: Transport;
  agent: Agent;
}): LarkClient {
  const client = new Client({
    appId: options.appId,
    // Never sent: the transport gets the tokens.
    appSecret: "unused",
    appType: options.isMarketplace ? AppType.ISV : AppType.SelfBuild,
    domain: options.origin,
    cache: {
      get: async (key) => placeholder + (String(key).split(tenantCacheKey)[1] ?? ""),
      set: async () => true,
    },
    httpInstance: httpInstance(options.send, options.agent),
    // Its log lines hold tokens and payloads.
    logger: silent,
    loggerLevel: LoggerLevel.fatal,
  });
  return Object.assign(client, { messageCard, withTenantKey, withUserAccessToken });
}

/** Sends the client's requests by the transport. Each exchange stays with the client's library, which handles forms and streams. */
function httpInstance(send: Transport, agent: Agent): HttpInstance {
  const request = async (options: HttpOptions): Promise<unknown> => {
    const { data, params, $return_headers } = options;
    const { Authorization: authorization, ...headers } = (options.headers ?? {}) as Record<string, string | undefined>;
    const isPlaceholder = authorization?.startsWith(`Bearer ${placeholder}`) === true;
    const method = (options.method ?? "GET").toUpperCase();
    const fields = fieldsOf(data);
    const answer = await send(
      {
        method,
        url: new URL(options.url ?? ""),
        authorization: isPlaceholder ? undefined : authorization,
        tenant: (isPlaceholder && authorization?.slice(`Bearer ${placeholder}`.length)) || undefined,
        content: { query: params, body: fields },
        body: bodyKind(data, headers),
      },
      libraryExchange({ ...options, method, headers }, fields, agent),
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
    get: by("GET"),
    delete: by("DELETE"),
    head: by("HEAD"),
    options: by("OPTIONS"),
    post: withBody("POST"),
    put: withBody("PUT"),
    patch: withBody("PATCH"),
  } as HttpInstance;
}

/** Exchanges by the client's own library. */
function libraryExchange(options: HttpOptions, fields: Readonly<Record<string, unknown>>, agent: Agent): Exchange {
  const { data, params = {}, headers = {} } = options;
  return async ({ url, authorization, uuid, signal }) => {
    try {
      const instance = defaultHttpInstance as HttpInstance;
      const sent = {
        ...options,
        url: url.href,
        signal,
        $return_headers: true,
        headers: authorization === undefined ? headers : { ...headers, Authorization: authorization },
        data: uuid?.in === "body" ? { ...fields, uuid: uuid.value } : data,
        params: uuid?.in === "query" ? { ...params, uuid: uuid.value } : params,
        // A followed redirect would take the token elsewhere. The agent knows the proxy.
        maxRedirects: 0,
        proxy: false,
        httpAgent: agent,
        httpsAgent: agent,
        baseURL: undefined,
        validateStatus: (status: number) => status < 300,
      };
      const answer = await instance.request<unknown, { data: unknown; headers: object }>(sent);
      const isText = options.responseType === undefined && typeof answer.data === "string" && answer.data !== "";
      if (isText) throw unreadableError();
      return { status: 200, headers: headerMap(answer.headers), body: answer.data };
    } catch (error) {
      const { response } = fieldsOf(error) as { response?: { status: number; headers: object; data: unknown } };
      // The library's error holds the request with its token, and must not be logged.
      if (response === undefined) throw Object.assign(new Error("no answer"), { code: networkCode(error) });
      return { status: response.status, headers: headerMap(response.headers), body: await refusal(response.data) };
    }
  };
}

function bodyKind(data: unknown, headers: Readonly<Record<string, unknown>>): "form" | "stream" | undefined {
  const fields = fieldsOf(data);
  if ([fields, ...Object.values(fields)].some(isStream)) return "stream";
  const isForm = Object.entries(headers).some(
    ([name, value]) => name.toLowerCase() === "content-type" && String(value).startsWith("multipart/"),
  );
  return isForm ? "form" : undefined;
}

function isStream(value: unknown): boolean {
  return typeof fieldsOf(value)["pipe"] === "function";
}

/** The JSON of a refusal. Where a file was asked for, it comes as a stream. */
async function refusal(data: unknown): Promise<unknown> {
  if (!isStream(data) && !Buffer.isBuffer(data)) return data;
  const chunks = Buffer.isBuffer(data) ? Readable.from([data]) : (data as AsyncIterable<Buffer>);
  return parseJson(await bytesOf(chunks, refusalBytes).then(String, () => ""));
}
