import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { describe, test } from "node:test";
import { DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand, SQSClient, type SQSClientConfig } from "@aws-sdk/client-sqs";
import { JsonSigner, withoutUnusedMiddleware } from "../../lib/aws/signer.ts";

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}
interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}
interface Answered {
  readonly statusCode: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const first: Credentials = { accessKeyId: "AKIDFIRST", secretAccessKey: "first secret/+", sessionToken: "token==" };
const second: Credentials = { accessKeyId: "AKIDSECOND", secretAccessKey: "second secret" };
const QueueUrl = "https://sqs.eu-west-1.amazonaws.com/000000000000/events";

/** Reads the signature as the service does: nothing here is shared with the signer. */
function assertSigned(
  { method, path, headers, body }: Sent,
  { accessKeyId, secretAccessKey, sessionToken }: Credentials,
  service: string,
): void {
  const [, id, scope = "", names = "", signature] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      headers["authorization"] ?? "",
    ) ?? [];
  assert.equal(id, accessKeyId);
  const date = headers["x-amz-date"] ?? "";
  assert.match(date, /^\d{8}T\d{6}Z$/);
  assert.equal(scope, `${date.slice(0, 8)}/eu-west-1/${service}/aws4_request`);
  assert.equal(headers["x-amz-security-token"], sessionToken);
  const signed = names.split(";");
  for (const name of Object.keys(headers).filter((header) => /^(host|content-type|x-amz-.*)$/i.test(header))) {
    assert.ok(signed.includes(name.toLowerCase()), `${name} is signed`);
  }
  assert.deepEqual(signed, signed.toSorted());
  const lines = signed.map((name) => `${name}:${headers[name]?.trim().replace(/ +/g, " ")}\n`);
  const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex");
  const canonical = [method, path, "", lines.join(""), names, sha256(body)].join("\n");
  let key: string | Buffer = `AWS4${secretAccessKey}`;
  for (const part of scope.split("/")) key = createHmac("sha256", key).update(part).digest();
  const text = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  assert.equal(signature, createHmac("sha256", key).update(text).digest("hex"));
}

/** Settings of a client whose calls go nowhere, and what it sent. */
function recorder(answers: readonly Answered[] = []) {
  const sent: Sent[] = [];
  const handle = async (request: Sent) => {
    sent.push({ ...request, headers: { ...request.headers } });
    const { statusCode, body, headers } = answers[sent.length - 1] ?? { statusCode: 200 };
    return { response: { statusCode, headers: { ...headers }, body: Buffer.from(body ?? "{}") } };
  };
  const config = {
    region: "eu-west-1",
    maxAttempts: 2,
    md5: false as const,
    requestHandler: { handle } as unknown as NonNullable<SQSClientConfig["requestHandler"]>,
  };
  return { sent, config };
}

const send = (client: SQSClient, MessageBody = "hello") =>
  client.send(new SendMessageCommand({ QueueUrl, MessageBody }));

