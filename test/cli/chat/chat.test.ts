import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { findConversation } from "../../../lib/cli/chat/link.ts";
import { writeConfig } from "../../infra/stack.ts";
import { pidOf } from "../../rows/runtime.ts";
import { nodeEnv } from "../../support/node-env.ts";
import { ask, assertRefused } from "../../support/page.ts";
import { temporaryProject } from "../../support/project.ts";
import { until } from "../../support/until.ts";
import { larkpost, projectFolder, temporaryRoot } from "../run.ts";

/** A bot as its developer might write it: what it says goes to wherever `LARK_DOMAIN` points. */
const bot = `
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { DynamoDBClient, GetItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { onEvent } from "larkpost";

const dynamo = new DynamoDBClient();

async function post(path, body, token) {
  const response = await fetch(process.env.LARK_DOMAIN + "/open-apis" + path, {
    method: "POST",
    headers: token === undefined ? {} : { authorization: "Bearer " + token },
    body: JSON.stringify(body),
  });
  return response.json();
}

export default onEvent("im.message.receive_v1", async ({ message }, { secrets, log, request }) => {
  const { text } = JSON.parse(message.content);
  if (text === "hush") return;
  if (text === "wait") {
    writeFileSync(process.env.WAITS, "");
    while (!existsSync(process.env.GO)) await setTimeout(20);
  }
  if (text === "remember") {
    const key = { id: { S: "order 17" } };
    const note = { S: process.env.NOTE + " " + secrets.CRM_TOKEN };
    await dynamo.send(new PutItemCommand({ TableName: process.env.ORDERS_TABLE, Item: { ...key, note } }));
    const { Item } = await dynamo.send(new GetItemCommand({ TableName: "Orders", Key: key }));
    log.info(Item.note.S);
    return;
  }
  if (text === "refuse") {
    await request("POST", "/open-apis/im/v1/messages/om_0/reply", { body: { msg_type: "text", content: "canary" } });
  }
  if (text === "look") {
    const { data } = await request("POST", "/open-apis/drive/v1/files/box_1/copy", { body: {} });
    log.info("copied to " + data.token);
    return;
  }
  if (text === "stumble") throw new Error("the floor is wet");
  const { APP_ID: app_id, APP_SECRET: app_secret } = process.env;
  const { tenant_access_token } = await post("/auth/v3/tenant_access_token/internal", { app_id, app_secret });
  const button = (order) => ({ tag: "button", text: { tag: "plain_text", content: "Release " + order }, value: { order } });
  const elements = [{ tag: "action", actions: [button(17), button(18), button(19)] }];
  const card = { header: { title: { tag: "plain_text", content: "Pallets" } }, elements };
  const content = text === "card" ? card : { text: "You said: " + text + "\\u001b[2J" };
  const body = { msg_type: text === "card" ? "interactive" : "text", content: JSON.stringify(content) };
  await post("/im/v1/messages/" + message.message_id + "/reply", body, tenant_access_token);
}, { key: ({ message }) => message.message_id });
`;

const clicks = `
import { onCallback } from "larkpost";

export default onCallback("card.action.trigger", ({ action }) => {
  if (action.value.order === 19) throw new Error("the gate is shut");
  if (action.value.order === 18) return { card: { type: "raw", data: { schema: "2.0", body: { elements: [{ tag: "note" }] } } } };
  const title = { tag: "plain_text", content: "Released" };
  return {
    toast: { type: "success", content: "Released " + action.value.order },
    card: { type: "raw", data: { schema: "2.0", header: { title }, body: { elements: [] } } },
  };
});
`;

const greets = `
import { onEvent } from "larkpost";

export default onEvent("contact.user.created_v3", async ({ object }, { log }) => log.info("welcome", { name: object.name }));
`;

