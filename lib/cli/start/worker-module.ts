import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { defaultTryMs } from "../../aws/client.ts";
import { worker } from "../../aws/entries/worker.ts";
import { sdkClient } from "../../aws/sdk-client.ts";
import { projectRoot } from "../project.ts";

// What the process of `npm run worker` loads: functions/worker.ts with the AWS SDK's client, since the credentials of a
// container or a server are not in its environment.

async function list<Name extends "events" | "callbacks">(name: Name) {
  const file = pathToFileURL(join(projectRoot(), "functions", `${name}.gen.ts`)).href;
  return (await import(file)) as Pick<NonNullable<Parameters<typeof worker>[0]>, Name>;
}

export const handler = await worker({
  ...(await list("events")),
  ...(await list("callbacks")),
  aws: await sdkClient(defaultTryMs),
});
