import { hash, randomUUID } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createTable, type Input, type Reply } from "./table.ts";

/** What goes wrong with one call. */
export type Fault =
  | "none"
  /** Before the effect: refused with 5xx, throttled, denied for lack of a permission (the SDK does not retry that), or cut off. */
  | "unavailable"
  | "throttled"
  | "denied"
  | "cut"
  /** After the effect: the connection is cut, the answer is a 5xx, or half of it is missing. */
  | "lost"
  | "failed"
  | "truncated"
  /** Never answered: without effect, with it, or with it long after the caller gave up. */
  | "stall"
  | "mute"
  | "late"
  /** `kill -9` of the calling process, before or after the effect. */
  | "kill"
  | "kill-after";

export type QueueName = "events" | "dead-letters" | "quarantine";

export interface Message {
  readonly id: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, { readonly StringValue: string; readonly DataType: string }>>;
  readonly groupId: string | undefined;
  readonly sentAtMs: number;
  visibleAtMs: number;
  firstReceivedAtMs: number;
  receives: number;
  isDeleted: boolean;
}

export interface Call {
  /** Access key id of the caller: each process has its own. */
  readonly process: string;
  readonly action: string;
  readonly queue: QueueName | undefined;
  readonly input: Input;
}

export interface CloudOptions {
  /** In the simulation's time. */
  readonly nowMs: () => number;
  readonly secrets: string;
  /** Decides what goes wrong with a call; `done` runs what is left of it. */
  readonly decide: (call: Call) => Fault;
  /** Runs the effect of a `late` call at some later time. */
  readonly later: (effect: () => void) => void;
  readonly kill: (process: string) => void;
  /** Is told the effect of a call. Returns nothing. */
  readonly onEffect: (call: Call, reply: Reply, message: Message | undefined) => void;
  readonly onUnknown: (error: unknown) => void;
}

/**
 * SQS, DynamoDB and SSM on one port of 127.0.0.1, in memory and on AWS's JSON protocols: as much of them as the built
 * functions call. An effect happens at once or not at all, and before its answer leaves.
 */
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
      const call: Call = {
        process: /Credential=([\w-]+)/.exec(authorization)?.[1] ?? "",
        action: String(target).replace(/^.*\./, ""),
        queue:
          input["QueueUrl"] === undefined ? undefined : (/[^/]+$/.exec(String(input["QueueUrl"]))?.[0] as QueueName),
        input,
      };
      try {
        serve(call, response);
      } catch (error) {
        options.onUnknown(error);
        response.destroy();
      }
    });
  });

  function serve(call: Call, response: ServerResponse): void {
    const fault = options.decide(call);
    const refusal = refusals.get(fault);
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
    let message: Message | undefined;
    const apply = (): Reply => {
      if (call.action === "SendMessage") {
        message = toMessage(call.input);
        const MD5OfMessageBody = hash("md5", message.body);
        return { status: 200, body: { MessageId: message.id, MD5OfMessageBody } };
      }
      if (call.action === "ChangeMessageVisibility") {
        message = receipts.get(String(call.input["ReceiptHandle"]));
        return changeVisibility(message, call.input);
      }
      if (call.action === "GetParameter") {
        return {
          status: 200,
          body: { Parameter: { Name: call.input["Name"], Type: "SecureString", Value: options.secrets } },
        };
      }
      return table.call(call.action, call.input);
    };
    const reply = apply();
    options.onEffect(call, reply, message);
    return reply;
  }

  function toMessage(input: Input): Message {
    const delayMs = 1000 * Number(input["DelaySeconds"] ?? 0);
    return {
      id: randomUUID(),
      body: String(input["MessageBody"]),
      attributes: (input["MessageAttributes"] ?? {}) as Message["attributes"],
      groupId: input["MessageGroupId"] as string | undefined,
      sentAtMs: nowMs(),
      visibleAtMs: nowMs() + delayMs,
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

  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    endpoint,
    table: table.items,
    receipts,
    async stop(): Promise<void> {
      server.closeAllConnections();
      await new Promise((stopped) => server.close(stopped));
    },
  };
}

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

/** The head promises more than comes. */
function sendHalf(response: ServerResponse, { status, body }: Reply): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/x-amz-json-1.0", "content-length": text.length });
  response.write(text.slice(0, text.length / 2), () => response.destroy());
}
