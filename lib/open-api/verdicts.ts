/** What a call's failure asks for. */
export type ApiVerdict =
  /** The token is not taken: another one, and once more. */
  | "token"
  /** Too many calls: later, when the platform says. */
  | "rate"
  /** The app's ticket is missing or old: the platform is to send another. */
  | "ticket"
  /** A token was asked for with an id or a secret that is not the app's, or the app is off: for a person to mend. */
  | "secret"
  /** It will fail again, however often it is tried. */
  | "permanent"
  /** It may go well at once. */
  | "transient"
  /** Nobody knows; if it goes well, then at another time. */
  | "unknown";

/**
 * https://open.feishu.cn/document/server-docs/api-call-guide/generic-error-code, and the pages of the APIs themselves
 * (https://open.feishu.cn/document/server-docs/im-v1/message/create, …/reply, …/forward, …/patch).
 */
const verdicts: ReadonlyMap<number, ApiVerdict> = new Map<number, ApiVerdict>([
  ...list("token", [99991663, 99991664, 99991665, 99991668, 99991671]),
  ...list("rate", [99991400, 11232, 11233, 11247, 230020]),
  ...list("ticket", [10012]),
  // A message that is being sent under the same uuid, by a call whose answer was lost.
  ...list("transient", [230049]),
  ...list("permanent", [
    // The call itself.
    ...[9499, 10003, 99991201, 99991301],
    // The app: switched off, not installed, without a right, out of its quota.
    ...[10005, 10013, 10014, 99991401, 99991403, 99991662, 99991672, 99991673],
    // The message: recalled or deleted, to nobody, from a bot that is not there or not wanted, too long, or no card.
    ...[230001, 230002, 230006, 230011, 230013, 230017, 230018, 230019, 230022, 230025, 230026, 230027, 230028, 230029],
    ...[230031, 230034, 230035, 230038, 230053, 230054, 230055, 230061, 230065, 230071, 230072, 230075, 230099, 230110],
    // The card: its credential malformed, over or used up; not ours, too large, recalled, or none.
    ...[300020, 300030, 300040, 300090, 200000, 200310, 200320, 100000, 100030, 10002, 11311],
  ]),
]);

function list(verdict: ApiVerdict, codes: readonly number[]): [number, ApiVerdict][] {
  return codes.map((code) => [code, verdict]);
}

const tokenPaths = "/open-apis/auth/v3/";
/**
 * What a wrong secret gets there; which of them is not the same everywhere. Whoever has changed it in the console is
 * about to change it here.
 */
const secretCodes: ReadonlySet<number | undefined> = new Set([10003, 10014, 10015]);

/** Judges a failed call by the platform's code (on the paths that give tokens some mean another thing), else by its HTTP status. */
export function verdictOf(status: number, code: number | undefined, path = ""): ApiVerdict {
  if (path.startsWith(tokenPaths) && secretCodes.has(code)) return "secret";
  const known = code === undefined ? undefined : verdicts.get(code);
  if (known !== undefined) return known;
  if (status === 429) return "rate";
  return status >= 500 ? "transient" : "unknown";
}
