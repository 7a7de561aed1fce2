import { onEvent } from "../../lib/handler.ts";

/** Tells of each message in the log; the text itself stays out of it. */
export default onEvent("im.message.receive_v1", async ({ message }, { log }) => {
  const place = message.chat_type === "p2p" ? "a direct chat" : "a group";
  log.info(`A ${message.message_type} message arrived in ${place}`, { characters: message.content.length });
});
