import assert from "node:assert/strict";
import { isUtf8 } from "node:buffer";
import { answerGateway, type HttpResponse } from "../../lib/aws/gateway.ts";
import type { Clock } from "../../lib/clock.ts";
import type { EventEnvelope, SealedRequest, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import type { KeyRing } from "../../lib/feishu/keys.ts";
import { type ReceiverPorts, receive } from "../../lib/receiving/receiver.ts";
import { type TestClock, testClock } from "./clock.ts";
import { ring, startMs } from "./push.ts";

/** What differs between two requests that carry the same bytes. */
export interface HttpOptions {
  method?: string;
  path?: string;
  base64?: boolean;
  query?: string;
  sourceIp?: string;
}

/** A request as one of AWS's front doors hands it to a function. */
export type ToEvent = (
  request: Pick<SealedRequest, "headers" | "rawBody">,
  options?: HttpOptions,
) => Record<string, unknown>;

/** HTTP API, payload format 2.0: names in lower case, a header given twice joined by a comma. */
export const httpApi: ToEvent = (request, options = {}) => {
  const { method = "POST", path = "/webhook", query = "", sourceIp = "203.0.113.7" } = options;
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: query,
    headers: Object.fromEntries([...request.headers].map(([name, value]) => [name.toLowerCase(), value])),
    requestContext: {
      stage: "$default",
      http: { method, path, protocol: "HTTP/1.1", sourceIp, userAgent: "Go-http-client/1.1" },
    },
    ...bodyOf(request, options),
  };
};

/**
 * The stack's HTTP API behind a domain with a base path: a route has matched by its name, and the base path is in `rawPath`.
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export const behindDomain: ToEvent = (request, options = {}) => {
  const { path = "/webhook" } = options;
  const rawPath = `/feishu/v1${path}`;
  const routeKey = `ANY ${path}`;
  const event = httpApi(request, { ...options, path: rawPath });
  const forwarded = { host: "bot.example.com", "x-forwarded-for": "203.0.113.7", "x-forwarded-port": "443" };
  return {
    ...event,
    routeKey,
    headers: { ...(event["headers"] as object), ...forwarded, "x-forwarded-proto": "https" },
    requestContext: {
      ...(event["requestContext"] as object),
      ...{ accountId: "111122223333", apiId: "a1b2c3d4e5", domainName: "bot.example.com", domainPrefix: "bot" },
      ...{ requestId: "JKJaXmPLvHcESHA=", routeKey, time: "10/Mar/2026:05:16:23 +0000", timeEpoch: 1_773_119_783_000 },
    },
  };
};

/** Function URL: payload format 2.0 under another domain. */
export const functionUrl: ToEvent = (request, options = {}) => {
  const event = httpApi(request, { path: "/", ...options });
  return {
    ...event,
    requestContext: { ...(event["requestContext"] as object), domainName: "abc.lambda-url.eu-west-1.on.aws" },
  };
};

/** REST API, payload format 1.0: names as they were sent, each also with the list of its values. */
export const restApi: ToEvent = (request, options = {}) => {
  const { method = "POST", path = "/webhook", sourceIp = "203.0.113.7" } = options;
  return {
    resource: "/{proxy+}",
    path,
    httpMethod: method,
    headers: Object.fromEntries(request.headers),
    multiValueHeaders: Object.fromEntries([...request.headers].map(([name, value]) => [name, [value]])),
    queryStringParameters: null,
    requestContext: { stage: "prod", path: `/prod${path}`, httpMethod: method, identity: { sourceIp } },
    ...bodyOf(request, options),
  };
};

/** Application Load Balancer, its target group with multi-value headers. */
export const loadBalancer: ToEvent = (request, options = {}) => {
  const { method = "POST", path = "/webhook" } = options;
  return {
    requestContext: { elb: { targetGroupArn: "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/x/1" } },
    httpMethod: method,
    path,
    multiValueQueryStringParameters: {},
    multiValueHeaders: Object.fromEntries([...request.headers].map(([name, value]) => [name, [value]])),
    ...bodyOf(request, options),
  };
};

export const shapes: readonly { readonly name: string; readonly toEvent: ToEvent }[] = [
  { name: "an HTTP API", toEvent: httpApi },
  { name: "a REST API", toEvent: restApi },
  { name: "a function URL", toEvent: functionUrl },
  { name: "a load balancer", toEvent: loadBalancer },
];