describe("the signature of a call", () => {
  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-test-suite.html ("post-vanilla")
  test("is the published one for the published request", async () => {
    const signer = new JsonSigner({
      credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
      region: "us-east-1",
      service: "service",
      sha256: undefined as never,
    });
    const headers: Record<string, string> = { host: "example.amazonaws.com" };
    const request = {
      method: "POST",
      protocol: "https:",
      hostname: "example.amazonaws.com",
      path: "/",
      headers,
      body: "",
    };
    await signer.sign(request, { signingDate: new Date("2015-08-30T12:36:00Z") });
    assert.match(headers["authorization"] ?? "", /=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b$/);
  });

  const request = (path: string, headers: Record<string, string>) => ({
    ...{ method: "POST", protocol: "https:", hostname: "sqs.eu-west-1.amazonaws.com", path, body: "{}" },
    headers: { host: "sqs.eu-west-1.amazonaws.com", ...headers },
  });
  const signer = (credentials: unknown = first) =>
    new JsonSigner({
      credentials: credentials as Credentials,
      region: "eu-west-1",
      service: "sqs",
      sha256: undefined as never,
    });

  test("covers a header in whatever case it comes", async () => {
    const [lower, upper] = await Promise.all(
      ["x-amz-target", "X-Amz-Target"].map((name) =>
        signer().sign(request("/", { [name]: "AmazonSQS.SendMessage" }), { signingDate: new Date(0) }),
      ),
    );
    assert.match(upper?.headers["authorization"] ?? "", /;x-amz-target,/);
    assert.equal(upper?.headers["authorization"], lower?.headers["authorization"]);
  });

  test("is refused where it would be another than the service's: odd paths, and no credentials", async () => {
    for (const path of ["/a*b", "/a//b", "/a/../b", "/./b", "/it's"]) {
      await assert.rejects(signer().sign(request(path, {})), /its path is/, path);
    }
    for (const path of ["/", "/000000000000/events", "/a.b/..c"]) await signer().sign(request(path, {}));
    for (const credentials of [{}, { accessKeyId: "AKID" }, { accessKeyId: 1, secretAccessKey: "x" }]) {
      await assert.rejects(signer(credentials).sign(request("/", {})), /the credentials have no key/);
    }
  });

  for (const [whose, extra] of [
    ["ours", { signerConstructor: JsonSigner }],
    ["the SDK's own, so that this test can be believed", {}],
  ] as const) {
    test(`is what SQS and DynamoDB compute: ${whose}`, async () => {
      for (const credentials of [first, second]) {
        const { sent, config } = recorder();
        const common = {
          ...config,
          ...extra,
          credentials,
          customUserAgent: [["two  spaces", "1.0"]] as [string, string][],
        };
        for (const text of ["hello", "\u4f60\u597d \ud83d\ude00", "x".repeat(1_000_000)])
          await send(new SQSClient(common), text);
        await new DynamoDBClient(common).send(new PutItemCommand({ TableName: "t", Item: { pk: { S: "k" } } }));
        assert.equal(sent.length, 4);
        for (const [n, request] of sent.entries()) assertSigned(request, credentials, n < 3 ? "sqs" : "dynamodb");
      }
    });
  }

  test("Q11: follows credentials that change, a token that ends included", async () => {
    let credentials = first;
    const { sent, config } = recorder();
    const provider = Object.assign(async () => credentials, { memoized: true });
    const client = new SQSClient({ ...config, signerConstructor: JsonSigner, credentials: provider });
    const turns = [first, first, second, { ...second, secretAccessKey: "third secret" }, first];
    for (credentials of turns) await send(client);
    for (const [n, turn] of turns.entries()) assertSigned(sent[n] ?? assert.fail(), turn, "sqs");
  });

  test("is made anew for a second try, with the credentials of then", async () => {
    const { sent, config } = recorder([{ statusCode: 503 }]);
    const provider = Object.assign(async () => (sent.length === 0 ? first : second), { memoized: true });
    await send(new SQSClient({ ...config, signerConstructor: JsonSigner, credentials: provider }));
    assert.equal(sent.length, 2);
    assertSigned(sent[0] ?? assert.fail(), first, "sqs");
    assertSigned(sent[1] ?? assert.fail(), second, "sqs");
  });

  test("follows the service's clock where ours is wrong, over the end of a day", async () => {
    const { sent, config } = recorder(
      [0, 26, -26].map((hours) => ({
        statusCode: 200,
        headers: { date: new Date(Date.now() + hours * 3600_000).toUTCString() },
      })),
    );
    const client = new SQSClient({ ...config, signerConstructor: JsonSigner, credentials: first });
    for (let n = 0; n < 4; n++) await send(client);
    for (const request of sent) assertSigned(request, first, "sqs");
    assert.equal(new Set(sent.map(({ headers }) => headers["x-amz-date"]?.slice(0, 8))).size, 3);
  });

  test("refuses what it was not made for: a query, or a body that streams", async () => {
    const signer = new JsonSigner({
      credentials: first,
      region: "eu-west-1",
      service: "sqs",
      sha256: undefined as never,
    });
    const request = { method: "POST", protocol: "https:", hostname: "h", path: "/", headers: { host: "h" }, body: "" };
    await assert.rejects(signer.sign({ ...request, query: { a: "b" } }), TypeError);
    await assert.rejects(signer.sign({ ...request, body: new ReadableStream() }), TypeError);
    await assert.rejects(signer.sign({ ...request, body: undefined }), TypeError);
  });
});

describe("a client without its unused middleware", () => {
  test("neither logs its calls nor describes itself, and still names the trace by which Lambda finds loops", async () => {
    const { sent, config } = recorder();
    const logged: unknown[] = [];
    const note = (entry: unknown) => void logged.push(entry);
    const logger = { debug: () => {}, info: note, warn: note, error: note };
    const env = { AWS_LAMBDA_FUNCTION_NAME: "worker", _X_AMZN_TRACE_ID: "Root=1-5759e988-bd862e3fe1be46a994272793" };
    const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
    Object.assign(process.env, env);
    try {
      const plain = () => new SQSClient({ ...config, logger, credentials: first });
      await send(plain());
      assert.ok(logged.length > 0 && sent[0]?.headers["user-agent"] !== undefined);
      logged.length = 0;
      await send(withoutUnusedMiddleware(plain()));
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    assert.deepEqual(logged, []);
    const { headers } = sent[1] ?? assert.fail();
    assert.deepEqual([headers["user-agent"], headers["x-amz-user-agent"]], [undefined, undefined]);
    assert.equal(headers["X-Amzn-Trace-Id"], env._X_AMZN_TRACE_ID);
  });
});
