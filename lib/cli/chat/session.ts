import { resolve } from "node:path";
import { type Field, FieldError, hintOf, readField } from "../../simulator/chat/card-fields.ts";
import type { Choice } from "../../simulator/chat/card-view.ts";
import type { Entry } from "../../simulator/chat/journal.ts";
import type { MessageView } from "../../simulator/chat/message-view.ts";
import { type Person, people } from "../../simulator/samples/facts.ts";
import { createCards } from "./cards.ts";
import { type Doing, type Link, RefusedError } from "./link.ts";
import { createProgress } from "./progress.ts";

export const help = `What you type is said to the bot. A number chooses on the card shown last in this terminal.
                 A form or an input asks for each field; an empty line leaves it as it is, /cancel gives up.
  /buttons [n]   shows the last card again, or the nth last, to choose on
  /group         talk in the group, where you mention the bot; /direct talks to it alone
  /as tomas      you are Tomas, a second user; /as mei is you again
  /say text      says the text as it is, also a number or what begins with a slash
  /image FILE, /file FILE, /post title | line | line
  /thread text   replies to the bot's last message, in its thread; /react THUMBSUP puts an emoji on it
  /menu KEY      chooses in the bot's menu; /enter opens the chat with the bot
  /help, /quit`;

/** What must follow a command. */
const following: ReadonlyMap<string, string> = new Map([
  ["image", "FILE"],
  ["file", "FILE"],
  ["post", "title | line"],
  ["thread", "text"],
  ["react", "THUMBSUP"],
  ["menu", "KEY"],
]);

const chatNotes = { group: "now in the group: you mention the bot", p2p: "now you talk to the bot alone" };

/** Shows the person at the terminal what does not belong to the conversation. */
export interface Screen {
  /** Information about this terminal. */
  note(text: string): void;
  /** Something that did not work. */
  trouble(text: string): void;
  /** The person chose on a card, which is no entry of the conversation. */
  chosen(number: number): void;
  card(message: MessageView): void;
  /** The next line fills in this field. */
  ask(field: Field, hint: string): void;
}

/** A choice whose fields are being filled in. */
interface Filling {
  readonly choosing: { readonly messageId: string; readonly version: number; readonly number: number };
  readonly asks: readonly Field[];
  readonly typed: string[];
}

/** What the lines that a person types change. */
interface State {
  chat: "p2p" | "group";
  as: Person;
  /** The bot's last message that this terminal has shown. */
  lastId?: string;
  isOver: boolean;
}

interface Parts {
  readonly link: Link;
  readonly screen: Screen;
  readonly cards: ReturnType<typeof createCards>;
  readonly requests: ReturnType<typeof createRequests>;
  readonly state: State;
}

/** Reads the lines that a person types, and acts on the conversation. */
export function startSession(link: Link, screen: Screen, start: { chat: "p2p" | "group" }) {
  const cards = createCards();
  const progress = createProgress();
  const requests = createRequests(progress, screen);
  const state: State = { chat: start.chat, as: "mei", isOver: false };
  const parts = { link, screen, cards, requests, state };
  const choosing = createChoosing(parts);
  const command = createCommands(parts);

  return {
    /** Acts on a line of input. Rejects when the conversation is over. */
    async input(line: string): Promise<void> {
      const text = line.trim();
      const filling = choosing.filling();
      if (filling !== undefined && text !== "/quit") return choosing.fill(text, filling);
      const [, name, rest = ""] = /^\/(\S+)\s*(.*)/s.exec(text) ?? [];
      if (name !== undefined) return command(name, rest);
      const message = cards.selected();
      const hasChoices = message?.card !== undefined && message.card.choices.length > 0;
      if (hasChoices && /^\d{1,3}$/.test(text)) return choosing.choose(Number(text), message);
      return command("say", text);
    },
    /** Resolves when the id of the last input is known. Entries about it must not be applied before. */
    acted: requests.ended,
    /**
     * Applies an entry of the conversation.
     * @param isShown Whether the terminal shows it.
     * @returns Whether an input was handled without any reaction of the bot.
     */
    apply(entry: Entry, { isShown }: { isShown: boolean }): { isSilent: boolean } {
      cards.apply(entry, isShown);
      if (isShown && entry.what === "said" && entry.by === "bot") state.lastId = entry.message.messageId;
      return progress.apply(entry);
    },
    isOwn: progress.isOwn,
    isIdle: progress.isIdle,
    hasFailed: progress.hasFailed,
    isOver: () => state.isOver,
    chat: () => state.chat,
    as: () => state.as,
  };
}

export type Session = ReturnType<typeof startSession>;

