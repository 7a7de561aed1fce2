import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NonRetryableError, OpenApiError, RetryLaterError } from "../../lib/errors.ts";
import { createTransport } from "../../lib/open-api/transport.ts";
import { impatient, messagesPath, tokenPath } from "../support/api.ts";
import { testClock } from "../support/clock.ts";

const origin = "https://open.feishu.cn";
const patch = "/open-apis/im/v1/messages/om_1";
const cardPath = "/open-apis/interactive/v1/card/update";

/** What became of a call that is always answered with this code, and the token of each try. */
async function callAnswered(code: number, { path = messagesPath, status = 400 } = {}) {
  const tokens: (string | undefined)[] = [];
  const signal = new AbortController().signal;
  const send = createTransport(
    { key: "key-1", tenant: null, signal, remainingMs: () => 60_000 },
    {
      ...{ origin, clock: impatient(testClock()), random: () => 0 },
      token: async (_tenant, refused) => (refused === undefined ? "t-1" : "t-2"),
    },
  );
  const headers = new Map([["x-ogw-ratelimit-reset", "0"]]);
  const error: unknown = await send({ method: "GET", url: new URL(path, origin) }, async ({ authorization }) => {
    tokens.push(authorization?.replace("Bearer ", ""));
    return { status, headers, body: { code } };
  }).then(
    () => assert.fail("the call succeeded"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof Error);
  return { tokens, error };
}

/** The platform's own meaning of each code: its pages of common errors, of messages, reactions, files and cards. */
const meanings: readonly { verdict: string; path?: string; codes: Readonly<Record<number, string>> }[] = [
  {
    verdict: "renew",
    codes: {
      99991663: "the tenant's token is invalid or has expired",
      99991664: "the app's token is invalid",
      99991665: "the tenant's token is invalid",
      99991668: "the user's token is invalid",
      99991671: "the token has no prefix that the platform gives",
    },
  },
  {
    verdict: "wait",
    codes: {
      99991400: "too many calls",
      11232: "the app creates messages too often",
      11233: "the app sends to this chat too often",
      11247: "the chat gets messages too often",
      230020: "this receiver gets messages too often",
    },
  },
  {
    verdict: "retry",
    codes: { 230049: "the message with this uuid is being sent" },
  },
  {
    verdict: "dead",
    codes: {
      9499: "a member has the wrong type or name",
      10003: "a parameter is missing or wrong",
      99991201: "the path or the method does not exist",
      99991301: "the request cannot be read",
      10005: "the app or the tenant is not authorised",
      10013: "no token is given out for the tenant",
      10014: "the app is disabled",
      99991401: "the caller's address is not on the app's list",
      99991403: "the month's quota is used up",
      99991662: "the app is not in use",
      99991672: "the app lacks a permission",
      99991673: "the app cannot be used in this tenant",
      230001: "a parameter of the message is wrong",
      230002: "the bot is not in the chat",
      230006: "the app has no bot",
      230011: "the message was recalled",
      230013: "the user is outside the app's range",
      230017: "the file is another app's",
      230018: "the chat does not let the bot speak",
      230019: "the topic does not exist",
      230022: "the content was refused",
      230025: "the message is too long",
      230026: "the bot may not recall this message",
      230027: "the permission is missing, or the chat is external",
      230028: "the tenant's data leak prevention refused the message",
      230029: "the user has left",
      230031: "the message is over 14 days old",
      230034: "the receiver's id is of another kind",
      230035: "the bot may not send to this chat",
      230038: "the user is another tenant's",
      230053: "the user has blocked the bot",
      230054: "the message's type cannot do this",
      230055: "the file's type is another one",
      230061: "a message of this type cannot be forwarded",
      230065: "the messages to be forwarded were recalled",
      230071: "the chat has no topics, or another sent the message",
      230072: "the message is aggregated, or was edited too often",
      230075: "the chat is encrypted, or it is too late to edit",
      230099: "the card cannot be made",
      230110: "the message was deleted",
      231001: "there is no such emoji",
      231002: "the bot may not react to this message",
      231003: "the message to react to is gone",
      234001: "a parameter of a file's call is wrong",
      234003: "the file is not in this message",
      234004: "the bot is not in the file's chat",
      234005: "the image was deleted",
      234006: "the file is too large",
      234008: "the file is another app's",
      234010: "the file is empty",
      234011: "the image is none that the platform knows",
      234043: "a message of this type gives no files out",
    },
  },
  {
    verdict: "dead",
    path: cardPath,
    codes: {
      300020: "the click's credential is malformed",
      300030: "the click's credential is over 30 minutes old",
      300040: "the click's credential was used up",
      300090: "the card is not shared, and no user is named",
      200000: "the message was recalled",
      200310: "the card is another app's",
      200320: "the users named do not see this card",
      100000: "the card is too large",
      100030: "the card is not JSON",
      10002: "a parameter of the card is wrong",
      11311: "the card is invalid",
    },
  },
];

const attempts: Readonly<Record<string, { tokens: readonly string[]; thrown: new (...args: never[]) => Error }>> = {
  renew: { tokens: ["t-1", "t-2"], thrown: OpenApiError },
  wait: { tokens: ["t-1", "t-1", "t-1"], thrown: RetryLaterError },
  retry: { tokens: ["t-1", "t-1", "t-1"], thrown: OpenApiError },
  dead: { tokens: ["t-1"], thrown: NonRetryableError },
  /** The event's next run calls again. */
  "fail this run": { tokens: ["t-1"], thrown: OpenApiError },
};

describe("a code of the platform's", () => {
  for (const { verdict, path = messagesPath, codes } of meanings) {
    for (const [code, meaning] of Object.entries(codes)) {
      test(`${code} (${meaning}): ${verdict}`, async () => {
        const { tokens, error } = await callAnswered(Number(code), { path });
        assert.deepEqual(tokens, attempts[verdict]?.tokens);
        assert.equal(error.constructor, attempts[verdict]?.thrown);
        const failure = error instanceof OpenApiError ? error : error.cause;
        assert.ok(failure instanceof OpenApiError && failure.apiCode === Number(code));
      });
    }
  }

  // The platform's page of the token: a person has to correct the secret, and the event waits for that.
  for (const code of [10003, 10014, 10015]) {
    test(`${code} to the call for a token: fail this run, with what to check`, async () => {
      const { tokens, error } = await callAnswered(code, { path: tokenPath });
      assert.deepEqual(tokens, ["t-1"]);
      assert.equal(error.constructor, OpenApiError);
      assert.match(error.message, /Check APP_SECRET and APP_ID/);
    });
  }

  const unlisted: readonly { status: number; code: number; verdict: string }[] = [
    { status: 400, code: 1_254_607, verdict: "fail this run" },
    { status: 400, code: 10015, verdict: "fail this run" },
    { status: 400, code: 99991677, verdict: "fail this run" },
    { status: 499, code: 1, verdict: "fail this run" },
    { status: 500, code: 10500, verdict: "retry" },
    { status: 430, code: 1, verdict: "fail this run" },
    { status: 429, code: 1, verdict: "wait" },
    { status: 428, code: 1, verdict: "fail this run" },
    // The code comes before the status. The simulated Feishu has no such call, until the developer gives it an answer.
    { status: 501, code: -501, verdict: "fail this run" },
    { status: 500, code: 230002, verdict: "dead" },
    { status: 429, code: 230002, verdict: "dead" },
    { status: 200, code: 230002, verdict: "dead" },
  ];
  for (const { status, code, verdict } of unlisted) {
    test(`${code} under the status ${status}: ${verdict}`, async () => {
      const { tokens, error } = await callAnswered(code, { path: patch, status });
      assert.deepEqual(tokens, attempts[verdict]?.tokens);
      assert.equal(error.constructor, attempts[verdict]?.thrown);
    });
  }
});
