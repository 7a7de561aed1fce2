import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { columnsOf } from "../../../lib/cli/paint.ts";
import { catalogue } from "../../../lib/simulator/catalogue.ts";
import { nearest } from "../../../lib/simulator/nearest.ts";
import { larkpost, larkpostProcess, temporaryRoot } from "../run.ts";

describe("types", { concurrency: 3 }, () => {
  test("lists the types that have every word, with a mark for a handler and for a sample, through the pager when it is longer than the terminal", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    mkdirSync(join(root, "functions/events"), { recursive: true });
    writeFileSync(join(root, "functions/events/im.message.reaction.deleted_v1.ts"), "");
    writeFileSync(join(root, "pager.mjs"), 'console.log("paged"); process.stdin.pipe(process.stdout);');
    const terminal = "data:text/javascript,Object.assign(process.stdout,{isTTY:true,rows:4,getColorDepth:()=>1})";
    const pager = `${process.execPath} ${join(root, "pager.mjs")}`;
    const env = { NODE_OPTIONS: `--import=${terminal}`, PAGER: pager };
    const { code, stdout } = await larkpostProcess(["types", "reaction", "im."], { root, env });
    assert.equal(code, 0);
    assert.equal(
      stdout,
      [
        "paged",
        "im",
        " · im.message.reaction.created_v1  Reaction added",
        "✔  im.message.reaction.deleted_v1  Reaction removed",
        `2 of ${catalogue.length} types. ✔ has a handler here, · has a sample for npm run send`,
        "",
      ].join("\n"),
    );
  });

  test("shows domain and title in Chinese when that was searched in, in the 80 columns of a terminal", async (t) => {
    const { root, remove } = temporaryRoot();
    t.after(remove);
    const { code, stdout } = await larkpost(["types", "员工离职"], { root });
    assert.equal(code, 0);
    assert.equal(
      stdout,
      [
        "通讯录",
        " · contact.user.deleted_v3  员工离职",
        "   user_leave               员工离职 (1.0)",
        `2 of ${catalogue.length} types. ✔ has a handler here, · has a sample for npm run send`,
        "",
      ].join("\n"),
    );
    const all = await larkpost(["types", "事件"], { root });
    for (const line of [...all.stdout.split("\n"), ...(await larkpost(["types"], { root })).stdout.split("\n")]) {
      assert.ok(columnsOf(line) <= 80, line);
    }
    const untitled = await larkpost(["types", "视频会议", "invited"], { root });
    assert.equal(untitled.code, 0);
    assert.match(untitled.stdout, /^视频会议\n.*Bot invited to meeting/);
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
    assert.equal(ticket.code, 0);
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
    assert.match(stderr, /^No type has "mesage"\. Nearest: "message"\n$/);
    const misspelt = await larkpost(["types", "calender", "v4"], { root });
    assert.equal(misspelt.stderr, 'No type has "calender v4". Did you mean "calendar v4"?\n');
    assert.equal((await larkpost(["types", "foo"], { root })).stderr, 'No type has "foo"\n');
    // Three letters may be a part of a name. Two would be a part of many.
    assert.deepEqual(nearest("abc", ["xxabcxx", "abd"], 1), ["xxabcxx"]);
    assert.deepEqual(nearest("ab", ["xxabxx", "ac"], 1), ["ac"]);
    assert.deepEqual(nearest("sned", ["new", "send"], 1), ["send"]);
  });
});
