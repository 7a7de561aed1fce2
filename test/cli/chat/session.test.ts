import assert from "node:assert/strict";
import { join } from "node:path";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { follow } from "../../../lib/cli/chat/follow.ts";
import { botLine, chatLines } from "../../../lib/cli/chat/lines.ts";
import type { Link } from "../../../lib/cli/chat/link.ts";
import { runScript } from "../../../lib/cli/chat/script.ts";
import { startSession } from "../../../lib/cli/chat/session.ts";
import type { Entry } from "../../../lib/simulator/chat/journal.ts";
import type { MessageView } from "../../../lib/simulator/chat/message-view.ts";
import { until } from "../../support/until.ts";

const never = new Promise<never>(() => {});

/** A session whose requests are kept, and what it showed. */
function setUp(over: Partial<Link> = {}) {
  const asked: unknown[] = [];
  const shown: string[] = [];
  const link: Link = {
    async say(text, chat, as) {
      asked.push(as === "mei" ? { text, chat } : { text, chat, as });
      return `said ${asked.length}`;
    },
    async choose(choosing) {
      asked.push(choosing);
      return `chosen ${asked.length}`;
    },
    async act(doing, as) {
      asked.push({ ...doing, as });
      return `done ${asked.length}`;
    },
    after: async () => [],
    next: () => never,
    ...over,
  };
  const screen = {
    note: (text: string) => void shown.push(text),
    trouble: (text: string) => void shown.push(`! ${text}`),
    chosen: () => {},
    card: ({ messageId }: MessageView) => void shown.push(messageId),
    ask: ({ label }: { label: string }, hint: string) => void shown.push(`${label}? ${hint}`),
  };
  const session = startSession(link, screen, { chat: "p2p" });
  let n = 0;
  const card = (messageId: string, version: number, ...choices: NonNullable<MessageView["card"]>["choices"]) => {
    const chat = { id: "oc_1", kind: "p2p", name: "Mei" } as const;
    const message = { messageId, version, chat, msgType: "interactive", card: { title: "", lines: [], choices } };
    session.apply({ n: ++n, what: version === 1 ? "said" : "updated", by: "bot", message }, { isShown: true });
    return { n: ++n, what: "recalled", by: "bot", message } satisfies Entry;
  };
  return { asked, shown, link, session, card };
}

const asks = { does: "callback", label: "Go", action: { tag: "button" } } as const;
const opens = { does: "open", label: "Look", url: "https://a.example/" } as const;

test("a number is said where there is nothing to choose, and where it is said to be said", async () => {
  const { asked, session, card } = setUp();
  await session.input("1");
  card("om_1", 1);
  await session.input("1");
  card("om_2", 1, asks);
  await session.input("/say 1");
  for (const text of ["1 pallet", "pallet 1", "1000", "what is /group"]) await session.input(text);
  await session.input("/group");
  await session.input("/say /group");
  await session.input("  ");
  const chat = "p2p";
  assert.deepEqual(asked, [
    ...["1", "1", "1", "1 pallet", "pallet 1", "1000", "what is /group"].map((text) => ({ text, chat })),
    { text: "/group", chat: "group" },
  ]);
});

test("a number chooses on the card as it was shown last; /buttons goes back to another", async () => {
  const { asked, shown, session, card } = setUp();
  card("om_1", 1, asks);
  const recalled = card("om_2", 1, asks, opens);
  await session.input("1");
  card("om_2", 2, asks);
  await session.input("1");
  await session.input("/buttons 2");
  await session.input("1");
  await session.input("/buttons 2 cards");
  await session.input("/buttons card 2");
  card("om_2", 3, opens);
  await session.input("1");
  session.apply(recalled, { isShown: true });
  await session.input("/buttons");
  await session.input("1");
  await session.input("/buttons 2");
  assert.deepEqual(asked, [
    { messageId: "om_2", version: 1, number: 1 },
    { messageId: "om_2", version: 2, number: 1 },
    { messageId: "om_1", version: 1, number: 1 },
    { messageId: "om_1", version: 1, number: 1 },
  ]);
  assert.deepEqual(shown, [
    ...["om_1", "om_2", "om_2"],
    "the client opens https://a.example/",
    "om_1",
    "! There is no such card: the bot has sent 1",
  ]);
});

test("a choice with fields asks for each of them, again for one that does not fit, and sends them together", async () => {
  const { asked, shown, session, card } = setUp();
  const field = { kind: "text", label: "Note", name: "note", isRequired: true, options: [] } as const;
  card("om_1", 1, { ...asks, asks: [field, { ...field, kind: "date", label: "Day", isRequired: false }] });
  for (const line of ["1", "", "2", "/buttons", "2026-12-01", "hello", "1", "late", "/cancel", "1"])
    await session.input(line);
  assert.equal(session.hasFailed(), true);
  assert.deepEqual(asked, [
    { messageId: "om_1", version: 1, number: 1, typed: ["2", "2026-12-01"] },
    { text: "hello", chat: "p2p" },
  ]);
  assert.deepEqual(shown, [
    ...["Note? required", "! Note is required", "Note? required", "Day? like 2026-11-29; may be empty"],
    ...["! Day is a date, like 2026-11-29", "Day? like 2026-11-29; may be empty"],
    ...["Note? required", "Day? like 2026-11-29; may be empty", "(nothing was sent)", "Note? required"],
  ]);
});

