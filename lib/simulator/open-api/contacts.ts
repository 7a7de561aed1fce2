import { bot, department } from "../samples/facts.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import type { Call, Route } from "./route.ts";
import { type User, userIdTypes, type World } from "./world.ts";

/**
 * Reads one user by any of the three ids, and the bot itself.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/contact-v3/user/get
 * https://open.feishu.cn/document/ukTMukTMukTM/uAjMxEjLwITMx4CMyETM
 */
export function contactRoutes(world: World): Route[] {
  function get({ params, query }: Call): Answer {
    const wanted = query.get("user_id_type") ?? "open_id";
    const idType = userIdTypes.find((type) => type === wanted);
    if (idType === undefined) throw new Refusal(40001, "user_id_type must be open_id, union_id or user_id");
    const user = world.user(idType, params.get("user_id") ?? "");
    if (user === undefined) throw new Refusal(41012);
    return success({ user: view(user) });
  }
  const place = { method: "GET", access: "tenant", malformed: 40001 } as const;
  return [
    { ...place, path: "/open-apis/contact/v3/users/:user_id", operation: get },
    { ...place, path: "/open-apis/bot/v3/info", operation: botInfo },
  ];
}

/** `bot` stands beside `code`, not in `data`. */
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
    mobile_visible: false,
    gender: 0,
    status: { is_frozen: false, is_resigned: false, is_activated: true, is_exited: false, is_unjoin: false },
    department_ids: [department],
    is_tenant_manager: false,
    employee_no: "",
    employee_type: 1,
  };
}
