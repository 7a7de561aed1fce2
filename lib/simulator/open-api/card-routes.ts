import { isObject } from "../../feishu/json.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import {
  addElements,
  type Draft,
  deleteElement,
  type Effect,
  listOf,
  objectOf,
  patchElement,
  replaceElement,
  writeText,
} from "./card-elements.ts";
import type { CardEntities } from "./card-entities.ts";
import type { Messages } from "./messages.ts";
import { type Call, type Route, required } from "./route.ts";

const malformed = 10002;
const textLimit = 100_000;

/**
 * CardKit v1: card entities, their settings and their elements.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card/create
 * (and `…/card/settings`, `…/update`, `…/batch_update`, `…/id_convert`, `…/card-element/create`, `…/update`, `…/patch`,
 * `…/content`, `…/delete`)
 */
export function cardRoutes(entities: CardEntities, messages: Messages): Route[] {
  function create({ body, caller }: Call): Answer {
    const type = required(body, "type", malformed);
    if (type !== "card_json" && type !== "template") throw new Refusal(malformed, "type must be card_json or template");
    const data = body["data"];
    if (data === undefined || data === "") throw new Refusal(300307);
    const card = objectOf(data);
    if (type === "template") required(card, "template_id", 200220);
    const content = type === "template" ? { type, data: card } : card;
    return success({ card_id: entities.create(caller.appId, content).cardId });
  }

  function convertId({ body, caller }: Call): Answer {
    const message = messages.get(required(body, "message_id", malformed));
    if (message?.msgType !== "interactive") throw new Refusal(malformed, "message_id is not a card's");
    return success({ card_id: entities.ofMessage(message, caller.appId).cardId });
  }

  /** A route that changes a card. */
  const changing = (
    method: string,
    path: string,
    what: string,
    change: (draft: Draft, call: Call) => Effect,
  ): Route => ({
    method,
    malformed,
    access: "tenant",
    path: `/open-apis/cardkit/v1/cards/:card_id${path}`,
    operation(call: Call) {
      entities.operate(call, what, (draft) => change(draft, call));
      return success();
    },
  });
  const idOf = ({ params }: Call) => params.get("element_id");

  function content(call: Call): Answer {
    const text = required(call.body, "content", malformed);
    if (text.length > textLimit) throw new Refusal(malformed, `content may have ${textLimit} characters`);
    entities.operate(call, "streamed", (draft, entity) => {
      entity.needStreaming();
      return writeText(draft, idOf(call), text);
    });
    return success();
  }

  const cards = "/open-apis/cardkit/v1/cards";
  const element = "/elements/:element_id";
  return [
    { method: "POST", path: cards, access: "tenant", malformed, operation: create },
    { method: "POST", path: `${cards}/id_convert`, access: "tenant", malformed, operation: convertId },
    changing("PUT", "", "updated", (draft, { body: { card } }) => {
      const { type, data } = isObject(card) ? card : {};
      if (type !== "card_json") throw new Refusal(malformed, "card.type must be card_json");
      if (data === undefined || data === "") throw new Refusal(300307);
      const next = objectOf(data);
      for (const name of Object.keys(draft)) delete draft[name];
      Object.assign(draft, next);
      return {};
    }),
    changing("PATCH", "/settings", "settings", (draft, { body }) => set(draft, body["settings"])),
    changing("POST", "/batch_update", "batch", (draft, { body }) => {
      const effects = listOf(body["actions"]).map((action) => act(draft, action));
      return { isOpened: effects.some(({ isOpened }) => isOpened === true) };
    }),
    changing("POST", "/elements", "added elements", (draft, { body }) => addElements(draft, body)),
    changing("PUT", element, "replaced an element", (draft, call) =>
      replaceElement(draft, idOf(call), call.body["element"]),
    ),
    changing("PATCH", element, "changed an element", (draft, call) =>
      patchElement(draft, idOf(call), call.body["partial_element"]),
    ),
    changing("DELETE", element, "deleted an element", (draft, call) => deleteElement(draft, idOf(call))),
    { method: "PUT", path: `${cards}/:card_id${element}/content`, access: "tenant", malformed, operation: content },
  ];
}

/** Changes the members of `config`, and the link. */
function set(draft: Draft, settings: unknown): Effect {
  const { config = {}, card_link: link } = objectOf(settings);
  if (!isObject(config)) throw new Refusal(300122, "config must be an object");
  draft["config"] = { ...(isObject(draft["config"]) ? draft["config"] : {}), ...config };
  if (link !== undefined) draft["card_link"] = link;
  return { isOpened: config["streaming_mode"] === true };
}

function act(draft: Draft, { action, params = {} }: Draft): Effect {
  if (!isObject(params)) throw new Refusal(malformed, "params must be an object");
  switch (action) {
    case "partial_update_setting":
      return set(draft, params["settings"]);
    case "add_elements":
      return addElements(draft, params);
    case "delete_elements": {
      const { element_ids: ids } = params;
      if (!Array.isArray(ids)) throw new Refusal(malformed, "element_ids must be a list");
      for (const id of ids) deleteElement(draft, id);
      return {};
    }
    case "partial_update_element":
      return patchElement(draft, params["element_id"], params["partial_element"]);
    case "update_element":
      return replaceElement(draft, params["element_id"], params["element"]);
    default:
      throw new Refusal(malformed, `there is no action ${String(action)}`);
  }
}
