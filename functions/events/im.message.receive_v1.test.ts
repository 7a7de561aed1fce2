import assert from "node:assert/strict";
import { test } from "node:test";
import { contextFor, withOpenApi } from "larkpost/test";
import handler from "./im.message.receive_v1.ts";

test("answers with what was said", async (t) => {
  const sample = contextFor("im.message.receive_v1");
  const { context, sent } = await withOpenApi(t, sample.context);
  await handler.handle(sample.event, context);
  assert.match(sent()[0]?.content ?? "", /You said/);
});
