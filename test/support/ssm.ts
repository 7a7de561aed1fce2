import { createServer, type ServerResponse } from "node:http";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";

/** What the store does with a call. */
export type Condition =
  | "up"
  /** Answers as ever, from far away: after longer than the webhook waits. */
  | "slow"
  /** Answers that it failed, as AWS words it. */
  | "failing"
  /** Cuts the connection. */
  | "cut"
  /** Says that the account asks too often. */
  | "throttled"
  /** Says that this caller may not. */
  | "denied"
  /** Takes the call and never answers. */
  | "stalled"
  /** Begins its answer and never ends it. */
  | "stalled-halfway";

export interface Parameter {
  readonly type: string;
  readonly value: string;
  readonly version: number;
  readonly keyId: string | undefined;
}

/** One call as it arrived. */
export interface StoreCall {
  readonly action: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** Which try of the SDK this is, from 1. */
  readonly attempt: number;
  readonly region: string | undefined;
}

const throughputSetting = "/ssm/parameter-store/high-throughput-enabled";
export const throughputArn = `arn:aws:ssm:us-east-1:111122223333:servicesetting${throughputSetting}`;

/**
 * SSM's parameter store on 127.0.0.1, in memory: `GetParameter`, `PutParameter` and the account's setting of the
 * throughput on AWS's wire protocol.
 * https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
 */
