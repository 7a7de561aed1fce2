import type { CatalogueEntry } from "../../simulator/catalogue.ts";
import { hasSample, sampleEnvelope } from "../../simulator/samples/samples.ts";

// What `npm run new` writes. Each file compiles and passes as it is.

/** A handler file for an entry of the catalogue. */
export function handlerSource(entry: CatalogueEntry): string {
  return entry.kind === "callback" ? callbackSource(entry) : eventSource(entry);
}

/** A test that runs the handler on a sample. */
export function testSource({ type, kind }: CatalogueEntry): string {
  return kind === "callback"
    ? `import assert from "node:assert/strict";
import { test } from "node:test";
import { callbackContextFor, checkAnswer } from "larkpost/test";
import handler from "./${type}.ts";

test("answers a sample of ${type} as the platform wants it", async () => {
  const { callback, context } = callbackContextFor("${type}");
  const checked = checkAnswer("${type}", await handler.handle(callback, context));
  assert.ok("answer" in checked, JSON.stringify(checked));
});
`
    : `import assert from "node:assert/strict";
import { test } from "node:test";
import { contextFor } from "larkpost/test";
import handler from "./${type}.ts";

test("handles a sample of ${type}", async () => {
  const { event, context } = contextFor("${type}");
  await assert.doesNotReject(async () => handler.handle(event, context));
});
`;
}

function eventSource(entry: CatalogueEntry): string {
  const { type, title, version, isTyped } = entry;
  const declaration = isTyped && !mistyped.has(type) ? "" : `\n${declarationSource(entry)}`;
  const key = messageKeys.get(type);
  const { imports, parameters, body } = eventBodies.get(type) ?? {
    imports: "onEvent",
    parameters: "event, { log }",
    body: [`log.info("${title}", { keys: Object.keys(event).join(", ") });`],
  };
  const handler =
    key === undefined
      ? `onEvent("${type}", async (${parameters}) => {
  ${body.join("\n  ")}
});`
      : `onEvent(
  "${type}",
  async (${parameters}) => {
    ${body.join("\n    ")}
  },
  // The platform advises this for messages: a repeated push may carry another event id.
  { key: ${key} },
);`;
  return `import { ${imports} } from "larkpost";
${declaration}
/** ${title} (schema ${version}). Returning means done, throwing means another attempt. */
export default ${handler}
`;
}

/** Lines that a type's own handler begins with. */
const eventBodies: ReadonlyMap<
  string,
  { readonly imports: string; readonly parameters: string; readonly body: readonly string[] }
> = new Map([
  [
    "im.message.receive_v1",
    {
      imports: "onEvent, textOf",
      parameters: "{ sender, message }, { log }",
      body: [
        "// Two bots that answer each other never stop.",
        'if (sender.sender_type !== "user") return;',
        "const text = textOf(message);",
        'log.info("Message received", { characters: text.length });',
      ],
    },
  ],
]);

/** Types whose identity is not the event's id, and what it is instead. */
const messageKeys: ReadonlyMap<string, string> = new Map([
  ["im.message.receive_v1", "({ message }) => message.message_id"],
  ["message", "({ open_message_id }) => open_message_id"],
]);

/** Types for which the SDK promises shapes that the wire does not have: lists that arrive as texts. */
const mistyped: ReadonlySet<string> = new Set(["out_approval", "leave_approvalV2"]);

/** The payload's type, where the SDK has none: read off the sample, if there is one. */
function declarationSource({ type, version }: CatalogueEntry): string {
  const name = isIdentifier(type) ? type : JSON.stringify(type);
  const options = { nowMs: 0, appId: "cli_", newId: () => "0", schema: version };
  const shape = hasSample(type) ? shapeOf(sampleEnvelope(type, options).event, "    ") : "Record<string, unknown>";
  const comment = hasSample(type)
    ? "As in the sample; other members may come, and some of these may not."
    : "Its shape is not known here: write down the members that you use.";
  return `declare module "larkpost" {
  interface EventTypes {
    /** ${comment} */
    ${name}: ${shape};
  }
}
`;
}

/** A TypeScript type that the value has; objects over several lines, as the formatter keeps them. */
function shapeOf(value: unknown, indent: string): string {
  if (Array.isArray(value)) {
    const [first] = value;
    return first === undefined ? "unknown[]" : `${shapeOf(first, indent)}[]`;
  }
  if (value === null) return "unknown";
  if (typeof value !== "object") return typeof value;
  const members = Object.entries(value).map(
    ([name, member]) =>
      `${indent}  ${isIdentifier(name) ? name : JSON.stringify(name)}: ${shapeOf(member, `${indent}  `)};\n`,
  );
  return members.length === 0 ? "Record<string, unknown>" : `{\n${members.join("")}${indent}}`;
}

function isIdentifier(name: string): boolean {
  return /^[A-Za-z_$][\w$]*$/.test(name);
}

/** Each callback type's own answer: what its question is, and the lines that answer it. */
const callbackBodies: ReadonlyMap<string, { readonly is: string; readonly parameters: string; readonly body: string }> =
  new Map([
    [
      "card.action.trigger",
      {
        is: "Somebody used a component of a card. Answer with a toast, a new card, both, or {}.",
        parameters: "{ action }, { log }",
        body: `  // action.value holds what the card gave the component; whoever clicked may have changed it (see signValue).
  log.info("A card was used", { tag: action.tag });
  return { toast: { type: "success", content: "Done" } };`,
      },
    ],
    [
      "card.action.trigger_v1",
      {
        is: `Somebody used a component of a card; the old protocol, received only when LEGACY_CARD_CALLBACK is "true".
 * Answer with a toast, a whole card, or {} to leave the card as it is.`,
        parameters: "{ action }, { log }",
        body: `  log.info("A card was used", { tag: action.tag });
  return { toast: { type: "success", content: "Done" } };`,
      },
    ],
    [
      "url.preview.get",
      {
        is: "Somebody sees a link of yours. Answer with an inline title, a card, both, or {} for no preview.",
        parameters: "{ context }",
        body: `  const title = URL.parse(context.url)?.hostname ?? "A link";
  return { inline: { title } };`,
      },
    ],
  ]);

function callbackSource({ type, title }: CatalogueEntry): string {
  const { is, parameters, body } = callbackBodies.get(type) ?? {
    is: `${title}. The platform has published neither what it asks nor what it takes; {} answers nothing.`,
    parameters: "callback, { log }",
    body: `  log.info("${title}", { keys: Object.keys(callback).join(", ") });
  return {};`,
  };
  return `import { onCallback } from "larkpost";

/**
 * ${is}
 * The user waits: what takes over 2.3 seconds, or throws, is answered by a fallback, and there is no other
 * attempt. Put slow work off with the context's \`defer\`.
 */
export default onCallback("${type}", async (${parameters}) => {
${body}
});
`;
}
