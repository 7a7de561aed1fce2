import type { Entry } from "../../simulator/chat/journal.ts";
import type { MessageView } from "../../simulator/chat/message-view.ts";

/** The cards of a conversation in the order they were sent, and the one on which a number chooses. */
export function createCards() {
  const cards = new Map<string, MessageView>();
  let selectedId: string | undefined;

  return {
    count: () => cards.size,
    selected: () => cards.get(selectedId ?? ""),
    /** Selects the `n`th last card. */
    select(n: number): MessageView | undefined {
      const message = [...cards.values()].at(-n);
      if (message !== undefined) selectedId = message.messageId;
      return message;
    },
    /**
     * A card that changes keeps its place in the list.
     * @param isShown Whether the terminal shows the entry. Only then the card is selected.
     */
    apply(entry: Entry, isShown: boolean): void {
      if (entry.what === "recalled") {
        cards.delete(entry.message.messageId);
      } else if ("message" in entry && entry.message.card !== undefined) {
        cards.set(entry.message.messageId, entry.message);
        if (isShown) selectedId = entry.message.messageId;
      }
    },
  };
}
