import { type Answer, Refusal, success } from "./answer.ts";
import { type Call, type Route, required } from "./route.ts";

const megabyte = 1024 * 1024;
const malformed = 234001;
/** Upload and download of each kind, and the most bytes. */
const kinds = [
  { name: "image", path: "images", limitBytes: 10 * megabyte, texts: ["image_type"], prefix: "img_v3_" },
  { name: "file", path: "files", limitBytes: 30 * megabyte, texts: ["file_type", "file_name"], prefix: "file_v3_" },
] as const;

/** Key → what was uploaded. */
export type Uploads = Map<string, Uint8Array>;

/**
 * Uploads of images and files, and their downloads.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/image/create
 * (and `…/image/get`, `…/file/create`, `…/file/get`)
 */
export function uploadRoutes(newId: () => string, uploads: Uploads): Route[] {
  function upload({ body }: Call, { name, limitBytes, texts, prefix }: (typeof kinds)[number]): Answer {
    for (const text of texts) required(body, text, malformed);
    const bytes = body[name];
    if (!(bytes instanceof Uint8Array)) throw new Refusal(malformed, `${name} is not a file of a form`);
    if (bytes.length === 0) throw new Refusal(234010);
    if (bytes.length > limitBytes) throw new Refusal(234006);
    const key = `${prefix}${newId()}`;
    uploads.set(key, bytes);
    return success({ [`${name}_key`]: key });
  }

  function download({ params }: Call): Answer {
    const bytes = uploads.get(params.get("key") ?? "");
    if (bytes === undefined) throw new Refusal(234003);
    const headers = { "Content-Type": "application/octet-stream" };
    return { status: 200, body: {}, bytes, headers };
  }

  return kinds.flatMap((kind) => {
    const path = `/open-apis/im/v1/${kind.path}`;
    const place = { access: "tenant", malformed } as const;
    return [
      { ...place, method: "POST", path, operation: (call: Call) => upload(call, kind) },
      { ...place, method: "GET", path: `${path}/:key`, operation: download },
    ];
  });
}
