import { department } from "../samples/facts.ts";
import { type Answer, Refusal, success } from "./answer.ts";
import type { Call, Route } from "./route.ts";
import { type User, userIdTypes, type World } from "./world.ts";

/**
 * Reads one user by any of the three ids.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/contact-v3/user/get
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
  return [
    { method: "GET", path: "/open-apis/contact/v3/users/:user_id", access: "tenant", malformed: 40001, operation: get },
  ];
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
