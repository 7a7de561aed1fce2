// services: it loads the AWS SDK, and keeps many connections open.
import assert from "node:assert/strict";
import { hash } from "node:crypto";
import dns from "node:dns";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { createServer, type Socket } from "node:net";
import { after, before, describe, type TestContext, test } from "node:test";
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from "node:tls";
import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { SQS } from "@aws-sdk/client-sqs";
import { SSM } from "@aws-sdk/client-ssm";
import { type AwsClient, type AwsError, awsClient, type Calls, serviceOf } from "../../lib/aws/client.ts";
import { fromSdk } from "../../lib/aws/sdk.ts";
import { amzDate, authorization } from "../../lib/aws/signature.ts";
import { ConfigError } from "../../lib/errors.ts";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { signatureRows } from "../rows/signature.ts";
import { clientTo, patience } from "../support/aws.ts";
import { settled, testClock } from "../support/clock.ts";
import { authority, identity } from "../support/platform-tls.ts";
import { type Services, startServices } from "../support/services.ts";
import { startStore } from "../support/ssm.ts";
import { until } from "../support/until.ts";

const credentials = { accessKeyId: "local", secretAccessKey: "local" };
/** Of the SDK's tries at what stalls: they are of real time. */
const hastyMs = 200;

/** The two clients, at one endpoint: what is true of one is true of the other. */
const clients: Readonly<Record<string, (endpoint: string, tryMs?: number) => AwsClient>> = {
  "the own client": (endpoint, tryMs) =>
    clientTo(endpoint, tryMs === undefined ? {} : { tryMs: { sqs: tryMs, dynamodb: tryMs, ssm: tryMs } }),
  "the SDK": (endpoint, tryMs = patience.sqs) => {
    const requestHandler = {
      ...{ connectionTimeout: tryMs, requestTimeout: tryMs, throwOnRequestTimeout: true, socketTimeout: tryMs },
    };
    const settings = { region: "us-east-1", endpoint, credentials, maxAttempts: 2, requestHandler };
    // Before its second try, the SDK pauses for up to a second when it is throttled.
    return fromSdk({ sqs: new SQS(settings), dynamodb: new DynamoDB(settings), ssm: new SSM(settings) }, patience);
  },
};

interface Request {
  readonly line: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Which of its connection, from 1. */
  readonly nth: number;
}
/** Bytes of an answer, after which the connection stays open; with `end` it is closed, and with "reset" at once. */
type Reply = string | { readonly end: string } | "reset";

/**
 * A server that reads whole requests and answers with bytes, so that it can answer wrongly in every way.
 * @param early Answers the first bytes of a request, and reads no more.
 */
async function startScript(t: TestContext, reply: (request: Request, nth: number) => Reply, early?: () => string) {
  const requests: Request[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let read = "";
    let nth = 0;
    socket.on("error", () => {});
    if (early !== undefined) {
      socket.once("data", () => socket.pause().write(early()));
      return;
    }
    socket.setEncoding("utf8").on("data", (text: string) => {
      read += text;
      const [head = "", ...rest] = read.split("\r\n\r\n");
      const [line = "", ...lines] = head.split("\r\n");
      const headers = Object.fromEntries(
        lines.map((each) => [each.slice(0, each.indexOf(":")).toLowerCase(), each.slice(each.indexOf(":") + 2)]),
      );
      const body = rest.join("\r\n\r\n");
      if (rest.length === 0 || Buffer.byteLength(body) < Number(headers["content-length"] ?? 0)) return;
      read = "";
      const request = { line, headers, body, nth: ++nth };
      requests.push(request);
      const answer = reply(request, requests.length);
      if (answer === "reset") socket.resetAndDestroy();
      else if (typeof answer === "string") socket.write(answer);
      else socket.end(answer.end);
    });
  });
  const endpoint = `http://127.0.0.1:${await listenOnLoopback(server)}`;
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { endpoint, requests, sockets };
}

