import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { checkHandlers } from "../../../lib/cli/check/check.ts";
import { generate } from "../../../lib/cli/handlers/generate.ts";
import { rememberGood } from "../../../lib/cli/start/last-good.ts";
import { lastGoodVariable } from "../../../lib/local/last-good.ts";
import { temporaryProject } from "../../support/project.ts";

const [first, second, third] = [
  "contact.user.created_v3",
  "contact.user.updated_v3",
  "contact.user.deleted_v3",
] as const;
const handler = (type: string, name = "rate", more = "") => `import { onEvent } from "larkpost";
import { ${name} } from "../shared/rates.ts";
${more}export default onEvent("${type}", async () => void ${name});
`;
const file = (type: string) => `functions/events/${type}.ts`;
const rates = "functions/shared/rates.ts";
const data = "functions/shared/data.json";
/** What the project holds at first. */
const good = {
  [rates]: "export const rate = 1;\n",
  [data]: '{ "rate": 1 }',
  [file(first)]: handler(first),
  [file(second)]: handler(second),
  [file(third)]: handler(third, "rate", 'import "../shared/data.json" with { type: "json" };\n'),
};
const typo = "const n = ;\n";
const renamed = { [rates]: "export const price = 1;\n" };

/** What is saved at once, and what goes on in its last good version. */
const saves: Readonly<Record<string, { saved: Readonly<Record<string, string>>; kept: readonly string[] }>> = {
  "shared code is broken": { saved: { [rates]: typo }, kept: [rates] },
  "shared code no longer has what two handlers import": { saved: renamed, kept: [rates] },
  "one of two handlers follows what shared code has become": {
    saved: { ...renamed, [file(first)]: handler(first, "price") },
    kept: [file(first), rates],
  },
  "all follow, one with a mistake: its last good version would not fit": {
    saved: {
      ...renamed,
      [file(first)]: handler(first, "price", typo),
      [file(second)]: handler(second, "price"),
      [file(third)]: handler(third, "price"),
    },
    kept: [file(first), file(third), file(second), rates],
  },
  "a file is broken, and another is changed": {
    saved: { [file(first)]: handler(first, "rate", typo), [file(second)]: handler(second, "rate", "void 0;\n") },
    kept: [file(first)],
  },
  "a JSON file is broken": { saved: { [data]: '{ "rate":' }, kept: [data] },
  "nothing is broken": { saved: { [rates]: "export const rate = 2;\n" }, kept: [] },
};

let project: Awaited<ReturnType<typeof temporaryProject>>;
before(async () => {
  project = await temporaryProject({});
  mkdirSync(join(project.root, "functions/shared"));
});
after(() => project.remove());

for (const [what, { saved, kept }] of Object.entries(saves)) {
  test(`what npm start keeps when ${what}`, async () => {
    const { root } = project;
    const write = (files: Readonly<Record<string, string>>) => {
      for (const [path, text] of Object.entries(files)) writeFileSync(join(root, path), text);
    };
    const lastGoodFile = join(root, "last-good.json");
    const check = async () => (await checkHandlers(root, process.env)).findings;
    const checkAgain = async () =>
      (await checkHandlers(root, { ...process.env, [lastGoodVariable]: lastGoodFile })).findings;
    write(good);
    await generate({ root });
    const remembered = rememberGood(root, lastGoodFile);
    assert.deepEqual(await remembered.keep(await check(), checkAgain), []);
    write(saved);
    assert.deepEqual((await remembered.keep(await check(), checkAgain)).sort(), [...kept].sort());
    assert.deepEqual(await checkAgain(), [], "all handlers can be loaded");
  });
}
