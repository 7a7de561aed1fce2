import { projectRoot } from "../project.ts";
import { apply } from "./apply.ts";
import { changeLines, printChanges } from "./changes.ts";
import { longConnectionPreflight, type Wishes } from "./preflight/long-connection.ts";

/** Deploys the long connection of a stage: a stack of its own, beside the stage's. */
export async function deployLongConnection(wishes: Wishes, isDry: boolean): Promise<void> {
  const root = projectRoot();
  const ready = await longConnectionPreflight(root, wishes);
  if (isDry) {
    printChanges(ready, await changeLines(ready, root));
    return;
  }
  const { stack, account } = ready;
  console.log(`Deploys the stack ${stack.name} in ${stack.region} of account ${account}`);
  if (!(await apply(ready))) {
    console.error(
      `Cannot deploy ${stack.name}: CloudFormation has taken it back. The reason is above, or in the log /ecs/${stack.name}`,
    );
    process.exitCode = 1;
    return;
  }
  console.log(`
The long connection is open. In the Feishu developer console, open your app, then Events & Callbacks (事件与回调):
  1. Choose the long connection for events, and for callbacks: as the Subscription mode, Receive events through
     persistent connection (使用长连接接收事件), and Receive callbacks through … (使用长连接接收回调).
  2. Add the events and callbacks that functions/ has files for.
  3. Publish a version of the app.
`);
}
