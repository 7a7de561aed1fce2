import { classify, oldCardType } from "../../feishu/classify.ts";
import { classifyOldCard } from "../../feishu/old-card.ts";
import { find, nearestText } from "../../simulator/catalogue.ts";
import { type Message, toMessage } from "../../simulator/platform/platform.ts";
import { oldCardSample, type SampleOptions, sampleEnvelope } from "../../simulator/samples/samples.ts";
import { UsageError } from "../command.ts";
import type { Target } from "../state/target.ts";
import {
  applySetting,
  completeEnvelope,
  completeOldCard,
  type FileContent,
  type Setting,
  settingWarning,
  wrapEvent,
} from "./payload.ts";
import { warn } from "./report.ts";

/** The content as a push has it, with the settings. */
export function messageOf(
  content: FileContent | undefined,
  type: string | undefined,
  options: SampleOptions & { readonly keep: boolean },
  settings: readonly Setting[] = [],
): Message {
  const envelope = envelopeOf(content, type, options);
  for (const setting of settings) {
    const warning = settingWarning(envelope, setting);
    if (warning !== undefined) warn(warning);
    applySetting(envelope, setting);
  }
  const text = JSON.stringify(envelope);
  return type === oldCardType && content?.is !== "envelope" ? oldCard(text) : toCheckedMessage(text);
}

/** @throws {UsageError} The file's content and the type do not go together. */
export function checkContent(
  content: FileContent | undefined,
  { type, file, keep, target }: { type: string | undefined; file: string | undefined; keep: boolean; target: Target },
): void {
  if (content?.is === "event" && type === undefined) {
    throw new UsageError(
      `Cannot send ${file}: it holds an event without an envelope, so its type has to be given as well`,
    );
  }
  if (content !== undefined && content.is !== "event" && type !== undefined && type !== content.type) {
    throw new UsageError(`Cannot send ${file} as "${type}": it holds "${content.type ?? "no type"}"`);
  }
  if (keep && content?.is === "envelope" && content.app !== undefined && content.app !== target.appId) {
    warn(`${file} names the app "${content.app}", but the receiver's is "${target.appId}": it will be refused`);
  }
}

function envelopeOf(
  content: FileContent | undefined,
  type = "",
  options: SampleOptions & { readonly keep: boolean },
): Record<string, unknown> {
  if (content?.is === "old card") return completeOldCard(content.text, options);
  if (content?.is === "envelope") return completeEnvelope(content.text, options);
  if (content?.is === "event") return wrapEvent(content.text, type, options);
  return type === oldCardType ? oldCardSample(options) : sampleEnvelope(type, options);
}

/** It has no envelope with its kind and id. A receiver without LEGACY_CARD_CALLBACK refuses it. */
function oldCard(text: string): Message {
  const { kind, ...callback } = classifyOldCard(text, {});
  if (kind === "callback" && "id" in callback) return { kind, id: callback.id, type: oldCardType, text };
  throw new UsageError("Cannot send the old card callback: it has no action");
}

function toCheckedMessage(text: string): Message {
  const classified = classify(text);
  if (classified.kind === "unreadable") {
    warn(`this is not an envelope that Larkpost can read (${classified.reason}): it will be quarantined`);
  }
  return toMessage(text);
}

export function checkType(type: string): void {
  if (find(type) !== undefined) return;
  warn(`"${type}" is not in the catalogue; it is sent as schema 2.0${nearestText(type, 3)}`);
}