const answer = (status: number, body: string, headers: Readonly<Record<string, string>> = {}) => {
  const lines = Object.entries({ ...headers, "content-length": Buffer.byteLength(body) });
  return `HTTP/1.1 ${status} \r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
};
const error = (status: number, type: string, headers = {}) =>
  answer(status, JSON.stringify({ __type: `com.amazonaws#${type}`, message: "a reason" }), headers);
const chunked = (body: string) =>
  `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
const text = "\u4f60\u597d \ud83d\ude00 hello";
const storedBody = JSON.stringify({ MessageId: "m-1", MD5OfMessageBody: hash("md5", text) });
const stored = answer(200, storedBody);
const inOneHour = () => ({ date: new Date(Date.now() + 3_600_000).toUTCString() });
const send = (client: AwsClient, options = {}) =>
  client.call("SendMessage", { QueueUrl: "http://127.0.0.1/000000000000/events", MessageBody: text }, options);
const outcomeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "stored",
    ({ name }: Error) => name,
  );

/** What happens to a send whose requests are answered so, and how many requests it takes. */
const faults: Readonly<Record<string, { reply: (nth: number) => Reply; is: string; tries: number; sdk?: string }>> = {
  "a send that is stored": { reply: () => stored, is: "stored", tries: 1 },
  "a throttled try": {
    reply: (nth) => (nth === 1 ? error(400, "ThrottlingException") : stored),
    is: "stored",
    tries: 2,
  },
  "throttling that goes on": { reply: () => error(400, "RequestThrottled"), is: "RequestThrottled", tries: 2 },
  "429": { reply: () => error(429, "Slow"), is: "Slow", tries: 2 },
  "500": { reply: () => error(500, "InternalError"), is: "InternalError", tries: 2 },
  "501, which no repetition changes": { reply: () => error(501, "NotImplemented"), is: "NotImplemented", tries: 1 },
  "503, and then not": {
    reply: (nth) => (nth === 1 ? answer(503, "<html>busy</html>") : stored),
    is: "stored",
    tries: 2,
  },
  "503 in HTML": { reply: () => answer(503, "<html>busy</html>"), is: "SyntaxError", tries: 2 },
  "403": { reply: () => error(403, "AccessDeniedException"), is: "AccessDeniedException", tries: 1 },
  "expired credentials": { reply: () => error(403, "ExpiredTokenException"), is: "ExpiredTokenException", tries: 1 },
  "a queue that is gone": {
    reply: () =>
      error(400, "QueueDoesNotExist", { "x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender" }),
    ...{ is: "QueueDoesNotExist", tries: 1 },
  },
  "an error named in a header": {
    reply: () => answer(400, "{}", { "x-amzn-errortype": "Odd:http://x" }),
    is: "Odd",
    tries: 1,
  },
  "an error without a name": { reply: () => answer(404, ""), is: "Unknown", tries: 1 },
  "a refusal that is no JSON": { reply: () => answer(400, "nonsense"), is: "SyntaxError", tries: 1 },
  "a success that is no JSON": { reply: () => answer(200, "nonsense"), is: "SyntaxError", tries: 1 },
  "a success that is cut": { reply: () => answer(200, '{"MessageId":"m'), is: "SyntaxError", tries: 1 },
  "another text stored": {
    reply: () => answer(200, JSON.stringify({ MD5OfMessageBody: hash("md5", "another") })),
    ...{ is: "InvalidChecksumError", tries: 1, sdk: "Error" },
  },
  "a success without a checksum": {
    reply: () => answer(200, "null"),
    is: "InvalidChecksumError",
    tries: 1,
    sdk: "Error",
  },
  "a redirect, which is not followed": { reply: () => answer(302, "", { location: "/" }), is: "Unknown", tries: 1 },
  "a reset before the effect": { reply: (nth) => (nth === 1 ? "reset" : stored), is: "stored", tries: 2 },
  resets: { reply: () => "reset", is: "TimeoutError", tries: 2 },
  "an answer that is cut": {
    reply: (nth) => (nth === 1 ? { end: stored.slice(0, -9) } : stored),
    is: "stored",
    tries: 2,
  },
  "answers that are cut": { reply: () => ({ end: stored.slice(0, -9) }), is: "Error", tries: 2 },
  "what is no HTTP": { reply: () => ({ end: "nonsense\r\n\r\n" }), is: "Error", tries: 1 },
  "an answer in chunks": { reply: () => chunked(storedBody), is: "stored", tries: 1 },
  "an answer in chunks that is cut": {
    reply: () => ({ end: chunked(storedBody).slice(0, -6) }),
    ...{ is: "Error", tries: 2 },
  },
  "an answer that ends with its connection": {
    reply: () => ({ end: `HTTP/1.1 200 OK\r\n\r\n${storedBody}` }),
    ...{ is: "stored", tries: 1 },
  },
  "an answer of HTTP/1.0": {
    reply: () => ({ end: stored.replace("/1.1", "/1.0") }),
    ...{ is: "stored", tries: 1 },
  },
  "word that an answer will follow": {
    reply: () => `HTTP/1.1 100 Continue\r\n\r\n${stored}`,
    ...{ is: "stored", tries: 1 },
  },
  "a header that comes twice": {
    reply: () => stored.replace("\r\n", "\r\nvia: a\r\nvia: b\r\n"),
    ...{ is: "stored", tries: 1 },
  },
  "a length that comes twice": {
    reply: () => stored.replace("\r\n", "\r\ncontent-length: 2\r\n"),
    ...{ is: "Error", tries: 1 },
  },
  "a length that is none": { reply: () => answer(200, "").replace(": 0", ": -1"), is: "Error", tries: 1 },
  "a length beside chunks": {
    reply: () => chunked(storedBody).replace("\r\n", `\r\ncontent-length: ${storedBody.length}\r\n`),
    ...{ is: "Error", tries: 1 },
  },
  "a status that has no body, with a length": {
    reply: () => answer(204, "").replace(": 0", ": 5"),
    ...{ is: "InvalidChecksumError", tries: 1, sdk: "Error" },
  },
  "a head that is not ended after 17 KB": {
    reply: () => `HTTP/1.1 200 OK\r\nodd: ${"x".repeat(17_408)}`,
    ...{ is: "Error", tries: 1 },
  },
  "a clock that is an hour late": {
    reply: (nth) => (nth === 1 ? error(403, "InvalidSignatureException", inOneHour()) : stored),
    ...{ is: "stored", tries: 2 },
  },
  "a wrong signature with a right clock": {
    reply: () => error(403, "InvalidSignatureException", { date: new Date().toUTCString() }),
    ...{ is: "InvalidSignatureException", tries: 1 },
  },
};

for (const [who, connect] of Object.entries(clients)) {
  describe(`${who} meets`, () => {
    for (const [what, { reply, is, tries, sdk = is }] of Object.entries(faults)) {
      test(what, async (t) => {
        const { endpoint, requests } = await startScript(t, (_, nth) => reply(nth));
        const client = connect(endpoint);
        t.after(() => client.destroy());
        assert.deepEqual([await outcomeOf(send(client)), requests.length], [who === "the SDK" ? sdk : is, tries]);
      });
    }

    test("a stall within an answer, at the end of its head or elsewhere, in the time of its tries", async (t) => {
      const { endpoint } = await startScript(t, ({ body }) => stored.slice(0, JSON.parse(body).DelaySeconds));
      const client = connect(endpoint, hastyMs);
      t.after(() => client.destroy());
      const headBytes = stored.length - storedBody.length;
      // The SDK makes 32 calls at once, and its tries are of real time too.
      const lengths = Array.from(stored, (_, length) => length).filter((length) =>
        who === "the SDK" ? length % 24 === 0 : length % 4 === 0 || Math.abs(length - headBytes) < 5,
      );
      const stall = (DelaySeconds: number) =>
        outcomeOf(client.call("SendMessage", { QueueUrl: "q", MessageBody: text, DelaySeconds }));
      assert.deepEqual(new Set(await Promise.all(lengths.map(stall))), new Set(["TimeoutError"]));
    });

    test("a condition that failed, with the item and what identifies the call", async (t) => {
      const { Item } = calls.PutItem;
      const text = JSON.stringify({ __type: "com.amazonaws#ConditionalCheckFailedException", Item });
      const { endpoint } = await startScript(t, () => answer(400, text, { "x-amzn-requestid": "id-1" }));
      const client = connect(endpoint);
      t.after(() => client.destroy());
      await assert.rejects(client.call("PutItem", calls.PutItem), (error: AwsError) => {
        const { name, $metadata: { httpStatusCode, requestId } = assert.fail() } = error;
        assert.deepEqual([name, httpStatusCode, requestId], ["ConditionalCheckFailedException", 400, "id-1"]);
        assert.deepEqual({ ...error.Item }, Item);
        return true;
      });
    });

    test("a caller that gives up: before, and while the call runs", async (t) => {
      const { endpoint, requests } = await startScript(t, () => "");
      const client = connect(endpoint);
      t.after(() => client.destroy());
      assert.equal(await outcomeOf(send(client, { abortSignal: AbortSignal.abort() })), "AbortError");
      assert.equal(requests.length, 0);
      const gaveUp = new AbortController();
      const running = outcomeOf(send(client, { abortSignal: gaveUp.signal }));
      await until("it is sent", () => requests.length === 1);
      gaveUp.abort();
      assert.equal(await running, "AbortError");
    });
  });
}

describe("the signature of a call", () => {
  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-test-suite.html ("post-vanilla")
  test("is the published one for the published request", () => {
    const date = amzDate(Date.parse("2015-08-30T12:36:00Z"));
    const headers = [
      ["host", "example.amazonaws.com"],
      ["x-amz-date", date],
    ] as const;
    const call = { path: "/", body: "", date, region: "us-east-1", service: "service", accessKeyId: "AKIDEXAMPLE" };
    const signature = authorization(headers, {
      ...call,
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    });
    assert.match(signature, /=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b$/);
  });

  for (const row of signatureRows) {
    const seed = 20_264;
    test(`${row.id}: ${row.title} (sample of ${row.sample}, seed ${seed})`, async () => {
      await row.run({ n: row.sample, seed, progress() {} });
    });
  }

  test("of each call is what the SDK would sign: names, body, time and credentials, which may change", async (t) => {
    const { endpoint, requests } = await startScript(t, () => answer(200, "{}"));
    const env: Record<string, string | undefined> = {
      ...{ AWS_REGION: "us-east-1", AWS_ACCESS_KEY_ID: "AKIDFIRST", AWS_SECRET_ACCESS_KEY: "first secret/+" },
      ...{ AWS_SESSION_TOKEN: "token==", AWS_ENDPOINT_URL: endpoint },
    };
    const client = awsClient({ env });
    const sdk = clients["the SDK"]?.(endpoint) ?? assert.fail();
    t.after(() => [client, sdk].map((each) => each.destroy()));
    for (const [name, input] of Object.entries(calls) as [keyof Calls, never][]) {
      const { AWS_ACCESS_KEY_ID: accessKeyId = "", AWS_SECRET_ACCESS_KEY: secretAccessKey = "" } = env;
      await outcomeOf(client.call(name, input));
      await outcomeOf(sdk.call(name, input));
      const [ours = assert.fail(), theirs = assert.fail()] = requests.splice(0);
      assert.equal(ours.line, "POST / HTTP/1.1");
      const alike = ["content-type", "x-amz-target", "host", "content-length"] as const;
      for (const header of alike) assert.equal(ours.headers[header], theirs.headers[header], `${name} ${header}`);
      assert.deepEqual(JSON.parse(ours.body), JSON.parse(theirs.body));
      assert.equal(ours.headers["x-amz-security-token"], env["AWS_SESSION_TOKEN"]);
      const [, service = "", names = ""] =
        /us-east-1\/(\w+)\/aws4_request, SignedHeaders=([^,]*)/.exec(ours.headers["authorization"] ?? "") ?? [];
      const signed = names.split(";").map((header) => [header, ours.headers[header] ?? ""] as const);
      const call = { path: "/", body: ours.body, date: ours.headers["x-amz-date"] ?? "", region: "us-east-1", service };
      assert.equal(service, serviceOf[name]);
      assert.equal(ours.headers["authorization"], authorization(signed, { ...call, accessKeyId, secretAccessKey }));
      assert.ok(["content-type", "host", "x-amz-date", "x-amz-target"].every((header) => names.includes(header)));
      Object.assign(env, { AWS_ACCESS_KEY_ID: "AKIDSECOND", AWS_SECRET_ACCESS_KEY: `${name} secret` });
      delete env["AWS_SESSION_TOKEN"];
    }
    delete env["AWS_ACCESS_KEY_ID"];
    await assert.rejects(send(client), { name: "CredentialsProviderError" });
  });
});

/** One call of each name. */
const calls: { readonly [N in keyof Calls]: Calls[N][0] } = {
  SendMessage: {
    ...{ QueueUrl: "https://sqs/000000000000/events", MessageBody: text, DelaySeconds: 3, MessageGroupId: "tenant" },
    MessageAttributes: { reason: { DataType: "String", StringValue: "shape" } },
  },
  ChangeMessageVisibility: { QueueUrl: "https://sqs/000000000000/events", ReceiptHandle: "r/+=", VisibilityTimeout: 9 },
  PutItem: {
    ...{
      TableName: "ledger",
      Item: { pk: { S: "claim#k" }, n: { N: "1" } },
      ConditionExpression: "attribute_not_exists(pk)",
    },
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  },
  UpdateItem: {
    ...{ TableName: "ledger", Key: { pk: { S: "claim#k" } }, UpdateExpression: "SET n = :n" },
    ExpressionAttributeValues: { ":n": { N: "2" } },
  },
  GetItem: { TableName: "ledger", Key: { pk: { S: "claim#k" } }, ConsistentRead: true },
  GetParameter: { Name: "/larkpost/test/app", WithDecryption: true },
};

describe("the services themselves", () => {
  let services: Services;
  before(async () => {
    services = await startServices();
  });
  after(() => services.stop());

  for (const [who, connect] of Object.entries(clients)) {
    test(`answer ${who} alike: items, conditions, messages and parameters`, async (t) => {
      const [table, queue] = [connect(services.endpoints.dynamo), connect(services.endpoints.sqs)];
      const store = await startStore();
      const secrets = connect(store.env["AWS_ENDPOINT_URL_SSM"] ?? "");
      t.after(() => store.stop());
      t.after(() => [table, queue, secrets].map((each) => each.destroy()));
      const Item = { pk: { S: `claim#${who}` }, phase: { S: "running" }, runs: { N: "1" } };
      const put = { ...calls.PutItem, Item };
      assert.equal(await outcomeOf(table.call("PutItem", put)), "stored");
      assert.equal(await outcomeOf(table.call("PutItem", put)), "ConditionalCheckFailedException");
      const Key = { pk: Item.pk };
      await table.call("UpdateItem", { ...calls.UpdateItem, Key });
      assert.deepEqual((await table.call("GetItem", { ...calls.GetItem, Key })).Item, { ...Item, n: { N: "2" } });
      assert.equal((await table.call("GetItem", { ...calls.GetItem, Key: { pk: { S: "none" } } })).Item, undefined);
      assert.equal(
        await outcomeOf(table.call("GetItem", { ...calls.GetItem, TableName: "gone" })),
        "ResourceNotFoundException",
      );

      const QueueUrl = services.urls.eventsQueueUrl;
      await queue.call("SendMessage", { QueueUrl, MessageBody: who });
      const [message] = await services.take(QueueUrl);
      assert.equal(message?.Body, who);
      const ReceiptHandle = message?.ReceiptHandle ?? "";
      await queue.call("ChangeMessageVisibility", { QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
      assert.equal((await services.take(QueueUrl))[0]?.Body, who);

      assert.equal(await outcomeOf(secrets.call("GetParameter", calls.GetParameter)), "ParameterNotFound");
      store.put("/larkpost/test/app", "a value");
      assert.equal((await secrets.call("GetParameter", calls.GetParameter)).Parameter?.Value, "a value");
    });
  }
});

