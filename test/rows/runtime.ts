import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { AwsClient } from "../../lib/aws/client.ts";
import { idempotencyKey } from "../../lib/handling/idempotency.ts";
import { leaseMarginMs } from "../../lib/handling/worker.ts";
import { queueUrl } from "../../lib/local/sqs.ts";
import { clientTo } from "../support/aws.ts";
import { eventText } from "../support/events.ts";
import { ask } from "../support/page.ts";
import { temporaryProject } from "../support/project.ts";
import { seeded } from "../support/random.ts";
import { sealNow } from "../support/sealed.ts";
import { until } from "../support/until.ts";
import type { Row } from "./row.ts";

const env = {
  ENCRYPT_KEY: "durability-test-encrypt-key",
  VERIFICATION_TOKEN: "durability-test-verification-token",
  APP_ID: "cli_00000000000000bb",
};
const type = "test.durable_v1";
/** The shortest that leaves a handler any time: a lost record is shown again after six times this. */
const workerTimeoutSeconds = 7;
const visibilitySeconds = 6 * workerTimeoutSeconds;
/** For the sample, which is to be over sooner: as the real one, longer than the lease that a killed run leaves behind. */
const shortVisibilitySeconds = workerTimeoutSeconds + leaseMarginMs / 1000 + 1;

/**
 * Has `npm start` read other files in `infra`: the worker's timeout is {@link workerTimeoutSeconds}, which no project may
 * ask for, and if it is to be over soon, its queue shows a lost record again after {@link shortVisibilitySeconds}.
 *
 * @returns `NODE_OPTIONS` for it. With a copy of the project instead, Node would find nothing of it compiled.
 */
function shorten(root: string, isSoon: boolean): string {
  const edits: [string, RegExp, string][] = [
    ["limits.js", /(workerTimeoutSeconds: )60/, `$1${workerTimeoutSeconds}`],
    ["contradictions.js", /(limits\.workerTimeoutSeconds >= )10/, `$1${workerTimeoutSeconds}`],
    ["limits.js", /return 6 \* .*workerTimeoutSeconds.*;/, `return ${shortVisibilitySeconds};`],
  ];
  const sources: Record<string, string> = {};
  for (const [name, pattern, text] of isSoon ? edits : edits.slice(0, 2)) {
    const url = import.meta.resolve(`../../infra/${name}`);
    const source = sources[url] ?? readFileSync(fileURLToPath(url), "utf8");
    assert.match(source, pattern, `infra/${name} is written in another way`);
    sources[url] = source.replace(pattern, text);
  }
  const hook = join(root, "shorter-limits.mjs");
  writeFileSync(
    hook,
    `import { registerHooks } from "node:module";
    // Those that it starts are told the numbers.
    if (process.argv[1]?.endsWith("larkpost.js")) delete process.env.NODE_OPTIONS;
    const sources = ${JSON.stringify(sources)};
    const load = (url, context, next) => ({ ...next(url, context), ...(url in sources ? { source: sources[url] } : {}) });
    registerHooks({ load });`,
  );
  return `--import=${pathToFileURL(hook).href}`;
}

/** Takes a while, so that the end meets runs under way even where this process learns late of an answer. */
const handler = `
import { onAnyEvent } from "larkpost";
export default { ...onAnyEvent(() => new Promise((resolve) => setTimeout(resolve, 100))), type: ${JSON.stringify(type)} };
`;

interface Ready {
  readonly url: string;
  readonly services: { dynamo: string; sqs: string };
}

/** What is killed: all of it at one instant, or one of its processes. */
const victims = ["all", "npm", "main", "embedded", "webhook", "callback", "worker"] as const;
/** That `npm start` ends when its embedded services do is shown by the chat's tests. */
const sampleVictims = ["worker", "all"] as const;
type Victim = (typeof victims)[number];

/** `npm start` as a user has it: the runtime, its processes and, where it may be a victim, npm. */
class Run {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  /** Resolves when none of its processes is left. */
  readonly #gone: Promise<[code: number | null]>;
  #complaint = "";
  readonly ready: Promise<Ready>;
  /** How often each id was completed, as far as it was told before the end. */
  readonly handled = new Map<string, number>();
  /** What was completed, or found to be completed. */
  readonly over = new Set<string>();

