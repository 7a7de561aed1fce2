import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startCloud } from "../../support/cloud.ts";
import { temporaryProject } from "../../support/project.ts";
import { projectFolder, secrets, startReceiver } from "../run.ts";

/** What `npm run secrets` stores. */
export function stored(app = secrets.appId): string {
  const { encryptKey, verificationToken } = secrets;
  return JSON.stringify({
    appId: app,
    encryptKeys: [{ value: encryptKey }],
    verificationTokens: [{ value: verificationToken }],
  });
}

/** A project without handlers whose functions are one line each, for what is said of a deployment: there is nothing to load or bundle. */
export async function smallProject() {
  const made = await temporaryProject({});
  for (const file of ["serverless.yml", "larkpost.config.js"]) {
    writeFileSync(join(made.root, file), readFileSync(join(projectFolder, file), "utf8"));
  }
  for (const name of ["webhook", "callback", "worker"]) {
    writeFileSync(join(made.root, `functions/${name}.ts`), "export const handler = async () => {};\n");
  }
  return made;
}

/** An AWS whose stacks have addresses at which something listens. */
export async function cloudWithReceiver() {
  const [cloud, receiver] = await Promise.all([startCloud(), startReceiver()]);
  cloud.addresses
    .set("RequestAddress", receiver.url)
    .set("CallbackAddress", receiver.url.replace("webhook", "callback"));
  cloud.store.put("/larkpost/prod/app", stored());
  return { cloud, receiver };
}
