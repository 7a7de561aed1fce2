import type { Clock } from "../../clock.ts";
import type { CardTemplate, KnownParts } from "../../feishu/checked-card.ts";
import { defaultTenant } from "../samples/facts.ts";
import { type Activity, createListeners } from "./activity.ts";
import { approvalRoutes } from "./approval-routes.ts";
import { type Approval, type ApprovalStatus, createApprovals } from "./approvals.ts";
import { type App, type AppTicket, createApps } from "./apps.ts";
import { createCardEntities } from "./card-entities.ts";
import type { CardState } from "./card-entity.ts";
import { cardRoutes } from "./card-routes.ts";
import { type CardToken, createCards } from "./cards.ts";
import { chatRoutes } from "./chats.ts";
import { contactRoutes } from "./contacts.ts";
import { checkContent } from "./content.ts";
import { createDispatch } from "./dispatch.ts";
import { messageRoutes } from "./message-routes.ts";
import { createMessages, type Message, type MessageChange } from "./messages.ts";
import { type OwnAnswers, ownRoutes } from "./own-answers.ts";
import { createPins } from "./pins.ts";
import { createReactions, type Reaction } from "./reactions.ts";
import { createReading } from "./reading-routes.ts";
import { createView } from "./received.ts";
import type { Route } from "./route.ts";
import { type ApiServer, serve } from "./server.ts";
import { filledTemplate, type Templates } from "./templates.ts";
import { tokenRoutes } from "./token-routes.ts";
import { createTokens } from "./tokens.ts";
import { type Uploads, uploadRoutes } from "./uploads.ts";
import { createWorld } from "./world.ts";

const imageKey = /^img_[\w-]{1,200}$/;

export interface OpenApiOptions {
  /** Measures the lives of tokens, the hour of a uuid, and delays. */
  readonly clock: Clock;
  /** Returns a new id of 32 hex digits, for tokens, messages and log ids. */
  readonly newId: () => string;
  /** The first app's chats with people are the ones in the sample events. */
  readonly apps: readonly App[];
  /**
   * Whether an id that the simulator has not seen is refused. By default it is accepted, because events may come from
   * elsewhere.
   */
  readonly isStrict?: boolean;
  /** Called when a ticket must be pushed as an `app_ticket` event. */
  readonly onAppTicket?: (ticket: AppTicket) => void;
  /** Called when the simulator or a listener throws. If a call failed because of that, it was answered with 500. */
  readonly onProblem: (error: unknown) => void;
}

/** A user's message, to which a bot can reply. */
export interface UserMessage {
  readonly messageId?: string;
  readonly chatId: string;
  /** open_id */
  readonly userId: string;
  readonly msgType?: string;
  /** A JSON document in a string. A post is in one language, as events have it. */
  readonly content: string;
  /** The message that it replies to, and its thread. */
  readonly rootId?: string;
  readonly parentId?: string;
  readonly threadId?: string;
}

/**
 * A simulated Open API over HTTP, with the calls that the official clients need. It keeps everything in memory, where
 * tests and terminals can read it. A call that it does not know is answered with 501 and a code that is not the
 * platform's.
 */
export function openApi(options: OpenApiOptions) {
  const { clock, newId, onProblem } = options;
  const parts = createParts(options);
  const { apps, tokens, templates, activities } = parts;
  let own: readonly Route[] = [];
  const dispatch = createDispatch({
    routes: () => [...own, ...parts.routes],
    callerOf: tokens.caller,
    clock,
    newId,
    onProblem,
    onMissing: ({ message }) => activities.notify({ what: "missing", about: message }),
  });

  return {
    handle: dispatch.handle,
    /** Serves it on 127.0.0.1. Without a port, it takes a free one. */
    listen: ({ port = 0 } = {}): Promise<ApiServer> => serve(dispatch.handle, port),

    /** Answers to calls that are not simulated, or are to be answered otherwise. They replace earlier ones. */
    setAnswers(answers: readonly OwnAnswers[]): void {
      own = answers.flatMap(ownRoutes);
    },
    /** Makes calls fail or wait; see `Rule`. */
    addRule: dispatch.addRule,
    /** The templates of the card builder whose variables are checked. They replace earlier ones. */
    setTemplates(declared: Templates): void {
      templates.clear();
      for (const [id, template] of Object.entries(declared)) templates.set(id, template);
    },
    issueAppTicket: apps.issueTicket,
    revokeTokens: tokens.revoke,
    setDisabled: apps.setDisabled,
    calls: dispatch.calls,
    tokensIssued: tokens.issued,

    ...userActions(parts, newId),
    ...shownState(parts, onProblem),
  };
}

