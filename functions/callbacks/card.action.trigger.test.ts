import assert from "node:assert/strict";
import { test } from "node:test";
import { callbackContextFor, checkAnswer } from "larkpost/test";
import handler from "./card.action.trigger.ts";

test("answers a sample of card.action.trigger as the platform wants it", async () => {
  const { callback, context } = callbackContextFor("card.action.trigger");
  const checked = checkAnswer("card.action.trigger", await handler.handle(callback, context));
  assert.ok("answer" in checked, JSON.stringify(checked));
});
