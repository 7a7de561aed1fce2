import type { Activity } from "./activity.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import type { Messages } from "./messages.ts";
import { type Call, type Route, required } from "./route.ts";
import type { World } from "./world.ts";

const megabyte = 1024 * 1024;
export const largestFileBytes = 30 * megabyte;
const malformed = 234001;
/** Upload and download of each kind, the most bytes, and the values of the member that says what it is. */
const kinds = [
  {
    name: "image",
    path: "images",
    limitBytes: 10 * megabyte,
    prefix: "img_v3_",
    typeName: "image_type",
    types: ["message", "avatar"],
  },
  {
    name: "file",
    path: "files",
    limitBytes: largestFileBytes,
    prefix: "file_v3_",
    typeName: "file_type",
    types: ["opus", "mp4", "pdf", "doc", "xls", "ppt", "stream"],
  },
] as const;

/** How the images begin that the platform recognizes, in hex: JPEG, PNG, GIF, BMP, ICO, TIFF, WebP, HEIC. */
const imageFormats =
  /^(?:ffd8ff|89504e470d0a|47494638|424d|00000100|49492a00|4d4d002a|52494646.{8}57454250|.{8}66747970(?:686569|6d6966|6d7366))/;

/** Messages whose files the platform does not give out. */
const withoutResources: ReadonlySet<string> = new Set(["interactive", "merge_forward", "sticker"]);

interface Upload {
  readonly bytes: Uint8Array;
  /** Whose it is; absent for a user's. */
  readonly appId?: string;
  readonly type?: string;
  readonly name?: string;
  readonly durationMs?: number;
}

/** Key → what was uploaded. */
export type Uploads = Map<string, Upload>;

interface UploadOptions {
  readonly newId: () => string;
  readonly uploads: Uploads;
  readonly messages: Messages;
  readonly world: World;
  readonly onActivity: (activity: Activity) => void;
}

/**
 * Uploads of images and files, their downloads, and those of what a message holds.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/image/create
 * (and `…/image/get`, `…/file/create`, `…/file/get`, `…/message-resource/get`)
 */
export function uploadRoutes({ newId, uploads, messages, world, onActivity }: UploadOptions): Route[] {
  function upload(
    { body, caller }: Call,
    { name, limitBytes, typeName, types, prefix }: (typeof kinds)[number],
  ): Answer {
    const type = required(body, typeName, malformed);
    if (!types.some((known) => known === type)) throw new Refusal(malformed, `${typeName} must be ${types.join(", ")}`);
    const about = name === "file" ? required(body, "file_name", malformed) : type;
    const bytes = body[name];
    if (!(bytes instanceof Uint8Array)) throw new Refusal(malformed, `${name} is not a file of a form`);
    if (bytes.length === 0) throw new Refusal(234010);
    if (bytes.length > limitBytes) throw new Refusal(234006);
    const start = Buffer.from(bytes.subarray(0, 12)).toString("hex");
    if (name === "image" && !imageFormats.test(start)) throw new Refusal(234011);
    const key = `${prefix}${newId()}`;
    const durationMs = Number(body["duration"] ?? Number.NaN);
    uploads.set(key, {
      bytes,
      appId: caller.appId,
      type,
      ...(name === "file" ? { name: about } : {}),
      ...(Number.isInteger(durationMs) ? { durationMs } : {}),
    });
    onActivity({ what: "uploaded", about: `${name} ${about} (${bytes.length} bytes)` });
    return success({ [`${name}_key`]: key });
  }

  function download({ bytes }: Upload): Answer {
    return { status: 200, body: {}, bytes, headers: { "Content-Type": "application/octet-stream" } };
  }

  /** An app gets only what it has uploaded itself. What a user sent is got through its message. */
  function downloadOwn({ params, caller }: Call): Answer {
    const upload = uploads.get(params.get("key") ?? "");
    if (upload === undefined) throw new Refusal(234005);
    if (upload.appId !== caller.appId) throw new Refusal(234008);
    return download(upload);
  }

  function downloadOf({ params, query, caller }: Call): Answer {
    const type = query.get("type");
    if (type !== "image" && type !== "file") throw new Refusal(malformed, "type must be image or file");
    const message = messages.find(params.get("message_id") ?? "");
    if (message === undefined) throw new Refusal(malformed, "invalid message_id");
    if (message.isRecalled) throw new Refusal(230110);
    if (!world.hasBot(message.chatId, caller.appId)) throw new Refusal(234004);
    if (withoutResources.has(message.msgType)) throw new Refusal(234043);
    const key = params.get("key") ?? "";
    const upload = uploads.get(key);
    if (upload === undefined || !message.content.includes(JSON.stringify(key))) throw new Refusal(234003);
    return download(upload);
  }

  const resource: Route = {
    method: "GET",
    path: "/open-apis/im/v1/messages/:message_id/resources/:key",
    access: "tenant",
    malformed,
    operation: downloadOf,
  };
  const both = kinds.flatMap((kind) => {
    const path = `/open-apis/im/v1/${kind.path}`;
    const place = { access: "tenant", malformed } as const;
    return [
      { ...place, method: "POST", path, operation: (call: Call) => upload(call, kind) },
      { ...place, method: "GET", path: `${path}/:key`, operation: downloadOwn },
    ];
  });
  return [resource, ...both];
}
