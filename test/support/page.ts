import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends a request with these headers and no others: `fetch` sets `Host` and `Sec-Fetch-Mode` itself. */
export async function ask(url: string, { method = "POST", headers = {}, body = "" }: Asked = {}) {
  const asking = request(url, { method, headers: { ...headers, connection: "close" } });
  asking.end(body);
  const [answer] = await once(asking, "response");
  let text = "";
  for await (const chunk of answer.setEncoding("utf8")) text += chunk;
  return { status: Number(answer.statusCode), headers: answer.headers as IncomingHttpHeaders, body: text };
}

/** What a browser adds to the requests of a page that is not ours, and to all after DNS rebinding. */
export const pages: readonly { readonly from: string; readonly headers: Readonly<Record<string, string>> }[] = [
  { from: "a page's form", headers: { origin: "https://page.example", "sec-fetch-site": "cross-site" } },
  { from: "a page's form in an old browser", headers: { origin: "https://page.example" } },
  { from: "a page without an origin", headers: { origin: "null" } },
  { from: "a page's image", headers: { "sec-fetch-site": "cross-site", "sec-fetch-dest": "image" } },
  { from: "a page whose name was rebound", headers: { host: "page.example" } },
  { from: "a page whose name was rebound to this port", headers: { host: "127.0.0.1.page.example:3000" } },
  { from: "a page on another port of this machine", headers: { host: "127.0.0.1:1" } },
];

/** A refusal is the same for every reason, and lets no page read it. */
export function assertRefused({ status, headers, body }: Awaited<ReturnType<typeof ask>>, why: string): void {
  assert.deepEqual([status, JSON.parse(body).error], [403, "forbidden"], why);
  const cors = Object.keys(headers).filter((name) => name.startsWith("access-control-"));
  assert.deepEqual(cors, [], why);
}
