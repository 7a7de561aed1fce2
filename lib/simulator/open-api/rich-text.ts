import { fieldsOf, isObject, type JsonObject, stringOf } from "../../feishu/json.ts";

/** A part of a line, as the API returns it. */
export type Part = JsonObject;

/** Writes the mention of a person, by any id. `undefined` when there is no such person. */
export type At = (id: string) => { readonly key: string; readonly name: string } | undefined;

const inline =
  /!\[[^\]]{0,500}\]\(([^)\s]{1,500})\)|\[([^\]]{1,500})\]\(([^)\s]{1,2000})\)|<at (?:user_)?id="?([^">\s]{1,80})"?>[^<]{0,200}<\/at>|(\*{1,3}|~{1,2})(?=\S)(.{1,2000}?)\5/g;
const styles: Readonly<Record<string, readonly string[]>> = {
  "***": ["bold", "italic"],
  "**": ["bold"],
  "*": ["italic"],
  "~~": ["lineThrough"],
  "~": ["underline"],
};

/**
 * A post as the API returns it: one language, and other tags in place of Markdown. Lists and quotes stay text.
 * https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/im-v1/message/events/message_content
 */
export function receivedPost(post: JsonObject, at: At): object {
  const lines = listOf(post["content"]).flatMap((line) => {
    const parts = listOf(line).map(fieldsOf);
    const markdown = parts.find(({ tag }) => tag === "md");
    return markdown === undefined ? [parts.map((part) => postPart(part, at))] : markdownLines(markdown["text"], at);
  });
  return { title: stringOf(post["title"]) ?? "", content: lines };
}

function postPart(part: Part, at: At): Part {
  if (part["tag"] === "at") return { ...mention(String(part["user_id"]), at), style: part["style"] ?? [] };
  return part["tag"] === "text" || part["tag"] === "a" ? { style: [], ...part } : part;
}

/** A card as the API returns it: its title, and lines of what it shows. */
export function receivedCard(card: JsonObject, at: At): object {
  const { header, body, elements, i18n_elements: translated } = card;
  const shown = fieldsOf(body)["elements"] ?? elements ?? Object.values(fieldsOf(translated))[0];
  const title = fieldsOf(fieldsOf(header)["title"])["content"];
  return { title: stringOf(title) ?? "", elements: listOf(shown).flatMap((element) => cardLines(element, at)) };
}

function cardLines(value: unknown, at: At): Part[][] {
  const element = fieldsOf(value);
  const { tag, text, fields, extra, elements, columns, actions, header, content } = element;
  const all = (list: unknown) => listOf(list).flatMap((child) => cardLines(child, at));
  switch (tag) {
    case "markdown":
      return markdownLines(content, at);
    case "div":
      return [
        [text, ...listOf(fields).map((field) => fieldsOf(field)["text"])].flatMap((part) => textParts(part, at)),
        ...all(extra === undefined ? [] : [extra]),
      ];
    case "action":
      return [all(actions).flat()];
    case "note":
      return [[{ tag, elements: all(elements).flat() }]];
    case "collapsible_panel":
      return [textParts(fieldsOf(header)["title"], at), ...all(elements)];
    case "column_set":
    case "column":
    case "form":
    case "interactive_container":
      return all(columns ?? elements);
    case "plain_text":
    case "lark_md":
      return [textParts(element, at)];
    default:
      return [cardPart(element, at)];
  }
}

function cardPart(element: JsonObject, at: At): Part[] {
  const { tag, text, type, img_key: image, options, placeholder, title } = element;
  switch (tag) {
    case "img":
      return [...textParts(title, at), { tag, image_key: image }];
    case "button":
      return [{ tag, text: shownText(text), type: type ?? "default" }];
    default:
      return [
        {
          tag,
          ...(Array.isArray(options) ? { options: options.map((option) => shownText(fieldsOf(option)["text"])) } : {}),
          ...(isObject(placeholder) ? { placeholder: shownText(placeholder) } : {}),
        },
      ];
  }
}

function textParts(text: unknown, at: At): Part[] {
  const { tag, content } = fieldsOf(text);
  if (typeof content !== "string" || content === "") return [];
  return tag === "lark_md" ? markdownLines(content, at).flat() : [{ tag: "text", text: content }];
}

function shownText(text: unknown): string {
  return stringOf(fieldsOf(text)["content"]) ?? "";
}

function markdownLines(markdown: unknown, at: At): Part[][] {
  const lines: Part[][] = [];
  let code: { language: string; text: string[] } | undefined;
  const closeCode = () => {
    if (code !== undefined) lines.push([{ tag: "code_block", language: code.language, text: code.text.join("\n") }]);
    code = undefined;
  };
  for (const line of String(markdown ?? "").split("\n")) {
    const language = /^ {0,3}```(\w*)\s*$/.exec(line)?.[1];
    if (language !== undefined && code !== undefined) closeCode();
    else if (language !== undefined) code = { language: language.toUpperCase(), text: [] };
    else if (code !== undefined) code.text.push(line);
    else if (/^\s*-{3,}\s*$/.test(line)) lines.push([{ tag: "hr" }]);
    else if (line !== "") lines.push(inlineParts(line, at));
  }
  closeCode();
  return lines;
}

function inlineParts(line: string, at: At): Part[] {
  const parts: Part[] = [];
  let end = 0;
  const words = (text: string, style: readonly string[] = []) => {
    if (text !== "") parts.push({ tag: "text", text, style });
  };
  for (const { 0: whole, 1: image, 2: label, 3: href, 4: id, 5: mark = "", 6: marked, index } of line.matchAll(
    inline,
  )) {
    words(line.slice(end, index));
    end = index + whole.length;
    if (image !== undefined) parts.push({ tag: "img", image_key: image });
    else if (href !== undefined) parts.push({ tag: "a", href, text: label, style: [] });
    else if (id !== undefined) parts.push({ ...mention(id, at), style: [] });
    else words(marked ?? "", styles[mark]);
  }
  words(line.slice(end));
  return parts;
}

function mention(id: string, at: At): Part {
  const { key = id, name = "" } = at(id) ?? {};
  return { tag: "at", user_id: key, user_name: name };
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
