import { fieldsOf, stringOf } from "../feishu/json.ts";

const longestMessage = 500;
/** Names that the platform gave: none of them can hold a sentence of what was sent. */
const field = /^[\w.[\]-]{1,64}$/;
const scope = /^[a-z][\w.:-]{1,63}$/;
const cardErrorCode = /ErrCode: ?(\d{1,10})\b/;
/** `ROOT -> body -> elements -> [0](tag: markdown)` */
const cardErrorPath = /ErrPath: ?(\w{1,24}(?: -> (?:\w{1,24}|\[\d{1,4}\](?:\(tag: \w{1,24}\))?)){1,12})/;

/**
 * What a refusal says beside its code. `parts` can be logged: the code and the path of a wrong card, the members that are
 * wrong, and the permissions of which the app lacks one.
 * https://open.feishu.cn/document/uAjLw4CM/ugTN1YjL4UTN24CO1UjN/trouble-shooting/how-to-fix-the-99991672-error
 */
export function refusalParts(body: unknown) {
  const { msg, error } = fieldsOf(body);
  const { field_violations: fields, permission_violations: permissions } = fieldsOf(error);
  const platformMessage = stringOf(msg)?.slice(0, longestMessage);
  const parts = {
    errCode: cardErrorCode.exec(platformMessage ?? "")?.[1],
    errPath: cardErrorPath.exec(platformMessage ?? "")?.[1],
    fields: names(fields, "field", field),
    scopes: names(permissions, "subject", scope),
  };
  return { platformMessage, parts: Object.fromEntries(Object.entries(parts).filter(([, value]) => value)) };
}

function names(list: unknown, member: string, shape: RegExp): string {
  const found = (Array.isArray(list) ? list.slice(0, 8) : []).map((entry) => fieldsOf(entry)[member]);
  return found.filter((name) => typeof name === "string" && shape.test(name)).join(" ");
}
