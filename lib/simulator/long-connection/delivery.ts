import { type Clock, withDeadline } from "../../clock.ts";
import { dataMethod, type Frame } from "../../feishu/frame.ts";
import { parseObject } from "../../feishu/json.ts";
import { ackDeadlineMs, type PushResult, type RandomBytes } from "../platform/push.ts";
import type { Connection } from "./connection.ts";
import { serviceId } from "./discovery.ts";

export interface FrameDelivery {
  readonly appId: string;
  /** `event` is the type of events and of callbacks. */
  readonly type?: "event" | "card";
  /** The number of frames that the message is split into. Their order is random. */
  readonly parts?: number;
  readonly requestId?: string;
  readonly deadlineMs?: number;
}

/** Sends messages as frames and judges the replies as the platform does. */
export function createDelivery(options: {
  readonly connections: ReadonlySet<Connection>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly randomBytes: RandomBytes;
}) {
  const { connections, clock, random, randomBytes } = options;
  let messages = 0n;

  function framesOf(text: string, messageId: string, nowMs: number, delivery: FrameDelivery): readonly Frame[] {
    const { type = "event", parts = 1, requestId = randomBytes(16).toString("hex") } = delivery;
    messages += 1n;
    const bytes = Buffer.from(text, "utf8");
    const length = Math.ceil(bytes.length / parts);
    const frames = Array.from({ length: parts }, (_, seq): Frame => {
      const ids = { type, message_id: messageId, sum: String(parts), seq: String(seq), trace_id: requestId };
      return {
        // Too large for a double, as the platform's ids are.
        seqId: (1n << 60n) + messages,
        logId: (1n << 63n) + messages,
        service: serviceId,
        method: dataMethod,
        headers: Object.entries({ ...ids, timestamp: String(nowMs), instance_id: "simulator-1" }),
        payload: bytes.subarray(seq * length, (seq + 1) * length),
        logIdNew: requestId,
      };
    });
    return frames
      .map((frame) => ({ frame, order: random() }))
      .sort((a, b) => a.order - b.order)
      .map(({ frame }) => frame);
  }

  /**
   * Sends a message to one random client of the app. A reply of 200 within the deadline delivers it; the result's body
   * is then the callback's answer, if the message is a callback. A failure is a result, not a rejection.
   */
  return async (text: string, delivery: FrameDelivery): Promise<PushResult> => {
    const { appId, deadlineMs = ackDeadlineMs } = delivery;
    const startMs = clock.nowMs();
    const elapsedMs = () => clock.nowMs() - startMs;
    const noReply = (problem: string, code: string): PushResult => {
      return { status: null, ms: elapsedMs(), body: "", delivered: false, problem, code };
    };
    const candidates = [...connections].filter((connection) => connection.appId === appId && connection.isOpen);
    const chosen = candidates[Math.floor(random() * candidates.length)];
    if (chosen === undefined) return noReply("no client is connected", "ENOTCONN");

    const messageId = randomBytes(16).toString("hex");
    const reply = chosen.replyTo(messageId);
    for (const frame of framesOf(text, messageId, startMs, delivery)) chosen.send(frame);
    try {
      const error = () => Object.assign(new Error("the deadline is over"), { code: "ETIMEDOUT" });
      const { payload = new Uint8Array() } = await withDeadline(clock, { ms: deadlineMs, error }, () => reply);
      const { code, data } = parseObject(Buffer.from(payload).toString("utf8")) ?? {};
      const status = typeof code === "number" ? code : null;
      const body = typeof data === "string" ? Buffer.from(data, "base64").toString("utf8") : "";
      if (status === 200) return { status, ms: elapsedMs(), body, delivered: true };
      return { status, ms: elapsedMs(), body, delivered: false, problem: `replied ${status}` };
    } catch (error) {
      const { code = "ERROR" } = error as { code?: string };
      const isLate = code === "ETIMEDOUT";
      return noReply(isLate ? `no reply within ${deadlineMs / 1000} s` : "the connection ended without a reply", code);
    } finally {
      chosen.forget(messageId);
    }
  };
}
