import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { generate } from "../../../lib/cli/handlers/generate.ts";
import { larkpost, temporaryRoot } from "../run.ts";

/** A project of nothing but handler files, named by their paths below `functions/`. */
function projectWith(...files: readonly string[]) {
  const { root, remove } = temporaryRoot();
  for (const folder of ["events", "callbacks"]) mkdirSync(join(root, "functions", folder), { recursive: true });
  for (const file of files) writeFileSync(join(root, "functions", file), "");
  return { root, remove, list: (name: string) => readFileSync(join(root, "functions", name), "utf8") };
}

const both = ["functions/events.gen.ts", "functions/callbacks.gen.ts"];

test("lists events and callbacks apart, each file once, and leaves out what is no handler", async (t) => {
  const { root, remove, list } = projectWith(
    "events/approval_instance.ts",
    "events/im.message.receive_v1.ts",
    "events/im.message.receive_v1.test.ts",
    "events/im.message.receive_v1.ts.bak",
    "events/own.test.ts_v1.ts",
    "events/notes.md",
    "callbacks/card.action.trigger.ts",
    "callbacks/.hidden.ts",
  );
  t.after(remove);
  assert.deepEqual((await generate({ root })).changed, both);
  assert.equal(
    list("events.gen.ts"),
    `// Generated from functions/events/ by \`npm run generate\`. Do not edit: add or remove a file there.
import type { EventList } from "larkpost";

export const events: EventList = {
  approval_instance: () => import("./events/approval_instance.ts"),
  "im.message.receive_v1": () => import("./events/im.message.receive_v1.ts"),
  "own.test.ts_v1": () => import("./events/own.test.ts_v1.ts"),
};
`,
  );
  assert.equal(
    list("callbacks.gen.ts"),
    `// Generated from functions/callbacks/ by \`npm run generate\`. Do not edit: add or remove a file there.
import type { CallbackList } from "larkpost";

export const callbacks: CallbackList = {
  "card.action.trigger": () => import("./callbacks/card.action.trigger.ts"),
};
`,
  );
  assert.deepEqual((await generate({ root })).changed, []);
  // As a clone on Windows may have it.
  writeFileSync(join(root, "functions/events.gen.ts"), list("events.gen.ts").replaceAll("\n", "\r\n"));
  assert.deepEqual((await generate({ root })).changed, []);
});

test("a project without callbacks has an empty list of them", async (t) => {
  const { root, remove, list } = projectWith("events/app_ticket.ts");
  t.after(remove);
  rmSync(join(root, "functions/callbacks"), { recursive: true });
  await generate({ root });
  assert.match(list("callbacks.gen.ts"), /^export const callbacks: CallbackList = \{\};$/m);
});

test("a list that does not fit its folder is named, and written when it is asked for", async (t) => {
  const { root, remove, list } = projectWith("events/app_ticket.ts");
  t.after(remove);
  const stale = async () => (await generate({ root, check: true })).changed;
  await generate({ root });
  assert.deepEqual(await stale(), []);
  const before = list("callbacks.gen.ts");
  writeFileSync(join(root, "functions/callbacks/url.preview.get.ts"), "");
  assert.deepEqual(await stale(), ["functions/callbacks.gen.ts"]);
  assert.equal(list("callbacks.gen.ts"), before);
  rmSync(join(root, "functions/events/app_ticket.ts"));
  assert.deepEqual(await stale(), both);

  assert.equal((await larkpost(["generate"], { root })).stdout, `Wrote ${both.join(", ")}.\n`);
  const again = await larkpost(["generate"], { root });
  assert.deepEqual(again, { code: 0, stdout: "The generated lists are up to date.\n", stderr: "" });
  writeFileSync(join(root, "functions/events/larkpost.smoke.ai.ts"), "");
  const { code, stderr } = await larkpost(["generate"], { root });
  assert.equal(code, 1);
  assert.match(stderr, /^Cannot list functions\/events\/larkpost\.smoke\.ai\.ts: it would never run: .* Rename it\n$/);
});