test("a user sends files and posts, reacts and replies to the bot's last message, and becomes another", async () => {
  const { asked, shown, session, card } = setUp();
  await session.input("/react OK");
  card("om_1", 1, asks);
  const lines = ["/as Tomas", "hello", "/group", "/image a.png", "/post Title | one", "/thread why?", "/react OK"];
  for (const line of [...lines, "/as nobody", "/as mei", "/menu report", "/enter"]) await session.input(line);
  // Nothing of it is done with an empty name, path or text.
  for (const name of ["file", "menu "]) await session.input(`/${name}`);
  const as = "tomas";
  assert.deepEqual(asked, [
    { text: "hello", chat: "p2p", as },
    { does: "image", path: join(process.cwd(), "a.png"), chat: "group", as },
    { does: "post", text: "Title | one", chat: "group", as },
    { does: "thread", text: "why?", messageId: "om_1", as },
    { does: "react", emoji: "OK", messageId: "om_1", as },
    { does: "menu", key: "report", as: "mei" },
    { does: "enter", as: "mei" },
  ]);
  assert.deepEqual(shown, [
    ...["! The bot has said nothing here", "now you are Tomas Reyes", "now in the group: you mention the bot"],
    ...['! There is no "nobody": you can be mei or tomas', "now you are Mei Okafor"],
    ...["! Something is missing: /file FILE", "! Something is missing: /menu KEY"],
  ]);
});

test("what each user says and does is shown under their name", () => {
  const chat = { id: "oc_1", kind: "group", name: "Shifts" } as const;
  const message = { messageId: "om_1", version: 1, chat, msgType: "text", text: "hi" };
  const said = { n: 1, what: "said", by: "user", id: "e1", message } as const;
  const lines = [
    chatLines({ ...said, user: "mei" }),
    chatLines({ ...said, user: "tomas" }),
    chatLines({ n: 2, what: "acted", user: "tomas", id: "e2", about: "opens the chat" }),
  ];
  const doubtful = { ...message, msgType: "interactive", warnings: ["ROOT -> config: it is old"] };
  assert.match(botLine({ n: 3, what: "said", by: "bot", message: doubtful }) ?? "", / {2}! ROOT -> config: it is old$/);
  const unknown = { ...message, chat: { ...chat, name: "" } };
  assert.match(botLine({ n: 4, what: "said", by: "bot", message: unknown }) ?? "", / {2}in a group$/);
  assert.deepEqual(lines.flat(), ["you › (in Shifts) hi", "tomas › (in Shifts) hi", "tomas › (opens the chat)"]);
});

test("what was said is settled also when its end is told before its id is known", async () => {
  const said = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  const { session, link } = setUp({
    async say() {
      said.resolve();
      await told.promise;
      return "e1";
    },
    async next(n) {
      if (n > 0) return never;
      await said.promise;
      setImmediate(told.resolve);
      return [{ n: 1, what: "ended", id: "e1", type: "im.message.receive_v1", stage: "handled", reason: null }];
    },
  });
  const silent: boolean[] = [];
  const { caughtUp, over } = follow(link, session, (_entry, isSilent) => silent.push(isSilent));
  over.catch(() => {});
  await caughtUp;
  await session.input("hello");
  await until("it is settled", () => session.isIdle(), { withinMs: 2_000 });
  await until("it is shown", () => silent.length > 0, { withinMs: 2_000 });
  assert.deepEqual(silent, [true], "the bot said nothing");
});

test("a number chooses on no card that this terminal has not shown", async () => {
  const chat = { id: "oc_1", kind: "p2p", name: "Mei" } as const;
  const card = { title: "", lines: [], choices: [asks] };
  const message = { messageId: "om_1", version: 1, chat, msgType: "interactive", card };
  const { asked, session, link } = setUp({
    after: async (n) => (n === 0 ? [{ n: 1, what: "said", by: "bot", message }] : []),
  });
  const { caughtUp, over } = follow(link, session, () => {});
  over.catch(() => {});
  await caughtUp;
  await session.input("1");
  await session.input("/buttons");
  await session.input("1");
  assert.deepEqual(asked, [
    { text: "1", chat: "p2p" },
    { messageId: "om_1", version: 1, number: 1 },
  ]);
});

test("what is not delivered is settled also when something has failed before", async () => {
  const { session } = setUp();
  for (const id of ["said 1", "said 2"]) {
    await session.input("hello");
    session.apply({ n: 1, what: "undelivered", id, problem: "answered 500", againMs: 15_000 }, { isShown: true });
    assert.deepEqual([session.isIdle(), session.hasFailed()], [true, true]);
  }
});

test("a script waits for a line's handlers only so long, whatever others do meanwhile", async (t) => {
  const foreign: Entry[] = [];
  let isEnough = false;
  const { session, link } = setUp({
    async next(n) {
      await pause(20);
      if (isEnough) return never;
      return [{ n: n + 1, what: "ended", id: "another", type: "im.message.receive_v1", stage: "failed", reason: null }];
    },
  });
  const show = (entry: Entry) => void (session.isOwn(entry) || foreign.push(entry));
  t.after(() => {
    isEnough = true;
  });
  const script = runScript(Readable.from(["hello\n"]), { link, session, quietMs: 1, lineMs: 100, show });
  await assert.rejects(Promise.race([script, pause(2_000)]), /after 0\.1 s, the handler does not end/);
  assert.ok(foreign.length > 0, "what became of it is none of ours");
  assert.equal(session.hasFailed(), false);
});
