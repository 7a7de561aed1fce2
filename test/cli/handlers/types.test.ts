import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { catalogue } from "../../../lib/simulator/catalogue.ts";
import { larkpost, larkpostProcess, temporaryRoot } from "../run.ts";

describe("types", { concurrency: 3 }, () => {
  test("lists the types that have every word, with a mark for a handler and for a sample", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    mkdirSync(join(root, "functions/events"), { recursive: true });
    writeFileSync(join(root, "functions/events/im.message.reaction.deleted_v1.ts"), "");
    const { code, stdout } = await larkpostProcess(["types", "reaction", "im."], { root });
    assert.equal(code, 0);
    assert.equal(
      stdout,
      [
        "type                            version  kind   domain  title             handler  sample",
        "im.message.reaction.created_v1  v2.0     event  im      Reaction added             yes",
        "im.message.reaction.deleted_v1  v2.0     event  im      Reaction removed  yes",
        `2 of ${catalogue.length} types`,
        "",
      ].join("\n"),
    );
  });

  test("shows domain and title in Chinese when that was searched in, in columns as a terminal has them", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    const { code, stdout } = await larkpost(["types", "员工离职"], { root });
    assert.equal(code, 0);
    assert.equal(
      stdout,
      [
        "type                     version  kind   domain  title     handler  sample",
        "contact.user.deleted_v3  v2.0     event  通讯录  员工离职           yes",
        "user_leave               v1.0     event  通讯录  员工离职",
        `2 of ${catalogue.length} types`,
        "",
      ].join("\n"),
    );
    const untitled = await larkpost(["types", "视频会议", "invited"], { root });
    assert.match(untitled.stdout, /视频会议 {2}Bot invited to meeting/);
  });

  test("marks a callback's handler by its file under callbacks, and by no other", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    for (const file of ["callbacks/card.action.trigger.ts", "events/url.preview.get.ts", "callbacks/app_ticket.ts"]) {
      mkdirSync(join(root, "functions", dirname(file)), { recursive: true });
      writeFileSync(join(root, "functions", file), "");
    }
    const [callbacks, ticket] = await Promise.all([
      larkpost(["types", "callback", "--json"], { root }),
      larkpost(["types", "app_ticket", "--json"], { root }),
    ]);
    const entries = JSON.parse(callbacks.stdout) as { type: string; kind: string; hasHandler: boolean }[];
    assert.deepEqual(
      entries.map(({ type, kind, hasHandler }) => [type, kind, hasHandler]),
      [
        ["card.action.trigger", "callback", true],
        ["card.action.trigger_v1", "callback", false],
        ["url.preview.get", "callback", false],
        ["profile.view.get", "callback", false],
      ],
    );
    assert.deepEqual(
      (JSON.parse(ticket.stdout) as { hasHandler: boolean }[]).map(({ hasHandler }) => hasHandler),
      [false],
    );
  });

  test("--json prints an array and nothing else", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    const [all, none] = await Promise.all([
      larkpost(["types", "--json"], { root }),
      larkpost(["types", "nothing", "like", "this", "--json"], { root }),
    ]);
    assert.equal((JSON.parse(all.stdout) as unknown[]).length, catalogue.length);
    assert.deepEqual([none.code, JSON.parse(none.stdout)], [1, []]);
  });

  test("names the nearest types and exits with 1 when nothing is found", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    const { code, stdout, stderr } = await larkpost(["types", "mesage"], { root });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^No type has "mesage"\. Nearest: "message", /);
  });
});
