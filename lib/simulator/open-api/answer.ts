import { notSimulatedCode } from "../../errors.ts";

/** The platform's answer: `code` 0 and data, or another code and a message. */
export interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  /** Instead of the body: a file. */
  readonly bytes?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/**
 * The codes with their HTTP status and message.
 * https://open.feishu.cn/document/ukTMukTMukTM/ugjM14COyUjL4ITN, and the pages of the APIs themselves.
 * Where no page documents the status, it is 200 for the codes of tokens and 400 for all others.
 */
const refusals: ReadonlyMap<number, readonly [status: number, msg: string]> = new Map([
  // Tokens.
  [10003, [200, "invalid parameter"]],
  [10005, [200, "app id unauthorized"]],
  [10012, [200, "get app access token fail"]],
  [10013, [200, "get tenant access token fail"]],
  [10014, [200, "app unauthorized"]],
  [10015, [200, "wrong app secret"]],
  [10016, [200, "app resend fail"]],
  // The gateway.
  [10500, [500, "internal server error"]],
  [99991201, [404, "resource not find"]],
  [99991301, [405, "request method doesn't match"]],
  [99991400, [429, "request trigger frequency limit"]],
  [99991661, [400, "Need a token"]],
  [99991662, [400, "app not in use"]],
  [99991663, [400, "Invalid access token for authorization. Please make a request with token attached"]],
  [99991664, [400, "invalid app token"]],
  [99991668, [400, "Invalid access token for authorization. Please make a request with token attached."]],
  [99991671, [400, "Invalid token: must start with t-/u-"]],
  [9499, [400, "bad request"]],
  // Messages.
  [230001, [400, "Your request contains an invalid request parameter"]],
  [230002, [400, "The bot can not be outside the group"]],
  [230011, [400, "The message is recalled"]],
  [230012, [400, "Bot is NOT the sender of the message"]],
  [230017, [400, "Bot is NOT the owner of the resource"]],
  [230019, [400, "The thread does NOT exist"]],
  [230020, [400, "This operation triggers the frequency limit"]],
  [230025, [400, "The length of the message content reaches its limit"]],
  [230026, [400, "No permission to recall this message"]],
  [230027, [400, "Lack of necessary permissions"]],
  [230031, [400, "Message can only be modified within 14 days after sending"]],
  [230033, [400, "Get the reading status must be done within 7 days after the message is sent"]],
  [230034, [400, "The receive_id is invalid"]],
  [230049, [400, "The message is being sent"]],
  [230054, [400, "This operation is not supported for this message type"]],
  [230055, [400, "The type of file upload does not match the type of message being sent"]],
  [230061, [400, "The message type does not support forwarding"]],
  [230064, [400, "The thread to be forwarded is invalid"]],
  [230065, [400, "The message to be forwarded has been recalled"]],
  [230071, [400, "The operator is not the sender of the message"]],
  [230072, [400, "The message has reached the number of times it can be edited"]],
  [230099, [400, "Failed to create card content"]],
  [230110, [400, "Action unavailable as the message has been deleted"]],
  // Reactions.
  [231001, [400, "reaction type is invalid."]],
  [231002, [400, "The operator has no permission to react on the specific message."]],
  [231003, [400, "The message is not found, maybe not exist or deleted."]],
  [231007, [400, "The operator has no permission to delete this reaction."]],
  [231008, [400, "The operator has no access to the message."]],
  [231010, [400, "The reaction does not belong to the message."]],
  [231011, [400, "The request has an invalid reaction_id."]],
  [231012, [400, "The request has an invalid pageToken."]],
  [231014, [400, "user_id_type is invalid."]],
  // Chats.
  [232001, [400, "Your request contains an invalid request parameter."]],
  [232002, [400, "No Permission: Only chat owner or admin can edit chat information in the current situation."]],
  [232006, [400, "Your request specifies a chat_id which is invalid."]],
  [232008, [400, "Your request specifies a chat whose type is NOT supported currently."]],
  [232011, [400, "Operator can NOT be out of the chat."]],
  [232012, [400, "New chat owner can NOT be out of the chat."]],
  [232043, [400, "Your request contains unavailable ids."]],
  // Images and files.
  [234001, [400, "Invalid request param"]],
  [234003, [400, "File not in msg"]],
  [234004, [400, "App not in chat"]],
  [234005, [400, "Image has been deleted"]],
  [234006, [400, "The file size exceed the max value"]],
  [234008, [400, "The app is not the resource sender"]],
  [234010, [400, "The file size can't be 0"]],
  [234011, [400, "Can't regonnize the image format."]],
  [234043, [400, "Unsupported message type."]],
  // Delayed card update.
  [10002, [400, "invalid card parameter"]],
  [11311, [400, "invalid card"]],
  [100000, [400, "card content exceeds the limit"]],
  [100030, [400, "the parameters are not JSON"]],
  [200000, [400, "the card is recalled"]],
  [200310, [400, "the card belongs to another app"]],
  [200320, [400, "open_ids are invalid"]],
  [300020, [400, "the token is malformed"]],
  [300030, [400, "the token has expired"]],
  [300040, [400, "the token is used up"]],
  [300090, [400, "open_ids are required for a card that is not shared"]],
  // Card entities.
  [200220, [400, "Failed to generate card content"]],
  [200740, [400, "The card entity does not exist"]],
  [200750, [400, "The card entity has expired"]],
  [200770, [400, "UUID conflict"]],
  [200810, [400, "The card is in an ongoing interaction and cannot be updated"]],
  [200850, [400, "Card streaming timeout"]],
  [200860, [400, "Card content exceeds limit."]],
  [300121, [400, "Failed to replace element"]],
  [300122, [400, "Failed to update card configuration"]],
  [300301, [400, "Duplicate element_id in card component."]],
  [300302, [400, "update_multi property is false"]],
  [300303, [400, "Only schema 2.0 is supported"]],
  [300305, [400, "The number of card components exceeds 200"]],
  [300307, [400, "The card DSL is empty"]],
  [300309, [400, "Card streaming closed"]],
  [300310, [400, "Only update text"]],
  [300311, [400, "The current application does not have permission to update/use this card"]],
  [300312, [400, "Unable to update element tag"]],
  [300313, [400, "Failed to update element properties"]],
  [300314, [400, "Failed to delete element"]],
  [300315, [400, "Failed to add element"]],
  [300317, [400, "The sequence number for operating on the card did not increment consecutively"]],
  // Contacts.
  [40001, [400, "invalid parameter"]],
  [40015, [400, "department not exist"]],
  [41012, [400, "user id invalid error"]],
  // Approvals.
  [1390001, [400, "param is invalid"]],
  [1390002, [400, "approval code not found"]],
  [1390003, [400, "instance code not found"]],
  [1390004, [400, "user_id or open_id not found"]],
  [1390007, [400, "subscription existed"]],
  [1390010, [400, "task not found"]],
]);

