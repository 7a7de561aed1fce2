import rows from "./event-types.json" with { type: "json" };
import { nearest } from "./nearest.ts";

/** A type that the platform pushes. Larkpost also receives types that are not in the catalogue. */
export interface CatalogueEntry {
  readonly type: string;
  readonly version: "1.0" | "2.0";
  readonly kind: "event" | "callback";
  readonly domain: string;
  readonly title: string;
  /** Feishu's Chinese names. `title` is `null` where Feishu has published none. */
  readonly chinese: { readonly domain: string; readonly title: string | null };
  /** Whether the official Node SDK types its payload. */
  readonly isTyped: boolean;
}

/**
 * A row of event-types.json, which groups the rows by domain. The kind is only given for callbacks.
 */
type Row = readonly [
  type: string,
  version: CatalogueEntry["version"],
  title: string,
  chineseTitle: string | null,
  isTyped: boolean,
  kind?: "callback",
];

/** The Chinese names of the domains, as in Feishu's documentation and console. */
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

/** The entries in which every word occurs, in any column. Without words, all entries. */
export function search(words: readonly string[]): CatalogueEntry[] {
  const wanted = words.flatMap((word) => word.toLowerCase().split(/\s+/)).filter((word) => word !== "");
  return catalogue.filter(({ type, version, kind, domain, title, chinese }) => {
    const texts = [type, `v${version}`, kind, domain, title, chinese.domain, chinese.title ?? ""];
    const text = texts.join("\n").toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

/**
 * Up to `n` types that `name` may mean: those that a search for it finds, then those with a similar name.
 * Types are Latin letters, so no type is similar to a Chinese name.
 * @param others Names that are as good as types.
 */
export function nearestTypes(name: string, n: number, others: readonly string[] = []): string[] {
  const found = name === "" ? [] : search([name]).map(({ type }) => type);
  const similar = /[a-z]/i.test(name) ? nearest(name, [...byType.keys(), ...others], n) : [];
  return [...new Set([...found, ...similar])].slice(0, n);
}

/** `. Nearest: "a", "b"`, the end of a message about a type that is not in the catalogue; empty if nothing is near. */
export function nearestText(name: string, n: number, others?: readonly string[]): string {
  const types = nearestTypes(name, n, others).map((type) => `"${type}"`);
  return types.length === 0 ? "" : `. Nearest: ${types.join(", ")}`;
}

/**
 * Pairs of types that report the same fact with unrelated ids, the older type first. An app that subscribes to both
 * handles each fact twice, because the idempotency keys differ.
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
  // Both are schema 1.0. An app that subscribed to leaves gets both for one approved leave.
  ["leave_approval", "leave_approvalV2"],
];

/** The pairs of which `types` contains both. */
export function doublySubscribed(types: readonly string[]): [string, string][] {
  const subscribed = new Set(types);
  return samePairs
    .filter(([older, newer]) => subscribed.has(older) && subscribed.has(newer))
    .map(([older, newer]) => [older, newer]);
}
