import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { httpApi } from "../support/http-events.ts";
import { appId, challengeText, encryptKey, push, unsigned, v2Text, verificationToken } from "../support/push.ts";

/** The settings that the requests below are made for. */
export const keysEnv = { APP_ID: appId, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
export const eventType = "im.message.receive_v1";

export const scripts = {
  ASCII: "The pallet left the yard at noon and should be with you before the gate shuts. ",
  Chinese: "货物中午已经出库，预计今天下班之前送到你们的仓库门口，请提前安排人手收货。",
};
export type Script = keyof typeof scripts;

/**
 * A message of `bytes` bytes. Its content is what the platform makes of a long post: JSON within a
 * JSON string, so full of escaped quotes.
 */
export function messageText(bytes: number, script: Script = "ASCII"): string {
  const paragraph = { tag: "text", text: scripts[script] };
  const textOf = (paragraphs: number, rest: string) =>
    v2Text({
      header: { event_id: "5e3702a84e847582be8db7fb73283c02", tenant_key: "2d94f07b61c8e35a" },
      event: {
        sender: {
          sender_id: {
            open_id: "ou_1b7e40c2d95f4a83b6e0c71f2a9d3548",
            union_id: "on_84d1f7a06c3e49b2a5f81c0e7d62b394",
            user_id: "4c8d21fa",
          },
          sender_type: "user",
          tenant_key: "2d94f07b61c8e35a",
        },
        message: {
          message_id: "om_e150ecf06637b0cb35779f6b356d7131",
          create_time: "1759999998900",
          chat_id: "oc_9f27c4e81b6d40a5b3e8d0721c5f9a64",
          chat_type: "group",
          message_type: "post",
          content: JSON.stringify({ title: rest, content: [Array.from({ length: paragraphs }, () => paragraph)] }),
        },
      },
    });
  return fitted(bytes, Buffer.byteLength(JSON.stringify(JSON.stringify(paragraph))), textOf);
}

/** An event of many small members: the form in which changed table rows come. */
export function recordsText(bytes: number): string {
  const record = (n: number) => ({
    record_id: `rec${String(n).padStart(8, "0")}`,
    action: "record_edited",
    before_value: [{ field_id: "fld4f2a", field_value: String(n) }],
    after_value: [{ field_id: "fld4f2a", field_value: String(n + 1) }],
  });
  const textOf = (records: number, rest: string) =>
    v2Text({
      header: { event_type: "drive.file.bitable_record_changed_v1" },
      event: { file_token: rest, action_list: Array.from({ length: records }, (_, n) => record(n)) },
    });
  return fitted(bytes, JSON.stringify(record(0)).length, textOf);
}

/** As many parts as fit, and a rest that makes up the size. */
function fitted(bytes: number, partBytes: number, textOf: (parts: number, rest: string) => string): string {
  const size = (parts: number) => Buffer.byteLength(textOf(parts, ""));
  let parts = Math.max(0, Math.floor((bytes - size(0)) / partBytes));
  while (parts > 0 && size(parts) > bytes) parts--;
  return textOf(parts, "x".repeat(bytes - size(parts)));
}

export function signedEvent(text: string, nowMs: number): SealedRequest {
  return push(text, { nowMs });
}

/** The requests as the gateway hands them over. */
export function gatewayEvents(nowMs: number) {
  return {
    challenge: httpApi(unsigned(challengeText())),
    event: httpApi(signedEvent(messageText(1024), nowMs)),
  };
}