/**
 * A call that the simulator does not know. The platform has no such code, so that nobody takes it for the platform's
 * answer. The status makes a client try again, because the call may be right: the developer adds an answer meanwhile.
 */
export class NotSimulated extends Error {
  override readonly name = "NotSimulated";

  constructor(method: string, path: string) {
    super(`the simulated Feishu has no ${method} ${path}: give it an answer in test/simulated/, or use a real app`);
  }
}

/** Ends an operation with one of the platform's codes. It is thrown before anything has changed. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: number;
  readonly headers: Answer["headers"];

  /** @param ext The detail that the answer shows. It must not contain a secret. */
  constructor(code: number, ext?: string, headers?: Answer["headers"]) {
    super(ext);
    this.code = code;
    this.headers = headers;
  }
}

/** There were too many calls. `resetSeconds`: how long the platform asks to wait. */
export function rateLimited({ resetSeconds, limit }: { resetSeconds: number; limit: number }): Refusal {
  return new Refusal(99991400, "", {
    "x-ogw-ratelimit-limit": String(limit),
    "x-ogw-ratelimit-reset": String(resetSeconds),
  });
}

export function notSimulated({ message }: NotSimulated): Answer {
  return { status: 501, body: { code: notSimulatedCode, msg: message, data: {} } };
}

export function success(data: object = {}): Answer {
  return { status: 200, body: { code: 0, msg: "success", data } };
}

/** An answer with a code. A code that is not in the list above has the HTTP status 400 unless `status` is given. */
export function refused(
  code: number,
  options: { ext?: string; status?: number | undefined; msg?: string; headers?: Answer["headers"] } = {},
): Answer {
  const [defaultStatus, defaultMsg] = refusals.get(code) ?? [400, "refused"];
  const { ext = "", status = defaultStatus, msg = defaultMsg, headers } = options;
  return { status, body: { code, msg: ext === "" ? msg : `${msg}, ext=${ext}`, data: {} }, headers };
}
