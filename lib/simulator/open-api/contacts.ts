import { bot, department, groupChat, mei } from "../samples/facts.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import { type Call, page, type Route } from "./route.ts";
import { idTypeOf, type User, type World } from "./world.ts";

const malformed = 40001;
const maxIds = 50;

/**
 * Reads users by any of the three ids, finds them by their addresses, reads their department, and the bot itself.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/contact-v3/user/get
 * (and `…/user/batch`, `…/user/batch_get_id`, `…/user/find_by_department`, `…/department/get`)
 * https://open.feishu.cn/document/ukTMukTMukTM/uAjMxEjLwITMx4CMyETM
 */
export function contactRoutes(world: World): Route[] {
  function get({ params, query }: Call): Answer {
    const user = world.user(idTypeOf(query, malformed), params.get("user_id") ?? "");
    if (user === undefined) throw new Refusal(41012);
    return success({ user: view(user) });
  }

  function batch({ query }: Call): Answer {
    const idType = idTypeOf(query, malformed);
    const ids = query.getAll("user_ids");
    if (ids.length === 0 || ids.length > maxIds) throw new Refusal(malformed, `user_ids must have 1 to ${maxIds} ids`);
    const found = ids.map((id) => world.user(idType, id));
    return success({ items: found.flatMap((user) => (user === undefined ? [] : [view(user)])) });
  }

  /** An address that belongs to nobody is in the answer without an id. The people here have no numbers. */
  function findIds({ query, body }: Call): Answer {
    const idType = idTypeOf(query, malformed);
    const lists = ["emails", "mobiles"].map((name) => [name, body[name] ?? []] as const);
    for (const [name, list] of lists) {
      if (!Array.isArray(list) || list.length > maxIds) {
        throw new Refusal(malformed, `${name} must be a list of at most ${maxIds}`);
      }
    }
    const [emails, mobiles] = lists.map(([, list]) => (list as unknown[]).map(String));
    const byEmail = (emails ?? []).map((email) => {
      const user = world.users().find(({ email: known }) => known === email);
      return user === undefined ? { email } : { user_id: user[idType], email, status };
    });
    return success({ user_list: [...byEmail, ...(mobiles ?? []).map((mobile) => ({ mobile }))] });
  }

  function members({ query }: Call): Answer {
    if (query.get("department_id") !== department && query.get("department_id") !== "0") throw new Refusal(40015);
    const { items, ...rest } = page(world.users(), query, { code: malformed, size: 10, maxSize: maxIds });
    return success({ items: items.map(view), ...rest });
  }

  function getDepartment({ params, query }: Call): Answer {
    if (params.get("department_id") !== department) throw new Refusal(40015);
    const leader = mei[idTypeOf(query, malformed)];
    return success({
      department: {
        name: "Warehouse",
        i18n_name: {},
        parent_department_id: "0",
        order: "1",
        department_id: department.slice(3, 11),
        open_department_id: department,
        leader_user_id: leader,
        member_count: world.users().length,
        status: { is_deleted: false },
        leaders: [],
        chat_id: groupChat,
      },
    });
  }

  const place = { access: "tenant", malformed } as const;
  const contact = "/open-apis/contact/v3";
  return [
    { ...place, method: "GET", path: `${contact}/users/batch`, operation: batch },
    { ...place, method: "GET", path: `${contact}/users/find_by_department`, operation: members },
    { ...place, method: "POST", path: `${contact}/users/batch_get_id`, operation: findIds },
    { ...place, method: "GET", path: `${contact}/users/:user_id`, operation: get },
    { ...place, method: "GET", path: `${contact}/departments/:department_id`, operation: getDepartment },
    { ...place, method: "GET", path: "/open-apis/bot/v3/info", operation: botInfo },
  ];
}

const status = { is_frozen: false, is_resigned: false, is_activated: true, is_exited: false, is_unjoin: false };

/** `bot` is beside `code`, not in `data`. */
function botInfo(): Answer {
  const info = { activate_status: 2, app_name: "Larkpost", avatar_url: "", ip_white_list: [], open_id: bot.open_id };
  return { status: 200, body: { code: 0, msg: "ok", bot: info } };
}

function view(user: User): object {
  return {
    union_id: user.union_id,
    user_id: user.user_id,
    open_id: user.open_id,
    name: user.name,
    en_name: user.name,
    nickname: "",
    email: user.email,
    avatar: { avatar_72: "", avatar_240: "", avatar_640: "", avatar_origin: "" },
    mobile_visible: false,
    gender: 0,
    status,
    department_ids: [department],
    is_tenant_manager: false,
    employee_no: "",
    employee_type: 1,
  };
}
