import { notSimulatedCode } from "../errors.ts";

/** What a failed call needs. */
export type ApiVerdict =
  /** Another token: the platform refused this one. */
  | "token"
  /** A pause: too many calls. */
  | "rate"
  /** Another ticket: the app's is missing or old. */
  | "ticket"
  /** A person: the id or the secret is not the app's, or the app is off. */
  | "secret"
  /** Nothing helps: it fails again. */
  | "permanent"
  /** Another attempt at once. */
  | "transient"
  /** Perhaps an attempt at another time. */
  | "unknown";

/**
 * https://open.feishu.cn/document/server-docs/api-call-guide/generic-error-code, and the pages of the APIs themselves
 * (https://open.feishu.cn/document/server-docs/im-v1/message/create, …/reply, …/forward, …/patch, and
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-reaction/create, …/image/create,
 * …/file/create, …/message-resource/get).
 */
const codes: Partial<Record<ApiVerdict, readonly number[]>> = {
  token: [99991663, 99991664, 99991665, 99991668, 99991671],
  rate: [99991400, 11232, 11233, 11247, 230020],
  ticket: [10012],
  // The same uuid is being sent, by a call whose answer was lost.
  transient: [230049],
  // The simulated Feishu gets an answer while the event is retried.
  unknown: [notSimulatedCode],
  permanent: [
    // The call itself.
    9499, 10003, 99991201, 99991301,
    // The app: switched off, not installed, without a permission, out of its quota.
    10005, 10013, 10014, 99991401, 99991403, 99991662, 99991672, 99991673,
    // The message: recalled, deleted, too long, no card, without a receiver, or its bot is blocked or not in the chat.
    230001, 230002, 230006, 230011, 230013, 230017, 230018, 230019, 230022, 230025, 230026, 230027, 230028, 230029,
    230031, 230034, 230035, 230038, 230053, 230054, 230055, 230061, 230065, 230071, 230072, 230075, 230099, 230110,
    // A reaction: no such emoji, not allowed, or its message is gone.
    231001, 231002, 231003,
    // A file: a wrong parameter, not in the message, the bot not in its chat, deleted, too large, not this app's, empty, no
    // image, or of a message that gives none out.
    234001,
    234003, 234004, 234005, 234006, 234008, 234010, 234011, 234043,
    // The card: its token malformed, expired or used up; another app's, too large, recalled, or no card.
    300020, 300030, 300040, 300090, 200000, 200310, 200320, 100000, 100030, 10002, 11311,
  ],
};
const verdicts: ReadonlyMap<number, ApiVerdict> = new Map(
  Object.entries(codes).flatMap(([verdict, list]) => list.map((code) => [code, verdict as ApiVerdict] as const)),
);

const tokenPaths = "/open-apis/auth/v3/";
/**
 * Codes for a wrong secret on those paths. It is retried: a person who changed it in the console is about to change it
 * here.
 */
const secretCodes: ReadonlySet<number | undefined> = new Set([10003, 10014, 10015]);

/** Judges a failed call by the platform's code, else by its HTTP status. On token paths some codes have another meaning. */
export function verdictOf(status: number, code: number | undefined, path = ""): ApiVerdict {
  if (path.startsWith(tokenPaths) && secretCodes.has(code)) return "secret";
  const verdict = code === undefined ? undefined : verdicts.get(code);
  if (verdict !== undefined) return verdict;
  if (status === 429) return "rate";
  return status >= 500 ? "transient" : "unknown";
}