test("the SDK's own clients, which wait for ever by default, have the time of two tries, and an error that says so", async (t) => {
  const { endpoint } = await startScript(t, () => "");
  const client = fromSdk({ sqs: new SQS({ region: "us-east-1", endpoint, credentials }) }, { ...patience, sqs: 10 });
  t.after(() => client.destroy());
  await assert.rejects(send(client), { name: "TimeoutError", message: "SendMessage: no answer within 120 ms" });
});

describe("a connection", () => {
  test("that ended while it lay idle is replaced, and the others with it, without a try being counted", async (t) => {
    const { endpoint, requests, sockets } = await startScript(t, (_, count) =>
      count === 4 ? "reset" : count === 5 ? error(500, "InternalError") : stored,
    );
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    assert.deepEqual(await Promise.all([1, 2, 3].map(() => outcomeOf(send(client)))), ["stored", "stored", "stored"]);
    assert.equal(await outcomeOf(send(client)), "stored");
    assert.deepEqual([requests.length, sockets.size], [3 + 1 + 2, 3 + 1]);
  });

  test("is not used again after an answer that says so, that goes on, or that nobody asked for", async (t) => {
    const ends = [stored.replace("\r\n", "\r\nconnection: close\r\n"), chunked(storedBody), stored + stored];
    const { endpoint, requests, sockets } = await startScript(t, (_, nth) => ends[nth - 1] ?? stored);
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    for (const _ of [...ends, stored]) assert.equal(await outcomeOf(send(client)), "stored");
    const [kept = assert.fail()] = [...sockets].slice(-1);
    kept.write(stored);
    await until("the client closes it", () => kept.destroyed);
    assert.equal(await outcomeOf(send(client)), "stored");
    assert.deepEqual([requests.map(({ nth }) => nth), sockets.size], [[1, 1, 1, 1, 1], ends.length + 2]);
  });

  test("is opened by name, and again with what the last handshake agreed on", async (t) => {
    const trusted = getCACertificates("default");
    setDefaultCACertificates([authority]);
    t.after(() => setDefaultCACertificates(trusted));
    t.mock.method(dns, "lookup", (_: string, __: object, answered: (error: null, found: object[]) => void) => {
      answered(null, [{ address: "127.0.0.1", family: 4 }]);
    });
    const handshakes: unknown[] = [];
    const server = createTlsServer(identity, (socket) => {
      handshakes.push([socket.servername, socket.alpnProtocol, socket.isSessionReused()]);
      socket.on("error", () => {}).once("data", () => socket.end(stored));
    });
    const client = clientTo(`https://open.feishu.cn:${await listenOnLoopback(server)}`);
    t.after(() => client.destroy());
    t.after(() => server.close());
    for (const _ of [1, 2]) assert.equal(await outcomeOf(send(client)), "stored");
    assert.deepEqual(handshakes, [
      ["open.feishu.cn", false, false],
      ["open.feishu.cn", false, true],
    ]);
  });

  test("keeps the process alive while a call runs, and not while it lies idle", async (t) => {
    const alive = () => process.getActiveResourcesInfo().filter((what) => what === "TCPSocketWrap").length;
    await until("the other tests' connections are closed", () => alive() === 0);
    const { endpoint, requests, sockets } = await startScript(t, (_, nth) => (nth === 2 ? "" : stored));
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    await send(client);
    // The server's side is alive all the time.
    assert.equal(alive(), 1);
    const second = send(client);
    await until("the second call has arrived", () => requests.length === 2);
    assert.equal(alive(), 2);
    for (const socket of sockets) socket.write(stored);
    await second;
    assert.equal(alive(), 1);
  });

  test("carries no header that would end before its value does", async (t) => {
    const { endpoint, requests } = await startScript(t, () => stored);
    const client = clientTo({ AWS_ENDPOINT_URL: endpoint, AWS_SESSION_TOKEN: "token\r\nx-other: 1" });
    t.after(() => client.destroy());
    await assert.rejects(send(client), { name: "TypeError", message: /x-amz-security-token/ });
    assert.equal(requests.length, 0);
  });

  test("is open before the first call, and nobody learns that it could not be opened", async (t) => {
    const { endpoint, requests } = await startScript(t, ({ headers }) =>
      headers["x-amz-target"] === "AmazonSQS.SendMessage" ? stored : error(400, "UnknownOperationException"),
    );
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    await client.connect(["sqs"]);
    assert.equal(await outcomeOf(send(client)), "stored");
    assert.deepEqual(
      requests.map(({ nth }) => nth),
      [1, 2],
    );
    await clientTo("http://127.0.0.1:1").connect(["sqs", "dynamodb", "ssm"]);
  });

  test("is one of 50 at most: other calls wait for as long as their caller does, and no time runs for them", async (t) => {
    const clock = testClock();
    const held: ServerResponse[] = [];
    const server = createHttpServer((request, response) => {
      request.resume();
      held.push(response);
    });
    const client = clientTo(`http://127.0.0.1:${await listenOnLoopback(server)}`, { clock, tryMs: { sqs: 500 } });
    t.after(() => client.destroy());
    t.after(() => server.close());
    const gaveUp = new AbortController();
    const patient = Array.from({ length: 110 }, () => outcomeOf(send(client)));
    const impatient = Array.from({ length: 20 }, () => outcomeOf(send(client, { abortSignal: gaveUp.signal })));
    for (const arrived of [50, 50, 10]) {
      await until(`${arrived} have arrived`, () => held.length === arrived && clock.pending === arrived);
      gaveUp.abort();
      await clock.advance(499);
      for (const response of held.splice(0)) response.end(storedBody);
    }
    assert.deepEqual(new Set(await Promise.all(patient)), new Set(["stored"]));
    // One whose caller gave up is not sent.
    assert.deepEqual([new Set(await Promise.all(impatient)), held.length], [new Set(["AbortError"]), 0]);
  });

  test("and an answer have their time, a call has that of two tries, and the second try only what is left", async (t) => {
    const clock = testClock();
    const { endpoint, requests } = await startScript(t, () => "");
    const client = clientTo(endpoint, { clock, random: () => 1, tryMs: { sqs: 400 } });
    t.after(() => client.destroy());
    let outcome = "";
    const sent = send(client).catch(({ message }: Error) => {
      outcome = message;
    });
    await until("the first try is sent", () => requests.length === 1);
    await clock.advance(399);
    assert.equal(clock.pending, 1);
    await clock.advance(1);
    assert.equal(clock.pending, 1, "the pause of 100 ms");
    await clock.advance(100);
    await until("the second try is sent", () => requests.length === 2);
    await clock.advance(399);
    assert.equal(outcome, "");
    await clock.advance(1);
    await sent;
    assert.equal(outcome, "no answer within 400 ms");
    assert.equal(clock.pending, 0);
  });

  test("to a server that is not AWS's is refused, whatever the environment allows, and one that never greets is left", async (t) => {
    const clock = testClock();
    const { endpoint, sockets } = await startScript(t, () => "");
    const mute = clientTo(endpoint.replace("http:", "https:"), { clock, tryMs: { sqs: 400 } });
    t.after(() => mute.destroy());
    const sent = outcomeOf(mute.call("SendMessage", calls.SendMessage));
    for (const count of [1, 2]) {
      await until("it connects", () => sockets.size === count && clock.pending === 2);
      await clock.advance(200);
      await clock.advance(100);
    }
    assert.equal(await sent, "TimeoutError");
    // A connection that is opened early may take longer: the handlers' files are loaded meanwhile.
    const opening = mute.connect(["sqs"]);
    await until("it connects", () => sockets.size === 3 && clock.pending === 2);
    await clock.advance(999);
    assert.equal(clock.pending, 2);
    await clock.advance(1);
    await opening;

    const tls = createTlsServer(identity);
    const client = clientTo(`https://127.0.0.1:${await listenOnLoopback(tls)}`);
    t.after(() => client.destroy());
    t.after(() => tls.close());
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    t.after(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]);
    await assert.rejects(send(client), { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" });
  });

  test("is asked for no second try by a caller who gave up between the two", async (t) => {
    const clock = testClock();
    const { endpoint, requests } = await startScript(t, () => error(500, "InternalError"));
    const client = clientTo(endpoint, { clock, random: () => 1 });
    t.after(() => client.destroy());
    const gaveUp = new AbortController();
    const sent = outcomeOf(send(client, { abortSignal: gaveUp.signal }));
    await until("the pause after the first try", () => requests.length === 1 && clock.pending === 1);
    // The time of the try has been cancelled, and the pause has not begun before.
    await settled();
    gaveUp.abort();
    assert.deepEqual([await sent, requests.length], ["AbortError", 1]);
  });

  test("learns no time from an answer that a freeze has delayed", async (t) => {
    const clock = testClock(Date.now());
    const { endpoint, requests } = await startScript(t, () => answer(200, "{}", { date: new Date().toUTCString() }));
    const client = clientTo(endpoint, { clock, tryMs: { dynamodb: 3_600_000 } });
    t.after(() => client.destroy());
    const sent = client.call("GetItem", calls.GetItem);
    await clock.advance(600_000);
    await sent;
    await client.call("GetItem", calls.GetItem);
    assert.equal(requests[1]?.headers["x-amz-date"], amzDate(clock.nowMs()));
  });

  test("ends with an answer that came before the request was sent", async (t) => {
    const { endpoint, sockets } = await startScript(
      t,
      () => stored,
      () => error(413, "RequestTooLong"),
    );
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    const MessageBody = "x".repeat(8_000_000);
    assert.equal(await outcomeOf(client.call("SendMessage", { QueueUrl: "q", MessageBody })), "RequestTooLong");
    for (const socket of sockets) socket.resume();
    await until("its connection is closed", () => [...sockets].every((socket) => socket.destroyed));
  });

  test("brings no more than an answer can have", async (t) => {
    const body = `"${"x".repeat(2_097_151)}"`;
    const { endpoint, requests } = await startScript(t, (_, nth) => (nth === 1 ? answer(200, body) : chunked(body)));
    const client = clientTo(endpoint);
    t.after(() => client.destroy());
    for (const nth of [1, 2]) {
      assert.deepEqual([await outcomeOf(send(client)), requests.length], ["TooLargeError", nth]);
    }
  });

  test("goes to the region's endpoint, or where AWS_ENDPOINT_URL says", async (t) => {
    const lookups: string[] = [];
    t.mock.method(dns, "lookup", (hostname: string, _: object, answered: (error: Error) => void) => {
      lookups.push(hostname);
      answered(Object.assign(new Error("no network here"), { code: "ENOENT" }));
    });
    const env = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
    for (const AWS_REGION of ["eu-west-1", "cn-north-1", "us-gov-east-1"]) {
      await awsClient({ env: { ...env, AWS_REGION } }).connect(["sqs"]);
    }
    await awsClient({ env: { ...env, AWS_REGION: "local", AWS_ENDPOINT_URL: "https://all.test" } }).connect(["ssm"]);
    const both = { AWS_ENDPOINT_URL: "https://all.test", AWS_ENDPOINT_URL_DYNAMODB: "https://table.test" };
    await awsClient({ env: { ...env, ...both, AWS_REGION: "local" } }).connect(["dynamodb"]);
    assert.deepEqual(lookups, [
      ...["sqs.eu-west-1.amazonaws.com", "sqs.cn-north-1.amazonaws.com.cn", "sqs.us-gov-east-1.amazonaws.com"],
      ...["all.test", "table.test"],
    ]);
    assert.throws(() => awsClient({ env }), ConfigError);
    for (const AWS_ENDPOINT_URL_SQS of ["sqs", "ftp://x"]) {
      assert.throws(() => awsClient({ env: { ...env, AWS_REGION: "local", AWS_ENDPOINT_URL_SQS } }), ConfigError);
    }
  });
});

test("a call names the trace by which Lambda finds loops, and which try it is", async (t) => {
  const { endpoint, requests } = await startScript(t, () => error(503, "Busy"));
  const trace = { AWS_LAMBDA_FUNCTION_NAME: "worker", _X_AMZN_TRACE_ID: "Root=1-5759e988-bd862e3fe1be46a994272793" };
  const client = clientTo({ AWS_ENDPOINT_URL: endpoint, ...trace });
  t.after(() => client.destroy());
  await outcomeOf(send(client));
  const { _X_AMZN_TRACE_ID } = trace;
  assert.deepEqual(
    requests.map(({ headers }) => [headers["x-amzn-trace-id"], headers["amz-sdk-request"], headers["user-agent"]]),
    [1, 2].map((attempt) => [_X_AMZN_TRACE_ID, `attempt=${attempt}; max=2`, undefined]),
  );
});