/** Chooses on a card. A choice with fields is sent when all are filled in. */
function createChoosing({ link, screen, requests, state }: Parts) {
  let filling: Filling | undefined;

  async function askOrChoose({ choosing, asks, typed }: Filling): Promise<void> {
    const field = asks[typed.length];
    if (field !== undefined) return screen.ask(field, hintOf(field));
    filling = undefined;
    await requests.send(() => link.choose(asks.length === 0 ? choosing : { ...choosing, typed }, state.as));
  }

  return {
    /** The choice that the next line fills in. */
    filling: () => filling,
    async choose(number: number, message: MessageView): Promise<void> {
      const { messageId, version, card } = message;
      const choice = card?.choices[number - 1];
      screen.chosen(number);
      if (choice?.does === "open") return screen.note(`the client opens ${choice.url}`);
      if (choice?.does !== "callback") return requests.fail(choiceProblem(choice, number));
      filling = { choosing: { messageId, version, number }, asks: choice.asks ?? [], typed: [] };
      await askOrChoose(filling);
    },
    async fill(text: string, current: Filling): Promise<void> {
      const field = current.asks[current.typed.length];
      if (text === "/cancel") {
        filling = undefined;
        return screen.note("(nothing was sent)");
      }
      try {
        if (field !== undefined) readField(field, text);
        current.typed.push(text);
      } catch (error) {
        if (!(error instanceof FieldError)) throw error;
        requests.fail(error.message);
      }
      await askOrChoose(current);
    },
  };
}

/** What begins with a slash. */
function createCommands({ link, screen, cards, requests, state }: Parts) {
  async function say(text: string): Promise<void> {
    if (text !== "") await requests.send(() => link.say(text, state.chat, state.as));
  }

  async function act(doing: Doing): Promise<void> {
    await requests.send(() => link.act(doing, state.as));
  }

  async function actOnLast(doing: Doing): Promise<void> {
    if (state.lastId === undefined) return requests.fail("The bot has said nothing here");
    await act({ ...doing, messageId: state.lastId });
  }

  function become(name: string): void {
    const person = Object.keys(people).find((known) => known === name.toLowerCase());
    if (person === undefined)
      return void requests.fail(`There is no "${name}": you can be ${Object.keys(people).join(" or ")}`);
    state.as = person as Person;
    screen.note(`now you are ${people[state.as].name}`);
  }

  function showCard(n: number): void {
    const message = cards.select(n);
    if (message === undefined) requests.fail(`There is no such card: the bot has sent ${cards.count()}`);
    else screen.card(message);
  }

  return (name: string, rest: string): Promise<void> | void => {
    const missing = rest === "" ? following.get(name) : undefined;
    if (missing !== undefined) return requests.fail(`Something is missing: /${name} ${missing}`);
    switch (name) {
      case "say":
        return say(rest);
      case "buttons":
        return showCard(/^[1-9]\d{0,3}$/.test(rest) ? Number(rest) : 1);
      case "group":
      case "direct":
        state.chat = name === "group" ? "group" : "p2p";
        return screen.note(chatNotes[state.chat]);
      case "as":
        return become(rest);
      case "image":
      case "file":
        return act({ does: name, path: resolve(rest), chat: state.chat });
      case "post":
        return act({ does: name, text: rest, chat: state.chat });
      case "thread":
        return actOnLast({ does: name, text: rest });
      case "react":
        return actOnLast({ does: name, emoji: rest });
      case "menu":
        return act({ does: name, key: rest });
      case "enter":
        return act({ does: name });
      case "help":
        return screen.note(help);
      case "quit":
        state.isOver = true;
        return;
      default:
        return requests.fail(`There is no command "/${name}"; /help tells which there are. "/say /${name}" says it`);
    }
  };
}

function choiceProblem(choice: Exclude<Choice, { does: "callback" | "open" }> | undefined, number: number): string {
  if (choice === undefined) return `The card has no [${number}]. "/say ${number}" says it`;
  return `[${number}] cannot be chosen: ${choice.why}`;
}

/** Sends what the person does, and adds its id to the progress. */
function createRequests(progress: ReturnType<typeof createProgress>, screen: Screen) {
  let ended: Promise<void> = Promise.resolve();

  function fail(text: string): void {
    progress.fail();
    screen.trouble(text);
  }

  async function perform(request: () => Promise<string>): Promise<void> {
    progress.beginInput();
    try {
      progress.add(await request());
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      fail(`That cannot be done: ${error.message}`);
    }
  }

  return {
    fail,
    send(request: () => Promise<string>): Promise<void> {
      const performing = perform(request);
      ended = performing.catch(() => {});
      return performing;
    },
    /** Resolves when the last request has ended. */
    ended: () => ended,
  };
}