  constructor(
    { root, state }: { root: string; state: string },
    { nodeOptions, byNpm }: { nodeOptions: string; byNpm: boolean },
  ) {
    const command = byNpm ? ["npm", "start", "--silent", "--"] : [process.execPath, "lib/cli/larkpost.js", "start"];
    const [program = "", ...args] = [...command, "--json", "--port", "0", "--state", state];
    const child = spawn(program, args, {
      cwd: root,
      env: { ...process.env, ...env, LARKPOST_ROOT: root, LOG_LEVEL: "info", NODE_OPTIONS: nodeOptions },
      stdio: ["ignore", "pipe", "pipe"],
      // A group of its own, so that all of it can be ended at one instant.
      detached: true,
    });
    this.#child = child;
    this.#exited = once(child, "exit");
    this.#gone = once(child, "close") as Promise<[code: number | null]>;
    const ready = Promise.withResolvers<Ready>();
    this.ready = ready.promise;
    // Whoever waits for it is told; when nobody does any more, another fault came first.
    this.ready.catch(() => {});
    child.once("exit", () => ready.reject(new Error(`the runtime ended before it was ready: ${this.#complaint}`)));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#complaint += text;
    });
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text) as { readonly ready?: boolean; readonly id?: unknown; readonly stage?: string };
      if (line.ready === true) ready.resolve(line as unknown as Ready);
      const { id, stage } = line;
      if (typeof id !== "string") return;
      if (stage === "handled") this.handled.set(id, (this.handled.get(id) ?? 0) + 1);
      if (stage === "handled" || stage === "duplicate") this.over.add(id);
    });
  }

  /** @returns Whether the runtime has ended: it goes on without one of its functions. */
  async kill(victim: Victim): Promise<boolean> {
    await this.ready;
    const { pid = 0 } = this.#child;
    if (victim === "all") process.kill(-pid, "SIGKILL");
    else process.kill(victim === "npm" ? pid : await pidOf(victim, pid), "SIGKILL");
    if (victim === "all" || victim === "main") await this.#exited;
    else if (victim === "npm") await this.#gone;
    else if (victim === "embedded") {
      const [code] = await this.#gone;
      assert.equal(code, 1);
      assert.match(this.#complaint, /^Cannot go on: the embedded SQS and DynamoDB have ended \(SIGKILL\)\..*\n$/);
    } else return false;
    return true;
  }

  /** A polite end, of npm's process alone. */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#gone;
  }
}

/** The process of that group of processes. */
export async function pidOf(victim: Victim, group: number): Promise<number> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "pid=,pgid=,args="]);
  const file = victim === "main" ? "/larkpost.js" : `/${victim}.ts`;
  const found = stdout
    .split("\n")
    .map((line) => line.trim().split(/ +/))
    // A shell between npm and the runtime has the file's name in its arguments, too.
    .find(([, of, ...args]) => Number(of) === group && !args.includes("-c") && args.some((arg) => arg.endsWith(file)));
  assert.ok(found, `no process runs ${file}`);
  return Number(found[0]);
}

/** The answer's status; 0 when there was none. */
async function push(url: string, id: string): Promise<number> {
  const { headers, rawBody } = sealNow(eventText({ id, type, app: env.APP_ID }), env);
  try {
    return (await ask(url, { headers: Object.fromEntries(headers), body: String(rawBody) })).status;
  } catch {
    return 0;
  }
}

async function isCompleted(client: AwsClient, id: string): Promise<boolean> {
  const key = idempotencyKey({ app: env.APP_ID, handler: type, id });
  const { Item } = await client.call("GetItem", {
    TableName: "ledger",
    Key: { pk: { S: `claim#${key}` } },
    ConsistentRead: true,
  });
  return Item?.["phase"]?.S === "done";
}

/** The access key of the run, by which the embedded services are reached: `npm start` wrote it down. */
function accessKeyOf(state: string): string {
  return String(JSON.parse(readFileSync(join(state, "local.json"), "utf8")).services.accessKeyId);
}

/** Messages in the events queue and the dead-letter queue. */
async function messagesIn(endpoint: string, accessKeyId: string): Promise<number> {
  // Loaded here, because the sample asks for none.
  const { SQS } = await import("@aws-sdk/client-sqs");
  const sqs = new SQS({ region: "us-east-1", endpoint, credentials: { accessKeyId, secretAccessKey: "local" } });
  let sum = 0;
  for (const name of ["events", "dead-letters"]) {
    const asked = { QueueUrl: queueUrl(endpoint, name), AttributeNames: ["All" as const] };
    const { Attributes = {} } = await sqs.getQueueAttributes(asked);
    sum += Number(Attributes["ApproximateNumberOfMessages"]);
    sum += Number(Attributes["ApproximateNumberOfMessagesNotVisible"]);
  }
  sqs.destroy();
  return sum;
}

