import { nearest } from "../nearest.ts";
import rows from "./event-types.json" with { type: "json" };

/** A type that the platform is known to push. The catalogue informs; a type outside it is received all the same. */
export interface CatalogueEntry {
  readonly type: string;
  readonly version: "1.0" | "2.0";
  readonly kind: "event" | "callback";
  readonly domain: string;
  readonly title: string;
  /** What the platform calls them in Chinese; of a title that it has not published, `null`. */
  readonly chinese: { readonly domain: string; readonly title: string | null };
  /** Whether the official Node SDK types its payload. */
  readonly isTyped: boolean;
}

/**
 * A row of event-types.json, under its domain: type, version, title, the platform's Chinese title, typed by the SDK,
 * and for callbacks the kind.
 */
type Row = readonly [
  type: string,
  version: CatalogueEntry["version"],
  title: string,
  chineseTitle: string | null,
  isTyped: boolean,
  kind?: "callback",
];

/** The platform's names of the domains, as its documentation and its console group them. */
const chineseDomains: Readonly<Record<string, string>> = {
  acs: "智能门禁",
  apaas: "飞书 aPaaS",
  application: "应用信息",
  approval: "审批",
  attendance: "考勤打卡",
  auth: "身份验证",
  calendar: "日历",
  card: "飞书卡片",
  compensation: "薪酬管理",
  contact: "通讯录",
  corehr: "飞书人事",
  drive: "云文档",
  elearning: "eLearning",
  helpdesk: "服务台",
  hire: "招聘",
  im: "消息与群组",
  link_preview: "链接预览",
  mail: "邮箱",
  meeting_room: "会议室",
  minutes: "妙记",
  moments: "公司圈",
  payroll: "Payroll",
  performance: "绩效",
  security_and_compliance: "安全合规",
  task: "任务",
  vc: "视频会议",
};

/** Every entry, by domain and then by type. */
export const catalogue: readonly CatalogueEntry[] = Object.entries(rows as unknown as Record<string, Row[]>).flatMap(
  ([domain, entries]) =>
    entries.map(([type, version, title, chineseTitle, isTyped, kind]) => ({
      type,
      version,
      kind: kind ?? "event",
      domain,
      title,
      chinese: { domain: chineseDomains[domain] ?? domain, title: chineseTitle },
      isTyped,
    })),
);

const byType: ReadonlyMap<string, CatalogueEntry> = new Map(catalogue.map((entry) => [entry.type, entry]));

export function find(type: string): CatalogueEntry | undefined {
  return byType.get(type);
}

/** Entries in which every word occurs, in whichever column; all entries when there is no word. */
export function search(words: readonly string[]): CatalogueEntry[] {
  const wanted = words.flatMap((word) => word.toLowerCase().split(/\s+/)).filter((word) => word !== "");
  return catalogue.filter(({ type, version, kind, domain, title, chinese }) => {
    const texts = [type, `v${version}`, kind, domain, title, chinese.domain, chinese.title ?? ""];
    const text = texts.join("\n").toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

/** The types that someone who wrote `name` may have meant. */
export function nearestTypes(name: string, n: number): string[] {
  return nearest(name, [...byType.keys()], n);
}

/**
 * Two types that report one fact, with unrelated ids: subscribed to both, an app handles everything
 * twice, and no idempotency key can tell. The older one first.
 * https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM
 */
export const samePairs: readonly (readonly [older: string, newer: string])[] = [
  ["message", "im.message.receive_v1"],
  ["message_read", "im.message.message_read_v1"],
  ["p2p_chat_create", "im.chat.access_event.bot_p2p_chat_entered_v1"],
  ["add_bot", "im.chat.member.bot.added_v1"],
  ["remove_bot", "im.chat.member.bot.deleted_v1"],
  ["add_user_to_chat", "im.chat.member.user.added_v1"],
  ["remove_user_from_chat", "im.chat.member.user.deleted_v1"],
  ["revoke_add_user_from_chat", "im.chat.member.user.withdrawn_v1"],
  ["chat_disband", "im.chat.disbanded_v1"],
  ["group_setting_update", "im.chat.updated_v1"],
  ["user_add", "contact.user.created_v3"],
  ["user_update", "contact.user.updated_v3"],
  ["user_leave", "contact.user.deleted_v3"],
  ["dept_add", "contact.department.created_v3"],
  ["dept_update", "contact.department.updated_v3"],
  ["dept_delete", "contact.department.deleted_v3"],
  ["contact_scope_change", "contact.scope.updated_v3"],
  // No two schemas here: one approved leave is pushed as both, to whoever subscribed to leaves.
  ["leave_approval", "leave_approvalV2"],
];

/** The pairs of which `types` has both: each fact would be handled twice. */
export function doublySubscribed(types: readonly string[]): [string, string][] {
  const subscribed = new Set(types);
  return samePairs
    .filter(([older, newer]) => subscribed.has(older) && subscribed.has(newer))
    .map(([older, newer]) => [older, newer]);
}
