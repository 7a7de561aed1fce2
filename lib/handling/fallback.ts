import { oldCardType } from "../feishu/classify.ts";
import type { JsonObject } from "../feishu/json.ts";

export type Failure = "late" | "failed" | "unhandled" | "expired";

/** The answer that replaces a handler's: a toast for the person who clicked, or nothing for a preview. */
export function fallback(type: string, failure: Failure): JsonObject {
  if (type !== "card.action.trigger" && type !== oldCardType) return {};
  const [en_us, zh_cn] = texts[failure];
  // The client picks its language, which the platform does not send.
  return { toast: { type: "error", content: en_us, i18n: { en_us, zh_cn } } };
}

const texts: Readonly<Record<Failure, readonly [string, string]>> = {
  late: ["This is taking too long. Please try again later", "处理超时，请稍后重试"],
  failed: ["Something went wrong. Please try again later", "操作失败，请稍后重试"],
  expired: ["This card has expired", "该卡片已过期"],
  unhandled: ["This app does not handle this action yet", "此应用尚未处理该操作"],
};
