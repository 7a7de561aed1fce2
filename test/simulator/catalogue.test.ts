import assert from "node:assert/strict";
import { test } from "node:test";
import { callbackTypes } from "../../lib/feishu/classify.ts";
import {
  catalogue,
  doublySubscribed,
  find,
  nearestText,
  nearestTypes,
  samePairs,
  search,
} from "../../lib/simulator/catalogue.ts";

test("the catalogue has each type once, sorted, with a title and a known version", () => {
  assert.ok(catalogue.length > 250);
  assert.equal(new Set(catalogue.map(({ type }) => type)).size, catalogue.length);
  const names = catalogue.map(({ domain, type }) => `${domain} ${type}`);
  assert.deepEqual(names, names.toSorted());
  for (const { type, version, title, chinese, isTyped } of catalogue) {
    assert.match(type, /^[a-zA-Z0-9_.]+$/);
    assert.match(version, /^[12]\.0$/);
    assert.match(title, /^[A-Z]/, type);
    if (chinese.title !== null) assert.match(chinese.title, /\p{Script=Han}/u, type);
    assert.equal(typeof isTyped, "boolean");
  }
});

test("the catalogue and the receiver agree on what a callback is", () => {
  for (const type of callbackTypes) assert.equal(find(type)?.kind, "callback");
  for (const { type, kind } of catalogue) {
    // The old card callback has a body of its own and no envelope.
    if (type !== "card.action.trigger_v1") assert.equal(kind === "callback", callbackTypes.has(type), type);
  }
});

test("finds a type by its name, and nothing by the name of an object's own parts", () => {
  assert.equal(find("im.message.receive_v1")?.title, "Message received");
  for (const name of ["__proto__", "constructor", "toString", "", "im"]) assert.equal(find(name), undefined);
});

test("searches all columns, in any order and case", () => {
  assert.deepEqual(
    search(["MESSAGE", "recalled"]).map(({ type }) => type),
    ["im.message.recalled_v1"],
  );
  assert.deepEqual(
    search(["v1.0 ticket"]).map(({ type }) => type),
    ["app_ticket"],
  );
  assert.ok(search(["callback"]).every(({ kind }) => kind === "callback"));
  assert.equal(search([]).length, catalogue.length);
  assert.deepEqual(search(["no such thing"]), []);
});

test("searches the platform's Chinese titles and domains, also with English words", () => {
  const found = (...words: string[]) => search(words).map(({ type }) => type);
  assert.deepEqual(found("接收消息"), ["im.message.receive_v1", "message"]);
  assert.deepEqual(found("离职", "contact"), ["contact.user.deleted_v3", "user_leave"]);
  assert.ok(found("日历").length > 0);
  assert.deepEqual(
    found("日历"),
    catalogue.filter(({ domain }) => domain === "calendar").map(({ type }) => type),
  );
});

test("names the nearest types for a misspelt or partial name", () => {
  assert.equal(nearestTypes("im.message.recieve_v1", 3)[0], "im.message.receive_v1");
  assert.equal(nearestTypes("aproval_instance", 1)[0], "approval_instance");
  assert.equal(nearestTypes("IM.MESSAGE.RECEIVE", 1)[0], "im.message.receive_v1");
  assert.ok(nearestTypes("reaction", 2).every((type) => type.includes("reaction")));
  for (const other of ["x".repeat(1_000_000), "my.own.type_v1", "zzz"]) assert.deepEqual(nearestTypes(other, 3), []);
  assert.deepEqual(nearestTypes("functions/events/out_approval.ts", 1), ["out_approval"]);
});

test("names the types that a title finds, and none for a name that is neither found nor in Latin letters", () => {
  assert.deepEqual(nearestTypes("员工入职", 3), ["contact.user.created_v3"]);
  assert.equal(nearestText("员工入职", 3), '. Nearest: "contact.user.created_v3"');
  for (const name of ["", "…", "不存在的"]) assert.equal(nearestText(name, 3), "");
});

test("I13: handlers for the old and the new form of one fact are told, each pair once", () => {
  assert.deepEqual(doublySubscribed(["im.message.receive_v1", "approval_instance", "message"]), [
    ["message", "im.message.receive_v1"],
  ]);
  assert.deepEqual(doublySubscribed(["leave_approvalV2", "leave_approval"]), [["leave_approval", "leave_approvalV2"]]);
  for (const [older, newer] of samePairs) assert.deepEqual(doublySubscribed([newer, older]), [[older, newer]]);
  assert.equal(doublySubscribed(catalogue.map(({ type }) => type)).length, samePairs.length);
});

test("I13: one form alone, or handlers of different facts, are no double subscription", () => {
  for (const pair of samePairs) for (const type of pair) assert.deepEqual(doublySubscribed([type]), []);
  assert.deepEqual(doublySubscribed(["message", "im.message.message_read_v1", "_default", "user_add"]), []);
});

test("I13: every pair is of known types, and but for leaves of both schemas", () => {
  for (const [older, newer] of samePairs) {
    assert.equal(find(older)?.version, "1.0", older);
    assert.equal(find(newer)?.version, newer === "leave_approvalV2" ? "1.0" : "2.0", newer);
  }
});