describe("a conversation with the bot", () => {
  let project: Awaited<ReturnType<typeof temporaryProject>>;
  let start: ChildProcess;
  const lines: string[] = [];
  let complaint = "";

  before(async () => {
    project = await temporaryProject(
      { "im.message.receive_v1": bot, "contact.user.created_v3": greets },
      { "card.action.trigger": clicks },
    );
    writeConfig(project.root, {
      lanes: { talk: { types: ["im.message.receive_v1"], order: "message.chat_id", attempts: 3, holdSeconds: 1 } },
      environment: {
        WAITS: join(project.root, "waits"),
        GO: join(project.root, "go"),
        NOTE: "release it with",
        ORDERS_TABLE: { Ref: "Orders" },
      },
      secrets: ["CRM_TOKEN", "UNSET"],
      resources: {
        Orders: {
          Type: "AWS::DynamoDB::Table",
          Properties: {
            AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
            KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
          },
        },
      },
    });
    writeFileSync(join(project.root, ".env"), "CRM_TOKEN=the-token-of-env\n");
    const args = [
      join(projectFolder, "lib/cli/main.ts"),
      "start",
      "--port",
      "0",
      "--state",
      project.state,
      "--payloads",
    ];
    start = spawn(process.execPath, args, {
      env: {
        ...nodeEnv,
        LARKPOST_ROOT: project.root,
        LARK_DOMAIN: "https://open.feishu.cn",
      },
      stdio: ["ignore", "pipe", "pipe"],
      // Its embedded services are found by their group.
      detached: true,
    });
    start.stderr?.setEncoding("utf8").on("data", (text: string) => {
      complaint += text;
    });
    if (start.stdout === null) throw new Error("there is no output");
    createInterface({ input: start.stdout }).on("line", (line) => lines.push(line));
    await until("the runtime runs", () => lines.some((line) => line.includes("LARK_DOMAIN is not used")));
  });
  after(async () => {
    if (start.exitCode === null) {
      const ended = once(start, "exit");
      start.kill("SIGTERM");
      await ended;
    }
    project.remove();
  });

  const chat = (said: string, ...args: string[]) =>
    larkpost(["chat", "--state", project.state, "--wait", "50", ...args], { root: project.root, input: said });

  test("shows what the bot says, in npm start as well", async () => {
    const { code, stdout, stderr } = await chat("hello\n");
    assert.deepEqual([code, stderr], [0, ""]);
    assert.equal(stdout, "you › hello\nbot › You said: hello\\u001b[2J\n");
    await until("the block", () => lines.some((line) => /^\d\d:\d\d:\d\d {2}handled {6}im\.message/.test(line)));
    const shown = lines.find((line) => line.includes("bot said"));
    assert.match(shown ?? "", /^ {10}bot said {5}You said: hello\\u001b\[2J {2}to Mei Okafor$/);
    assert.ok(
      lines.some((line) => /^ {16}"message_type": "text",?$/.test(line)),
      "the payload is shown",
    );
    assert.ok(lines.some((line) => /Open API +http:\/\/127\.0\.0\.1:\d+$/.test(line)));
  });

  test("an own table, secret and variable of larkpost.config.js reach the handler", async () => {
    assert.equal((await chat("remember\n")).code, 0);
    await until("the note", () => lines.some((line) => line.includes("release it with the-token-of-env")));
    assert.ok(lines.some((line) => line.includes("UNSET is not set")));
  });

  test("a number chooses on the card that was shown last, and the toast and the new card are shown", async () => {
    const { code, stdout } = await chat("card\n1\n1\n");
    assert.equal(code, 0);
    assert.equal(
      stdout,
      `you › card
bot › │ Pallets
      │ [1] Release 17
      │ [2] Release 18
      │ [3] Release 19
you › 1
      toast: Released 17
bot › (updated)
      │ Released
you › 1
bot › You said: 1\\u001b[2J
`,
    );
  });

  test("what goes wrong is said, and the exit code tells", async () => {
    const { code, stdout } = await chat("card\n2\n4\n/nonsense\nhush\nrefuse\nstumble\n/quit\nnever said\n");
    assert.equal(code, 1);
    assert.deepEqual(
      stdout.split("\n").filter((line) => /^ {4}!|^ {6}\(|never/.test(line)),
      [
        "    ! the client shows error 200673: ErrCode: 200861; ErrPath: ROOT -> body -> elements -> [0](tag: note); " +
          "ErrMsg: cards of schema V2 no longer support this capability; ErrorValue: unsupported tag note; ",
        '    ! The card has no [4]. "/say 4" says it',
        '    ! There is no command "/nonsense"; /help tells which there are. "/say /nonsense" says it',
        "      (handled; the bot said nothing)",
        '    ! the handler of im.message.receive_v1 failed for good; Feishu says: "Your request contains an invalid request parameter, ext=content is not in JSON format" ("npm start" shows more)',
        '    ! the handler of im.message.receive_v1 failed, and is tried again; Error: the floor is wet ("npm start" shows more)',
      ],
    );
    await until("the failure in npm start", () => lines.some((line) => line.includes("Error: the floor is wet")));
    const failed = lines.findIndex((line) => line.includes("Error: the floor is wet"));
    const [place = "", source = "", caret = ""] = lines.slice(failed + 1);
    assert.match(place, /^ {10}at functions\/events\/im\.message\.receive_v1\.ts:\d+:\d+/);
    assert.equal(source.slice(caret.indexOf("^")).startsWith("new Error("), true, [source, caret].join("\n"));
  });

  test("a call that is not simulated is named, and a file in test/simulated answers it from then on", async () => {
    const sentence = "the simulated Feishu has no POST /open-apis/drive/v1/files";
    const { code, stdout } = await chat("look\n");
    assert.equal(code, 1);
    assert.ok(
      stdout.includes(`    ! ${sentence}/box_1/copy: give it an answer in test/simulated/, or use a real app`),
      stdout,
    );
    assert.match(stdout, /the handler of im\.message\.receive_v1 failed, and is tried again/);
    await until("the sentence", () => lines.some((line) => line.includes(`! ${sentence}/box_1/copy`)));
    await until("the failed call", () => lines.some((line) => line.includes(`${sentence}/…/copy: give it an answer`)));

    const folder = join(project.root, "test/simulated");
    mkdirSync(folder, { recursive: true });
    const own = '"POST /open-apis/drive/v1/files/:token/copy": ({ params }) => ({ token: "copy_of_" + params.token })';
    writeFileSync(
      join(folder, "drive.ts"),
      `import { answers } from "larkpost/test";\nexport default answers({ ${own} });\n`,
    );
    await until("the answer", () => lines.some((line) => line.includes("~ test/simulated/drive.ts added")));
    // The first one is tried again in Mei's chat, and would have hers wait.
    assert.equal((await chat("/as tomas\nlook\n")).code, 0);
    await until("what it logs", () => lines.some((line) => line.includes("copied to copy_of_box_1")));
  });

  test("a click whose handler throws is told, and the exit code tells", async () => {
    const { code, stdout } = await chat("card\n3\n");
    assert.equal(code, 1);
    assert.match(
      stdout,
      /\n {4}! the handler of card\.action\.trigger failed; .+ \("npm start" shows more\)\n {6}toast: Something/,
    );
  });

  test("--json prints what happens, one object a line; --group talks in the group", async () => {
    const { code, stdout } = await chat("hello\n", "--json", "--group");
    assert.equal(code, 0);
    const seen = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
      // What another conversation left behind comes in between.
      .filter(({ stage }) => stage !== "failed");
    assert.deepEqual(
      seen.map(({ by, stage, message }) => [by ?? stage, message?.chat.kind, message?.text]),
      [
        ["user", "group", "hello"],
        ["bot", "group", "You said: @_user_1 hello\u001b[2J"],
        ["handled", undefined, undefined],
      ],
    );
  });

  test("answers Mei while it works on what Tomas said, and the next message of his chat after that", async () => {
    const { say, after } = findConversation(project.state);
    const answers = async () =>
      (await after(0)).flatMap((entry) => {
        const said = entry.what === "said" && entry.by === "bot" ? entry.message : undefined;
        const [, text] = /^You said: (hi|wait|next)\b/.exec(said?.text ?? "") ?? [];
        return text === undefined ? [] : [`${text}, to ${said?.chat.name}`];
      });
    await say("wait", "p2p", "tomas");
    await until("his message is being worked on", () => existsSync(join(project.root, "waits")));
    await say("next", "p2p", "tomas");
    await say("hi", "p2p", "mei");
    await until("she is answered", async () => (await answers()).length > 0, { everyMs: 50 });
    assert.deepEqual(await answers(), ["hi, to Mei Okafor"]);
    writeFileSync(join(project.root, "go"), "");
    await until("all are answered", async () => (await answers()).length === 3, { everyMs: 50 });
    assert.deepEqual(await answers(), ["hi, to Mei Okafor", "wait, to Tomas Reyes", "next, to Tomas Reyes"]);
    assert.ok(lines.some((line) => /^ {2}Lanes +talk \(each with a queue and a worker of its own\)$/.test(line)));
  });

  test("who does not know the token in the state folder cannot talk", async () => {
    const file = join(project.state, "local.json");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const { control } = JSON.parse(readFileSync(file, "utf8")) as { control: { url: string; token: string } };
    const say = await fetch(`${control.url}/say`, { method: "POST", body: '{"text":"card"}' });
    assert.equal(say.status, 401);
    assert.ok(!lines.some((line) => line.includes(control.token)), "it is not printed");
  });

  test("the state folder holds what another tool of this machine needs for the queues, and nothing prints it", async () => {
    const { services } = JSON.parse(readFileSync(join(project.state, "local.json"), "utf8"));
    const credential = `Credential=${services.accessKeyId}/20260101/us-east-1/sqs/aws4_request`;
    const authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=host, Signature=0`;
    const call = { "content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ListQueues" };
    assertRefused(await ask(services.sqs, { headers: call, body: "{}" }), "without the access key");
    const { status, body } = await ask(services.sqs, { headers: { ...call, authorization }, body: "{}" });
    assert.equal(status, 200);
    for (const name of ["events", "quarantine", "dead-letters"]) assert.ok(body.includes(name), body);
    assert.ok(!lines.some((line) => line.includes(services.accessKeyId)));
  });

  test("what came is kept: events lists and replays it, and trace follows it from the push to its run", async () => {
    const desk = (...args: string[]) => larkpost([...args, "--state", project.state], { root: project.root });
    const { events } = JSON.parse((await desk("events", "--json")).stdout) as {
      events: { id: string; verdict: string }[];
    };
    const [{ id, verdict } = assert.fail("nothing was kept")] = events;
    assert.equal(verdict, "handled");
    const traced = await desk("trace", id);
    assert.match(
      traced.stdout,
      /webhook +queued [\s\S]*workerTalk {2}started [\s\S]*workerTalk {2}handled [^\n]*lane talk/,
    );
    const replay = async (...args: string[]) => {
      const { code, stdout, stderr } = await desk("events", "replay", ...args);
      assert.deepEqual([code, stderr], [0, ""]);
      return stdout;
    };
    assert.equal((await desk("send", "contact.user.created_v3", "--event-id", "new-here")).code, 0);
    const isHandled = async () => (await desk("trace", "new-here")).stdout.includes("handled");
    await until("it is handled", isHandled, { everyMs: 100 });
    assert.match(await replay("new-here", "--same-id"), /\n\S+ {2}duplicate .*\nThe event is done, so nothing ran\n$/);
    assert.match(await replay(id), /^200 in .*\n(?:.*\n)*\S+ {2}handled .*attempt 1, lane talk\n$/);
    const editor = join(project.root, "editor.sh");
    writeFileSync(editor, 'text=$(sed "s/hello/$1/" "$2"); printf "%s" "$text" > "$2"\n');
    const edit = (command: string) =>
      larkpost(["events", "replay", id, "--edit", "--state", project.state], {
        root: project.root,
        env: { TMPDIR: project.root, EDITOR: `sh ${command}` },
      });
    const pushed = await edit(`"${editor}" edited`);
    assert.equal(pushed.code, 0);
    const [, newId = ""] = / id ([\da-f]{32}) /.exec(pushed.stdout) ?? [];
    assert.match((await desk("events", "show", newId)).stdout, /"content": "\{\\"text\\":\\"edited\\"/);
    const broken = await edit(`"${editor}" '"'`);
    assert.match(broken.stderr, /^Cannot replay: what was edited is not JSON\. It is kept in .+event\.json\n$/);
    assert.match((await edit("-c 'exit 3'")).stderr, /^Cannot replay: the editor ended with 3\. Nothing was pushed/);
    const kept = ["recent.db", "recent.db-wal"]
      .map((name) => readFileSync(join(project.state, name), "latin1"))
      .join("");
    const { encryptKey, verificationToken, appSecret } = JSON.parse(
      readFileSync(join(project.state, "local.json"), "utf8"),
    );
    for (const secret of [encryptKey, verificationToken, appSecret]) assert.ok(!kept.includes(secret));
  });

  test("npm start ends with 1 and one clear line when its embedded services end", async () => {
    const closed = once(start, "close");
    process.kill(await pidOf("embedded", start.pid ?? 0), "SIGKILL");
    assert.deepEqual(await closed, [1, null]);
    assert.match(complaint, /^Cannot go on: the embedded SQS and DynamoDB have ended \(SIGKILL\)\..*\n$/);
  });
});

const nobody: readonly { when: string; local?: unknown; says: RegExp }[] = [
  { when: "npm start never ran", says: /^Cannot chat: nothing listens\. Run "npm start" in another terminal\n$/ },
  {
    when: "npm start has ended",
    local: { control: { url: "http://127.0.0.1:1", token: "x" } },
    says: /^Cannot chat: nothing listens at http:\/\/127\.0\.0\.1:1\. Run "npm start"/,
  },
  {
    when: "npm start has a real app's keys",
    local: { url: "http://127.0.0.1:3000/webhook" },
    says: /^Cannot chat: the runtime has the keys of a real app, whose bot is in Feishu/,
  },
];
for (const { when, local, says } of nobody) {
  test(`says so when ${when}`, async (t) => {
    const { root, remove } = temporaryRoot(local);
    t.after(remove);
    const { code, stdout, stderr } = await larkpost(["chat"], { root });
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, says);
  });
}
