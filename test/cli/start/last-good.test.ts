import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { checkHandlers } from "../../../lib/cli/check/check.ts";
import { generate, handlerNames } from "../../../lib/cli/handlers/generate.ts";
import { rememberGood } from "../../../lib/cli/start/last-good.ts";
import { lastGoodVariable, loadLastGood } from "../../../lib/local/last-good.ts";
import { temporaryProject } from "../../support/project.ts";

const [first, second, third] = [
  "contact.user.created_v3",
  "contact.user.updated_v3",
  "contact.user.deleted_v3",
] as const;
const handler = (type: string, name = "rate", more = "") => `import { onEvent } from "larkpost";
import { ${name} } from "../shared/rates.js";
${more}export default onEvent("${type}", async () => void ${name});
`;
const file = (type: string) => `functions/events/${type}.ts`;
/** JavaScript: to strip types takes longer than the check. */
const rates = "functions/shared/rates.js";
const data = "functions/shared/data.json";
const outside = "src/tax.mts";
/** What the project holds at first: its handlers, and what they import. */
const handlers = {
  [first]: handler(first),
  [second]: handler(second, "rate", 'import { tax } from "../../src/tax.mts";\nvoid tax;\n'),
  [third]: handler(third, "rate", 'import "../shared/data.json" with { type: "json" };\n'),
};
const imported = {
  [rates]: "export const rate = 1;\n",
  [data]: '{ "rate": 1 }',
  [outside]: "export const tax = 1;\n",
};
const typo = "const n = ;\n";
const renamed = { [rates]: "export const price = 1;\n" };

/** What is saved at once, and what goes on in its last good version. */
type Files = Readonly<Record<string, string | undefined>>;
const saves: Readonly<Record<string, { saved: Files; kept: readonly string[]; told?: string }>> = {
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
  "a JSON file and code outside functions/ are broken": {
    saved: { [data]: '{ "rate":', [outside]: typo },
    kept: [data, outside],
  },
  "shared code is deleted": {
    saved: { [rates]: undefined },
    kept: [rates],
    told: `${file(first)}:2 imports ${rates}, which is not there. Create it, or correct the import`,
  },
  "code outside functions/ is deleted, with a handler": {
    saved: { [outside]: undefined, [file(first)]: undefined },
    kept: [outside],
    told: `${file(second)}:3 imports ${outside}, which is not there. Create it, or correct the import`,
  },
  "nothing is broken": { saved: { [rates]: "export const rate = 2;\n" }, kept: [] },
};

/** What the check finds in the project as it is at first: each test begins with it. */
let checkedGood: Awaited<ReturnType<typeof checkHandlers>>;
before(async () => {
  const { root, remove } = await goodProject();
  checkedGood = await checkHandlers(root, process.env);
  remove();
});

/** One for each test: Node keeps what it has compiled of a file, and for the next run that is the same. */
async function goodProject() {
  const project = await temporaryProject(handlers);
  for (const folder of ["functions/shared", "src"]) mkdirSync(join(project.root, folder));
  for (const [path, text] of Object.entries(imported)) writeFileSync(join(project.root, path), text);
  return project;
}

for (const [what, { saved, kept, told }] of Object.entries(saves)) {
  test(`what npm start keeps when ${what}`, async (t) => {
    const { root, remove } = await goodProject();
    t.after(remove);
    const lastGoodFile = join(root, "last-good.json");
    const checkAgain = async () =>
      (await checkHandlers(root, { ...process.env, [lastGoodVariable]: lastGoodFile })).findings;
    const remembered = rememberGood(root, lastGoodFile);
    assert.deepEqual(await remembered.keep(checkedGood, checkAgain), []);
    for (const [path, text] of Object.entries(saved)) {
      if (text === undefined) rmSync(join(root, path));
      else writeFileSync(join(root, path), text);
    }
    await generate({ root });
    const checked = await checkHandlers(root, process.env);
    if (told !== undefined) {
      const [first] = checked.findings;
      assert.equal(`${first?.file}:${first?.line} ${first?.message}`, told);
    }
    assert.deepEqual((await remembered.keep(checked, checkAgain)).sort(), [...kept].sort());
    // All handlers can be loaded. As a process of theirs does it, but for its start.
    loadLastGood(lastGoodFile);
    for (const type of handlerNames("events", root)) await import(pathToFileURL(join(root, file(type))).href);
  });
}