export type OpenApi = ReturnType<typeof openApi>;

type Parts = ReturnType<typeof createParts>;

/** What the simulator consists of, and the calls that it takes. */
function createParts(options: OpenApiOptions) {
  const { clock, newId, isStrict = false, onAppTicket = () => {}, onProblem } = options;
  const nowMs = () => clock.nowMs();
  const apps = createApps({ apps: options.apps, newId, onAppTicket: guarded(onAppTicket, onProblem) });
  const tokens = createTokens({ nowMs, newId, apps });
  const world = createWorld({ appIds: options.apps.map(({ appId }) => appId), isStrict });
  const messages = createMessages({ nowMs, newId, isStrict, defaultTenant });
  const uploads: Uploads = new Map();
  const templates = new Map<string, CardTemplate>();
  // A card on a laptop may name an image or a template of the real platform. A card entity is made here.
  const known: KnownParts = {
    isImage: (key) => uploads.has(key) || (!isStrict && imageKey.test(key)),
    isCard: (id) => entities.get(id) !== undefined,
    template: (id) => templates.get(id) ?? (isStrict ? null : undefined),
  };
  const cards = createCards({ nowMs, newId, isStrict, messages, known });
  const activities = createListeners<Activity>();
  const onActivity = activities.notify;
  const reactions = createReactions({ nowMs, newId, messages, world, onActivity });
  const approvals = createApprovals({ nowMs, newId, isStrict });
  const { isInteracting } = cards;
  const entities = createCardEntities({ nowMs, newId, messages, known, isInteracting, onActivity });
  /** The card that a message shows, or its content. A message may name a card entity or a template instead. */
  function shownContent({ messageId, content }: Message): string {
    const entity = entities.on(messageId);
    return entity === undefined ? (filledTemplate(content, templates) ?? content) : JSON.stringify(entity.card);
  }
  const view = createView({ appId: options.apps[0]?.appId ?? "", world, messages, uploads, shownContent });
  const pins = createPins({ nowMs, messages, world, onActivity });
  const reading = createReading({ nowMs, messages, world, view, onActivity });
  const routes: readonly Route[] = [
    ...tokenRoutes({ apps, tokens, nowMs, defaultTenant }),
    ...messageRoutes({ messages, world, known, entities, uploads, view }),
    ...reactions.routes,
    ...cards.routes,
    ...cardRoutes(entities, messages),
    ...chatRoutes({ nowMs, newId, world, onActivity }),
    ...approvalRoutes({ approvals, world, onActivity }),
    ...contactRoutes(world),
    ...uploadRoutes({ newId, uploads, messages, world, onActivity }),
    ...reading.routes,
    ...pins.routes,
  ];
  const shown = { messages, entities, shownContent, activities, reactions, approvals, reading, pins };
  return { apps, tokens, world, uploads, templates, known, cards, routes, ...shown };
}