export async function startStore() {
  const parameters = new Map<string, Parameter>();
  const calls: StoreCall[] = [];
  const deniedActions = new Set<string>();
  /** What each parameter held before, by its name and version: `/app:1`. */
  const earlier = new Map<string, string>();
  let beforeWrite: (() => void) | undefined;
  let afterRead: (() => void) | undefined;
  let highThroughput = "false";
  let quota: (() => boolean) | undefined;
  let throttled = 0;
  /** Days, so that nobody takes it for the time of the test. */
  let storedSecondsAgo = 3 * 86_400 + 60;
  let condition: Condition = "up";

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const [service, action = ""] = String(request.headers["x-amz-target"]).split(".");
      const isOurs =
        request.method === "POST" &&
        service === "AmazonSSM" &&
        request.headers["content-type"] === "application/x-amz-json-1.1" &&
        request.headers.authorization?.includes("/ssm/aws4_request") === true;
      if (!isOurs) {
        send(response, fault(400, "UnknownOperationException"));
        return;
      }
      const input = JSON.parse(Buffer.concat(chunks).toString("utf8")) as StoreCall["input"];
      const attempt = Number(/attempt=(\d+)/.exec(String(request.headers["amz-sdk-request"]))?.[1] ?? 1);
      const [, region] = /([\w-]+)\/ssm\/aws4_request/.exec(request.headers.authorization ?? "") ?? [];
      calls.push({ action, input, attempt, region });
      if (deniedActions.has(action)) {
        send(response, fault(400, "AccessDeniedException", `not authorized to perform: ssm:${action}`));
        return;
      }
      if (quota?.() === false) {
        throttled++;
        send(response, fault(400, "ThrottlingException", "Rate exceeded"));
        return;
      }
      switch (condition) {
        case "up":
          send(response, serve(action, input));
          break;
        case "slow":
          setTimeout(() => send(response, serve(action, input)), 700);
          break;
        case "failing":
          send(response, fault(500, "InternalServerError"));
          break;
        case "cut":
          request.socket.destroy();
          break;
        case "throttled":
          send(response, fault(400, "ThrottlingException", "Rate exceeded"));
          break;
        case "denied":
          send(response, fault(400, "AccessDeniedException", `not authorized to perform: ssm:${action}`));
          break;
        case "stalled-halfway":
          response.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
          response.write('{"Parameter":');
          break;
        case "stalled":
      }
    });
  });

  function serve(action: string, input: StoreCall["input"]): Reply {
    const name = String(input["Name"]);
    const found = parameters.get(name);
    if (action === "GetParameter") {
      const old = earlier.get(name);
      if (old !== undefined) return { status: 200, body: { Parameter: { Name: name, Value: old } } };
      if (found === undefined) return fault(400, "ParameterNotFound");
      const { type, value, version } = found;
      const isReadable = type !== "SecureString" || input["WithDecryption"] === true;
      const Value = isReadable ? value : "AQICAHh0aGUgY2lwaGVydGV4dA==";
      const LastModifiedDate = Math.floor(Date.now() / 1000) - storedSecondsAgo;
      const Parameter = { Name: name, Type: type, Value, Version: version, DataType: "text", LastModifiedDate };
      const meanwhile = afterRead;
      afterRead = undefined;
      meanwhile?.();
      return { status: 200, body: { Parameter } };
    }
    if (action === "PutParameter") {
      const meanwhile = beforeWrite;
      beforeWrite = undefined;
      if (meanwhile !== undefined) {
        meanwhile();
        return serve(action, input);
      }
      const { Value: value, Type: type = found?.type, KeyId: keyId } = input;
      if (found !== undefined && input["Overwrite"] !== true) return fault(400, "ParameterAlreadyExists");
      if (typeof value !== "string" || value === "" || value.length > 4096 || typeof type !== "string") {
        return fault(400, "ValidationException", "1 validation error detected");
      }
      const version = (found?.version ?? 0) + 1;
      if (found !== undefined) earlier.set(`${name}:${found.version}`, found.value);
      parameters.set(name, { type, value, version, keyId: typeof keyId === "string" ? keyId : undefined });
      return { status: 200, body: { Version: version, Tier: "Standard" } };
    }
    if (action === "GetServiceSetting" && input["SettingId"] === throughputSetting) {
      const ServiceSetting = { SettingId: throughputSetting, SettingValue: highThroughput, ARN: throughputArn };
      return { status: 200, body: { ServiceSetting } };
    }
    if (action === "UpdateServiceSetting" && input["SettingId"] === throughputArn) {
      highThroughput = String(input["SettingValue"]);
      return { status: 200, body: {} };
    }
    return fault(400, "UnknownOperationException");
  }

  const port = await listenOnLoopback(server);
  const endpoint = `http://127.0.0.1:${port}`;
  return {
    endpoint,
    /** Environment of a process that is to use this store. */
    env: {
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "local",
      AWS_SECRET_ACCESS_KEY: "local",
      AWS_ENDPOINT_URL_SSM: endpoint,
    },
    parameters,
    /** Calls that arrived, whatever came of them, the SDK's own second tries included. */
    calls,
    /** How often something was asked, second tries not counted. */
    asked: () => calls.filter(({ attempt }) => attempt === 1).length,
    /** Puts a SecureString, past the wire; `undefined` takes it away. */
    put(name: string, value: string | undefined): void {
      if (value === undefined) parameters.delete(name);
      else {
        const { version = 0, value: old } = parameters.get(name) ?? {};
        if (old !== undefined) earlier.set(`${name}:${version}`, old);
        parameters.set(name, { type: "SecureString", value, version: version + 1, keyId: undefined });
      }
    },
    /** Does something right before the next write: what another writer does. */
    beforeWrite(action: () => void): void {
      beforeWrite = action;
    },
    /** Does something right after the next read of what is there. */
    afterRead(action: () => void): void {
      afterRead = action;
    },
    /** Lets so many calls a second through, a tenth of them at once, and throttles the others, as AWS does; the first ones always. */
    limit(perSecond: number, firstThrottled = 0): void {
      const most = perSecond / 10;
      let calls = 0;
      let [tokens, atMs] = [most, performance.now()];
      quota = () => {
        if (++calls <= firstThrottled) return false;
        const nowMs = performance.now();
        tokens = Math.min(most, tokens + ((nowMs - atMs) * perSecond) / 1000);
        atMs = nowMs;
        if (tokens < 1) return false;
        tokens--;
        return true;
      };
    },
    throttled: () => throttled,
    /** How long ago all parameters were stored. */
    stored(secondsAgo: number): void {
      storedSecondsAgo = secondsAgo;
    },
    /** What this caller may not do. */
    deny: (action: string) => void deniedActions.add(action),
    /** From the next call on. What has stalled stays so: its caller must give up. */
    become(next: Condition): void {
      condition = next;
    },
    async stop(): Promise<void> {
      server.closeAllConnections();
      await new Promise((stopped) => server.close(stopped));
    },
  };
}

export type Store = Awaited<ReturnType<typeof startStore>>;

interface Reply {
  readonly status: number;
  readonly body: object;
}

function fault(status: number, type: string, message = "injected"): Reply {
  return { status, body: { __type: type, message } };
}

function send(response: ServerResponse, { status, body }: Reply): void {
  response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
  response.end(JSON.stringify(body));
}
