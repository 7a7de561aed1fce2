import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { larkpost, projectFolder, temporaryRoot } from "../cli/run.ts";
import { nodeEnv } from "../support/node-env.ts";
import { until } from "../support/until.ts";

/** A program that connects to a simulated Feishu with the settings in its environment. */
export interface Client {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Whether it prints an event of schema 1.0. */
  readonly printsApproval: boolean;
  /** The toast of its answer to a click on a button. Without one it prints the click, and gives no answer. */
  readonly toast: string | undefined;
  /** The title of its answer to a link, if it is asked for previews. */
  readonly title?: string;
}

/** `larkpost simulate` in an empty folder, as a process of its own. */
export async function startSimulate(...args: readonly string[]) {
  const { root, remove } = temporaryRoot();
  const child = spawn(process.execPath, [`${projectFolder}/lib/cli/main.ts`, "simulate", "--json", ...args], {
    env: { ...nodeEnv, LARKPOST_ROOT: root },
    stdio: ["ignore", "pipe", "inherit"],
  });
  // biome-ignore lint/suspicious/noExplicitAny: whatever it prints.
  const lines: any[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
  const closed = once(child, "close");
  const { ready: _, ...settings } = await until("its settings", () => lines.find(({ ready }) => ready === true));
  return {
    root,
    lines,
    settings: settings as Readonly<Record<string, string>>,
    /** Pushes an event or a callback. @returns What `send --json` prints of it. */
    async send(...given: readonly string[]) {
      const { code, stdout, stderr } = await larkpost(["send", "--json", ...given], { root });
      return { code, stderr, ...JSON.parse(stdout.split("\n")[0] || "{}") };
    },
    connected: (count: number) =>
      until(
        `${count} connections`,
        () => lines.findLast(({ connections }) => connections !== undefined)?.connections === count,
      ),
    /** Ends it. @returns Its exit code. */
    async stop(): Promise<unknown> {
      child.kill("SIGTERM");
      const [code] = await closed;
      remove();
      return code;
    },
  };
}

export type Simulate = Awaited<ReturnType<typeof startSimulate>>;

/** The client connects, receives an event of each schema and callbacks, answers, and sends by the Open API. */
export async function drive(client: Client, simulate: Simulate): Promise<void> {
  const { command, args, env, printsApproval, toast, title } = client;
  const { HOME } = process.env;
  const child = spawn(command, args, {
    env: { ...nodeEnv, HOME, ...env, ...simulate.settings },
    stdio: "pipe",
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (more) => (text += more));
  const closed = once(child, "close");
  try {
    await Promise.race([simulate.connected(1), closed.then(() => assert.fail(`it has ended: ${text}`))]);
    const said = `pallet ${Math.random()}`;
    const message = await simulate.send("im.message.receive_v1", "--set", `event.message.content={"text":"${said}"}`);
    assert.equal(message.code, 0, `${JSON.stringify(message)} ${text}`);
    await until("its answer", () =>
      simulate.lines.some((line) => line.bot === "said" && JSON.stringify(line).includes(said)),
    );

    if (printsApproval) {
      const approval = await simulate.send("out_approval", "--set", "event.instance_code=17-B");
      assert.equal(approval.code, 0, `${JSON.stringify(approval)} ${text}`);
      await until("the approval", () => text.includes("out_approval 17-B"));
    }
    const click = await simulate.send("card.action.trigger", "--set", "event.action.tag=button");
    assert.equal(click.code, 0, `${JSON.stringify(click)} ${text}`);
    assert.equal(click.view.toast?.text, toast);
    if (toast === undefined) await until("the click", () => text.includes("card action button"));
    if (title !== undefined) {
      const link = await simulate.send("url.preview.get", "--set", "event.context.url=https://example.com/17");
      assert.equal(link.view?.title, title, `${JSON.stringify(link)} ${text}`);
    }
  } finally {
    child.kill("SIGKILL");
    await closed;
    await simulate.connected(0);
  }
}
