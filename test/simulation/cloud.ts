import { hash, randomUUID } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import { listenOnLoopback } from "../../lib/simulator/loopback.ts";
import { createTable, type Input, type Reply } from "./table.ts";

/** What goes wrong with one call. The client retries all but `denied`. */
export type Fault =
  | "none"
  /** Refused, without effect: 5xx, throttling, a missing permission, or a connection that is cut. */
  | "unavailable"
  | "throttled"
  | "denied"
  | "cut"
  /** Done, but the answer is cut off, a 5xx, or only half there. */
  | "lost"
  | "failed"
  | "truncated"
  /** Never answered: not done, done, or done long after the caller gave up. */
  | "stall"
  | "mute"
  | "late"
  /** `kill -9` of the caller, before or after the effect. */
  | "kill"
  | "kill-after";

export interface Message {
  readonly id: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, { readonly StringValue: string }>>;
  readonly groupId: string | undefined;
  readonly sentAtMs: number;
  visibleAtMs: number;
  firstReceivedAtMs: number;
  receives: number;
  isDeleted: boolean;
}

export interface Call {
  /** The caller's access key id, which is its process's name. */
  readonly process: string;
  readonly action: string;
  readonly queue: string | undefined;
  readonly input: Input;
}

export interface CloudOptions {
  readonly nowMs: () => number;
  /** The value of every SSM parameter. */
  readonly secrets: string;
  readonly decide: (call: Call) => Fault;
  /** Schedules the effect of a `late` call. */
  readonly later: (effect: () => void) => void;
  readonly kill: (process: string) => void;
  /** Runs after a call's effect and before its answer. `message`: the one that was sent, or whose visibility was changed. */
  readonly onEffect: (call: Call, reply: Reply, message: Message | undefined) => void;
  /** Runs when a call cannot be simulated. */
  readonly onUnknown: (error: unknown) => void;
}

/** The calls of SQS, DynamoDB and SSM that the built functions make, over HTTP on AWS's JSON protocols, in memory. */
export async function startCloud(options: CloudOptions) {
  const { nowMs } = options;
  const table = createTable();
  const receipts = new Map<string, Message>();

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const input = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Input;
      const { authorization = "", "x-amz-target": target = "" } = request.headers;
      const process = /Credential=([\w-]+)/.exec(authorization)?.[1] ?? "";
      const queue = /[^/]+$/.exec(String(input["QueueUrl"] ?? ""))?.[0];
      const call = { process, action: String(target).replace(/^.*\./, ""), queue, input };
      try {
        serve(call, response);
      } catch (error) {
        options.onUnknown(error);
        response.destroy();
      }
    });
  });

  function serve(call: Call, response: ServerResponse): void {
    // A connection is opened by a call that no service knows.
    const isUnknown = call.action === "Connect";
    const fault = isUnknown ? "none" : options.decide(call);
    const refusal = isUnknown ? failure(400, "UnknownOperationException") : refusals.get(fault);
    if (refusal !== undefined) send(response, refusal);
    else if (fault === "cut") response.destroy();
    else if (fault === "kill") options.kill(call.process);
    else if (fault === "late") options.later(() => effect(call));
    else if (fault !== "stall") answer(call, response, fault);
  }

  function answer(call: Call, response: ServerResponse, fault: Fault): void {
    const reply = effect(call);
    if (fault === "lost") response.destroy();
    else if (fault === "failed") send(response, failure(500, "InternalServerError"));
    else if (fault === "truncated") sendHalf(response, reply);
    else if (fault === "kill-after") options.kill(call.process);
    else if (fault !== "mute") send(response, reply);
  }

  function effect(call: Call): Reply {
    const { action, input } = call;
    const isMessage = action === "SendMessage";
    const message = isMessage ? toMessage(input) : receipts.get(String(input["ReceiptHandle"]));
    let reply: Reply;
    if (isMessage && message !== undefined) {
      reply = { status: 200, body: { MessageId: message.id, MD5OfMessageBody: hash("md5", message.body) } };
    } else if (action === "ChangeMessageVisibility") reply = changeVisibility(message, input);
    else if (action === "GetParameter") {
      const Parameter = { Name: input["Name"], Type: "SecureString", Value: options.secrets };
      reply = { status: 200, body: { Parameter } };
    } else reply = table.call(action, input);
    options.onEffect(call, reply, message);
    return reply;
  }

  function toMessage(input: Input): Message {
    return {
      id: randomUUID(),
      body: String(input["MessageBody"]),
      attributes: (input["MessageAttributes"] ?? {}) as Message["attributes"],
      groupId: input["MessageGroupId"] as string | undefined,
      sentAtMs: nowMs(),
      visibleAtMs: nowMs() + 1000 * Number(input["DelaySeconds"] ?? 0),
      firstReceivedAtMs: 0,
      receives: 0,
      isDeleted: false,
    };
  }

  function changeVisibility(message: Message | undefined, input: Input): Reply {
    if (message === undefined || message.isDeleted) return failure(400, "com.amazonaws.sqs#ReceiptHandleIsInvalid");
    message.visibleAtMs = nowMs() + 1000 * Number(input["VisibilityTimeout"]);
    return { status: 200, body: {} };
  }

  const port = await listenOnLoopback(server);
  return {
    endpoint: `http://127.0.0.1:${port}`,
    itemOf: table.itemOf,
    /** The messages under way, by receipt handle. */
    receipts,
    async stop(): Promise<void> {
      server.closeAllConnections();
      await new Promise((stopped) => server.close(stopped));
    },
  };
}

export type Cloud = Awaited<ReturnType<typeof startCloud>>;

const refusals: ReadonlyMap<Fault, Reply> = new Map([
  ["unavailable", failure(503, "ServiceUnavailable")],
  ["throttled", failure(400, "com.amazon.coral.availability#ThrottlingException")],
  ["denied", failure(400, "com.amazon.coral.service#AccessDeniedException")],
]);

function failure(status: number, type: string): Reply {
  return { status, body: { __type: type, message: "injected" } };
}

function send(response: ServerResponse, { status, body }: Reply): void {
  response.writeHead(status, { "content-type": "application/x-amz-json-1.0" });
  response.end(JSON.stringify(body));
}

/** The head announces more bytes than come. */
function sendHalf(response: ServerResponse, { status, body }: Reply): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/x-amz-json-1.0", "content-length": text.length });
  response.write(text.slice(0, text.length / 2), () => response.destroy());
}
