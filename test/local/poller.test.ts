import assert from "node:assert/strict";
import { test } from "node:test";
import { deletable, toRecord } from "../../lib/local/poller.ts";

const records = ["a", "b", "c"].map((id) => toRecord({ MessageId: id, ReceiptHandle: `receipt-${id}`, Body: "{}" }));

const answers = [
  { when: "the list is empty", answer: { batchItemFailures: [] }, deleted: ["a", "b", "c"] },
  { when: "there is no answer", answer: undefined, deleted: ["a", "b", "c"] },
  { when: "the answer is null", answer: null, deleted: ["a", "b", "c"] },
  { when: "the answer is an empty object", answer: {}, deleted: ["a", "b", "c"] },
  { when: "the list is null", answer: { batchItemFailures: null }, deleted: ["a", "b", "c"] },
  {
    when: "the member is misspelt",
    answer: { batchitemfailures: [{ itemIdentifier: "a" }] },
    deleted: ["a", "b", "c"],
  },
  { when: "one record is named", answer: { batchItemFailures: [{ itemIdentifier: "b" }] }, deleted: ["a", "c"] },
  { when: "an id is empty", answer: { batchItemFailures: [{ itemIdentifier: "" }] }, deleted: [] },
  { when: "an id is null", answer: { batchItemFailures: [{ itemIdentifier: null }] }, deleted: [] },
  { when: "an id is unknown", answer: { batchItemFailures: [{ itemIdentifier: "z" }] }, deleted: [] },
  { when: "the key is misnamed", answer: { batchItemFailures: [{ id: "a" }] }, deleted: [] },
  { when: "an entry is a text", answer: { batchItemFailures: ["a"] }, deleted: [] },
  { when: "an entry is null", answer: { batchItemFailures: [null] }, deleted: [] },
  { when: "the list is a text", answer: { batchItemFailures: "a" }, deleted: [] },
  { when: "the answer is a text", answer: "done", deleted: [] },
];

for (const { when, answer, deleted } of answers) {
  test(`the local event source deletes ${deleted.length === 0 ? "nothing" : deleted.join(", ")} when ${when}, as Lambda does`, () => {
    assert.deepEqual(
      deletable(records, answer).map(({ messageId }) => messageId),
      deleted,
    );
  });
}