function bodyOf({ rawBody }: Pick<SealedRequest, "rawBody">, { base64 = false }: HttpOptions) {
  const bytes = Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength);
  return base64 || !isUtf8(bytes)
    ? { body: bytes.toString("base64"), isBase64Encoded: true }
    : { body: bytes.toString("utf8"), isBase64Encoded: false };
}

/** The one answer to everything that is not provably from the platform. */
export const refusal: HttpResponse = {
  statusCode: 401,
  headers: { "content-type": "application/json; charset=utf-8", "x-content-type-options": "nosniff" },
  body: '{"error":"unauthorized"}',
  isBase64Encoded: false,
};

/** The webhook without AWS: the real receiver behind the real HTTP door, its two queues kept as lists. */
export function startWebhook(
  options: { keys?: KeyRing | (() => KeyRing); clock?: TestClock; ports?: Partial<ReceiverPorts> } = {},
) {
  const { clock = testClock(startMs), keys = ring() } = options;
  const queued: EventEnvelope[] = [];
  const quarantined: UnreadableEnvelope[] = [];
  const ports: ReceiverPorts = {
    send: async (envelope) => void queued.push(envelope),
    quarantine: async (envelope) => void quarantined.push(envelope),
    ...options.ports,
  };
  const post = async (event: unknown): Promise<HttpResponse> => {
    const response = await answerGateway(event, {
      clock: clock satisfies Clock,
      keys: () => (typeof keys === "function" ? keys() : keys),
      receive: (envelope, context) => receive(envelope, ports, context),
    });
    // On whichever path the answer came about, nothing of it may be left running (R8).
    assert.equal(clock.pending, 0, "a timer outlived the answer");
    assert.ok(Number.isInteger(response.statusCode), "the answer has no status");
    return response;
  };
  const deliver = (request: SealedRequest, http?: HttpOptions) => post(httpApi(request, http));
  return {
    clock,
    queued,
    quarantined,
    /** Posts an event of any shape, or of none. */
    post,
    /** Posts a request through an HTTP API. */
    deliver,
    /** Posts, and holds the answer against the contract for what is not authentic: one fixed answer, nothing stored. */
    async refuses(request: SealedRequest | Record<string, unknown>, http?: HttpOptions): Promise<void> {
      const before = queued.length + quarantined.length;
      const isSealed = (value: object): value is SealedRequest => "rawBody" in value;
      const response = await (isSealed(request) ? deliver(request, http) : post(request));
      const { multiValueHeaders: _, ...common } = response;
      assert.deepEqual(common, refusal);
      assert.equal(queued.length + quarantined.length - before, 0, "a refused request was stored");
    },
    /** Posts, and expects exactly one event in the queue, which it returns. */
    async queues(request: SealedRequest | Record<string, unknown>, http?: HttpOptions): Promise<EventEnvelope> {
      const before = { queued: queued.length, quarantined: quarantined.length };
      const isSealed = (value: object): value is SealedRequest => "rawBody" in value;
      const response = await (isSealed(request) ? deliver(request, http) : post(request));
      assert.deepEqual([response.statusCode, response.body], [200, "{}"]);
      assert.deepEqual(
        { queued: queued.length - before.queued, quarantined: quarantined.length - before.quarantined },
        { queued: 1, quarantined: 0 },
      );
      const envelope = queued.at(-1);
      assert.ok(envelope);
      return envelope;
    },
    /** Posts, and expects the bytes in quarantine for `reason`, answered 200. */
    async quarantines(request: SealedRequest, reason: UnreadableEnvelope["reason"]): Promise<void> {
      const before = { queued: queued.length, quarantined: quarantined.length };
      const response = await deliver(request);
      assert.deepEqual([response.statusCode, response.body], [200, "{}"]);
      assert.deepEqual(
        { queued: queued.length - before.queued, quarantined: quarantined.length - before.quarantined },
        { queued: 0, quarantined: 1 },
      );
      const envelope = quarantined.at(-1);
      assert.equal(envelope?.reason, reason);
      assert.ok(Buffer.from(request.rawBody).equals(Buffer.from(envelope.rawBody)), "the raw bytes are not those sent");
    },
  };
}
