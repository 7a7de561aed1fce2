import { jobId } from "../../feishu/envelope.ts";
import type { Entry } from "../../simulator/chat/conversation.ts";
import type { MessageView } from "../../simulator/chat/message-view.ts";
import { type Link, RefusedError } from "./link.ts";

export const help = `What you type is said to the bot. A number chooses on the card shown last in this terminal.
  /buttons [n]   shows the last card again, or the nth last, to choose on
  /group         talk in the group, where you mention the bot; /direct talks to it alone
  /say text      says the text as it is, also a number or what begins with a slash
  /help, /quit`;

/** What the person at the terminal gets to see besides the conversation. */
export interface Screen {
  /** Something about this terminal. */
  note(text: string): void;
  /** Something that did not work. */
  trouble(text: string): void;
  card(message: MessageView): void;
}

/** A line of input, understood: what it does to the conversation, and where the chat then is. */
export function startSession(link: Link, screen: Screen, start: { chat: "p2p" | "group" }) {
  /** Cards as they are now, by message id; the last one is chosen on. */
  const cards = new Map<string, MessageView>();
  /** Events, callbacks and jobs whose end is awaited. */
  const open = new Set<string>();
  /** All that was said or chosen here, with the jobs of callbacks. */
  const own = new Set<string>();
  let chat = start.chat;
  let selected: string | undefined;
  let isOver = false;
  let hasFailed = false;
  /** What was asked for last is done, or has failed. */
  let acted: Promise<void> = Promise.resolve();
  /** Whether the bot has done anything since the last input. */
  let isAnswered = false;

  async function say(text: string): Promise<void> {
    if (text !== "") await act(() => link.say(text, chat));
  }

  async function choose(number: number, message: MessageView): Promise<void> {
    const { messageId, version, card } = message;
    const choice = card?.choices[number - 1];
    if (choice?.does === "open") return screen.note(`the client opens ${choice.url}`);
    if (choice?.does === "nothing") return fail(`[${number}] cannot be chosen: ${choice.why}`);
    if (choice === undefined) return fail(`The card has no [${number}]. "/say ${number}" says it`);
    await act(() => link.choose({ messageId, version, number }));
  }

  function act(request: () => Promise<string>): Promise<void> {
    const acting = perform(request);
    acted = acting.catch(() => {});
    return acting;
  }

  async function perform(request: () => Promise<string>): Promise<void> {
    isAnswered = false;
    try {
      const id = await request();
      open.add(id);
      own.add(id).add(jobId(id));
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      fail(`That cannot be done: ${error.message}`);
    }
  }

  function fail(text: string): void {
    hasFailed = true;
    screen.trouble(text);
  }

  function showCard(back: number): void {
    const message = [...cards.values()].at(-back);
    if (message === undefined) {
      fail(`There is no such card: the bot has sent ${cards.size}`);
      return;
    }
    selected = message.messageId;
    screen.card(message);
  }

  function command(name: string, rest: string): Promise<void> | void {
    switch (name) {
      case "say":
        return say(rest);
      case "buttons":
        return showCard(/^[1-9]\d{0,3}$/.test(rest) ? Number(rest) : 1);
      case "group":
      case "direct":
        chat = name === "group" ? "group" : "p2p";
        return screen.note(
          name === "group" ? "now in the group: you mention the bot" : "now you talk to the bot alone",
        );
      case "help":
        return screen.note(help);
      case "quit":
        isOver = true;
        return;
      default:
        return fail(`There is no command "/${name}"; /help tells which there are. "/say /${name}" says it`);
    }
  }

  /** A card that changes stays where it was in the list, but it is the one that was shown last. */
  function keep(message: MessageView, isShown: boolean): void {
    if (message.card === undefined) return;
    cards.set(message.messageId, message);
    if (isShown) selected = message.messageId;
  }

  return {
    /** Takes a line of input. Rejects when the conversation is over. */
    async input(line: string): Promise<void> {
      const text = line.trim();
      const [, name, rest = ""] = /^\/(\S+)\s*(.*)$/s.exec(text) ?? [];
      if (name !== undefined) return command(name, rest);
      const message = selected === undefined ? undefined : cards.get(selected);
      const hasChoices = message?.card !== undefined && message.card.choices.length > 0;
      if (hasChoices && /^\d{1,3}$/.test(text)) return choose(Number(text), message);
      return say(text);
    },
    /** Resolves once the ids of what was said are known: what is told of them is taken after that. */
    acted: () => acted,
    /**
     * Takes what happened.
     * @param isShown Whether the person sees it: a number chooses on nothing else.
     * @returns whether the bot let an input pass without any reaction.
     */
    take(entry: Entry, { isShown }: { isShown: boolean }): { isSilent: boolean } {
      switch (entry.what) {
        case "said":
        case "updated":
          if (entry.by === "bot") isAnswered = true;
          keep(entry.message, isShown);
          break;
        case "recalled":
          cards.delete(entry.message.messageId);
          if (selected === entry.message.messageId) selected = undefined;
          break;
        case "answered":
          isAnswered = true;
          if (!open.delete(entry.id)) break;
          if (entry.deferred !== null) open.add(jobId(entry.id));
          hasFailed ||= !entry.view.isTaken || entry.trouble === "failed" || entry.trouble === "late";
          break;
        case "undelivered":
          // Apart from each other: what has failed before must not keep this one open.
          if (open.delete(entry.id)) hasFailed = true;
          break;
        case "ended": {
          const isOwn = open.delete(entry.id);
          hasFailed ||= isOwn && (entry.stage === "failed" || entry.stage === "dead");
          return { isSilent: isOwn && entry.stage === "handled" && !isAnswered };
        }
      }
      return { isSilent: false };
    },
    /** Whether it is not about what became of something that was said or chosen elsewhere. */
    isOwn: (entry: Entry) => "message" in entry || own.has(entry.id),
    /** Whether nothing that was said or chosen here awaits its end. */
    isSettled: () => open.size === 0,
    isOver: () => isOver,
    hasFailed: () => hasFailed,
    chat: () => chat,
  };
}

export type Session = ReturnType<typeof startSession>;