export const runtimeRows: readonly Row[] = [
  {
    id: "Y6",
    title: "kill -9 of the whole runtime, or of one of its processes, loses no acked event and completes none twice",
    full: 20_000,
    sample: 30,
    async run({ n, seed, progress }) {
      const random = seeded(seed);
      const isSample = n <= 100;
      const perRun = Math.min(n / 4, 100);
      const kills = isSample ? sampleVictims.length : Math.floor(n / perRun) - 1;
      const project = await temporaryProject({ [type]: handler });
      const options = { nodeOptions: shorten(project.root, isSample), byNpm: !isSample };
      const handled = new Map<string, number>();
      const acked = new Set<string>();
      const waiting = Array.from({ length: n }, (_, index) => `event-${index}`);
      let run = new Run(project, options);
      const add = () => {
        for (const [id, count] of run.handled) handled.set(id, (handled.get(id) ?? 0) + count);
      };
      try {
        for (let kill = 0; kill < kills; kill++) {
          const { url } = await run.ready;
          const victim = isSample ? sampleVictims[kill] : victims[random.below(victims.length)];
          const target = acked.size + 1 + random.below(perRun);
          // Eight at a time until the instant drawn, so that the end comes amid requests and runs.
          let isThere = false;
          const lanes = Array.from({ length: 8 }, async () => {
            while (!isThere) {
              const id = waiting.shift();
              if (id === undefined) return;
              if ((await push(url, id)) === 200) acked.add(id);
              else waiting.push(id);
              // Then it is for all of them: what has been handled meanwhile must not let one go on against a dead runtime.
              isThere ||= acked.size >= target && run.handled.size < acked.size;
            }
          });
          await Promise.race(lanes);
          const hasEnded = await run.kill(victim ?? "all");
          await Promise.all(lanes);
          progress(acked.size);
          if (!hasEnded) continue;
          add();
          run = new Run(project, options);
        }
        const { url, services } = await run.ready;
        while (waiting.length > 0) {
          const batch = waiting.splice(0, 16);
          const answers = await Promise.all(batch.map((id) => push(url, id)));
          for (const [index, id] of batch.entries()) {
            // On a busy machine the deadline may come first: like the platform, push it again.
            if (answers[index] === 503) waiting.push(id);
            else assert.equal(answers[index], 200, `seed ${seed}: a push to the running runtime was refused`);
            if (answers[index] === 200) acked.add(id);
          }
          progress(acked.size);
        }
        const accessKeyId = accessKeyOf(project.state);
        const client = clientTo({ AWS_ENDPOINT_URL_DYNAMODB: services.dynamo, AWS_ACCESS_KEY_ID: accessKeyId });
        const open = new Set<string>();
        for (const id of acked) if (!(await isCompleted(client, id))) open.add(id);
        // After many kills the queue is long, and working it off takes its time. What may not be is that nothing
        // is completed for as long as a record stays hidden, and 30 s more.
        let hasStalled = false;
        while (open.size > 0 && !hasStalled) {
          const left = open.size;
          hasStalled = await until(
            "a completion",
            async () => {
              for (const id of open) if (run.over.has(id) && (await isCompleted(client, id))) open.delete(id);
              return open.size < left;
            },
            { withinMs: (visibilitySeconds + 30) * 1000, everyMs: 250 },
          ).then(
            () => false,
            () => true,
          );
          progress(n - open.size);
        }
        // An event that five kills in a row have met under way counts as deadly, and is parked, not lost.
        const kept = kills < 5 ? 0 : await messagesIn(services.sqs, accessKeyId);
        assert.ok(
          open.size <= kept,
          `seed ${seed}: of ${open.size} acked events not completed, ${kept} are in a queue`,
        );
        client.destroy();
        add();
        const twice = [...handled].filter(([, count]) => count > 1).map(([id]) => id);
        assert.deepEqual(twice, [], `seed ${seed}: completed more than once`);
      } finally {
        await run.stop();
        project.remove();
      }
    },
  },
];