/** What users do, and what the platform does with their clicks. */
function userActions(parts: Parts, newId: () => string) {
  const { messages, uploads, reactions, cards, known, approvals, reading } = parts;
  return {
    /** Records a user's message. @throws {Refusal} The content does not have the shape of its type. */
    say({ userId, msgType = "text", content, ...place }: UserMessage): Message {
      checkContent(msgType, msgType === "post" ? `{"zh_cn":${content}}` : content, known);
      return messages.add({ msgType, content, ...place, sender: { kind: "user", id: userId }, tenant: defaultTenant });
    },

    /** Keeps a user's image or file, which bots can download. @returns Its key. */
    keep(kind: "image" | "file", bytes: Uint8Array): string {
      const key = `${kind === "image" ? "img" : "file"}_v3_${newId()}`;
      uploads.set(key, { bytes });
      return key;
    },
    /** A user, by open_id, puts an emoji on a message. @throws {Refusal} There is no such emoji. */
    react: (message: Message, userId: string, emoji: string): Reaction =>
      reactions.add(message, { kind: "user", id: userId }, emoji),

    /** To be called before a card callback is pushed. */
    registerCardToken: (token: CardToken): void => cards.register(token),
    /**
     * To be called when a card callback was answered with 200, with the answer's card if there is one.
     * @throws {Refusal} The card is invalid. The token works nevertheless.
     */
    callbackAnswered(token: string, card?: string): void {
      cards.answered(token);
      if (card !== undefined) cards.answered(token, checkContent("interactive", card, known).content);
    },
    /** @throws {Refusal} The card of a callback's answer is invalid. */
    checkCard: (card: string): void => void checkContent("interactive", card, known),
    /** Ends an approval instance. @throws {RangeError} There is none with this code. */
    decide: (instanceCode: string, status: ApprovalStatus): Approval => approvals.decide(instanceCode, status),
    /** A person, by open_id, reads a message. */
    read: reading.read,
  };
}

/** What users see of what the bots do. */
function shownState(parts: Parts, onProblem: OpenApiOptions["onProblem"]) {
  const { world, messages, activities, entities, shownContent, approvals, pins, reactions } = parts;
  return {
    /** The chats and their members. */
    world,
    /** Calls the listener for each message that a bot sends or changes from now on. @returns A function that stops it. */
    onMessage: (listener: (change: MessageChange) => void): (() => void) =>
      messages.onChange(guarded(listener, onProblem)),
    /** The same for everything else that a bot does, and for a call that is not simulated. */
    onActivity: (listener: (activity: Activity) => void): (() => void) => activities.add(guarded(listener, onProblem)),
    /** The same for each approval instance that begins or ends, if a bot has subscribed to its definition. */
    onApproval: (listener: (approval: Approval) => void): (() => void) =>
      approvals.onChange(guarded(listener, onProblem)),
    message: (messageId: string): Message | undefined => messages.get(messageId),
    /** In the order they were sent, of one chat or of all. */
    messages: (chatId?: string): readonly Message[] => messages.list(chatId),
    /** What the bots have sent, as it is now, without the messages that a call invented. */
    sent: (): readonly Message[] =>
      messages.list().filter(({ isAssumed, sender }) => !isAssumed && sender.kind === "app"),
    /**
     * A card entity, by its id or by the id of the message that shows it.
     * @throws {RangeError} There is none.
     */
    card(id: string) {
      const entity = entities.get(id) ?? entities.on(id);
      if (entity === undefined) throw new RangeError(`There is no card entity "${id}"`);
      const { cardId, messageId, card, isStreaming, history } = entity;
      return { cardId, messageId, card, isStreaming, history: (): readonly CardState[] => [...history] };
    },
    shownContent,
    approvals: approvals.list,
    /** The ids of the pinned messages, in the order they were pinned. */
    pins: pins.list,
    /** In the order they were added, on one message or on all. */
    reactions: reactions.list,
  };
}

/** A call does not fail because a listener throws. */
function guarded<Fact>(listener: (fact: Fact) => void, onProblem: OpenApiOptions["onProblem"]): (fact: Fact) => void {
  return (fact) => {
    try {
      listener(fact);
    } catch (error) {
      onProblem(error);
    }
  };
}
