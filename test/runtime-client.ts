import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { toRecord } from "../lib/local/poller.ts";
import { listenOnLoopback } from "../lib/simulator/loopback.ts";
import { eventBody, eventText } from "./support/events.ts";
import { httpApi } from "./support/http-events.ts";
import { challengeText } from "./support/push.ts";
import { script } from "./support/script.ts";
import { sealNow } from "./support/sealed.ts";

// The built bundles under AWS's own runtime client for Node, against a stand-in of the runtime API. Optional:
// the client is compiled at its installation, which takes a minute and needs cmake, make, g++ and xz.

const version = "4.0.2";
const root = resolve(import.meta.dirname, "..");
const folder = join(root, ".larkpost/runtime-client");

script("runtime-client")
  .description(
    "run the built bundles under Lambda's own runtime client (installs it first, outside the project's dependencies)",
  )
  .parse();

if (!existsSync(join(folder, "node_modules/aws-lambda-ric"))) {
  console.log(`Installing aws-lambda-ric ${version} into ${folder}; it is compiled, which takes a minute.`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, "package.json"),
    JSON.stringify({ private: true, allowScripts: { "aws-lambda-ric": true } }),
  );
  const { status } = spawnSync(
    "npm",
    ["install", "--no-save", "--no-audit", "--no-fund", `aws-lambda-ric@${version}`],
    {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
      // There it is npm.cmd, which only a shell runs.
      shell: process.platform === "win32",
    },
  );
  if (status !== 0) {
    console.error("Cannot install the runtime client. Check that cmake, make, g++ and xz are there");
    process.exit(1);
  }
}

const keysEnv = {
  ENCRYPT_KEY: "runtime-client-encrypt-key",
  VERIFICATION_TOKEN: "runtime-client-verification-token",
  APP_ID: "cli_00000000000000dd",
};
// Loaded here: it takes half a second, and is in the way of --help.
const [{ build }, { fixtureProject }, { startServices }] = await Promise.all([
  import("../lib/cli/deploy/build.ts"),
  import("./support/project.ts"),
  import("./support/services.ts"),
]);
const project = await fixtureProject();
// The runtime client takes a path for a URL. On Lambda it is /var/task.
const outFolder = mkdtempSync(join(tmpdir(), "larkpost-task-"));
const [services, built] = await Promise.all([startServices(), build({ root: project.root, outFolder })]);

interface Outcome {
  readonly kind: "response" | "error" | "init-error";
  readonly body: string;
  /** From the event's delivery to its answer. */
  readonly ms: number;
}

/** Starts the client for one function, gives it the events one after the other and collects what it posts. */
async function run(file: string, events: readonly unknown[], env: Record<string, string> = {}) {
  const outcomes: Outcome[] = [];
  const finished = Promise.withResolvers<void>();
  let given = 0;
  let sentMs = 0;
  let initMs = 0;
  const startMs = performance.now();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const path = request.url ?? "";
      if (path.endsWith("/invocation/next")) {
        if (initMs === 0) initMs = performance.now() - startMs;
        const event = events[given++];
        // Nothing more to do: the client waits here, as it does between two invocations.
        if (event === undefined) return finished.resolve();
        sentMs = performance.now();
        response
          .writeHead(200, {
            "lambda-runtime-aws-request-id": `request-${given}`,
            "lambda-runtime-deadline-ms": String(Date.now() + 60_000),
            "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:000000000000:function:test",
            "content-type": "application/json",
          })
          .end(JSON.stringify(event));
        return;
      }
      const kind = path.endsWith("/response") ? "response" : path.endsWith("/init/error") ? "init-error" : "error";
      outcomes.push({ kind, body: Buffer.concat(chunks).toString("utf8"), ms: performance.now() - sentMs });
      response.writeHead(202).end("{}");
      if (kind === "init-error") finished.resolve();
    });
  });
  const port = await listenOnLoopback(server);
  const child = spawn(process.execPath, [join(folder, "node_modules/aws-lambda-ric/index.mjs"), "index.handler"], {
    cwd: resolve(file, ".."),
    env: {
      PATH: process.env["PATH"],
      ...services.env,
      ...keysEnv,
      LOG_LEVEL: "error",
      _HANDLER: "index.handler",
      LAMBDA_TASK_ROOT: resolve(file, ".."),
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      AWS_LAMBDA_FUNCTION_NAME: "test",
      AWS_LAMBDA_FUNCTION_VERSION: "1",
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: "512",
      AWS_LAMBDA_LOG_GROUP_NAME: "/aws/lambda/test",
      AWS_LAMBDA_LOG_STREAM_NAME: "test",
      ...env,
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
  child.once("exit", () => finished.resolve());
  await finished.promise;
  const isAlive = child.exitCode === null && child.signalCode === null;
  child.kill("SIGKILL");
  server.closeAllConnections();
  server.close();
  return { outcomes, isAlive, initMs };
}

const httpEvent = (text: string) => httpApi(sealNow(text, keysEnv));
const message = (id: string) => {
  const event = {
    sender: { sender_type: "user" },
    message: { message_id: `om_${id}`, chat_type: "p2p", message_type: "text", content: "{}" },
  };
  return eventText({ id, type: "im.message.receive_v1", app: keysEnv.APP_ID, event });
};
const challenge = challengeText({ challenge: "c-1" });

const failures: string[] = [];
function report(what: string, holds: boolean, figure: string): void {
  console.log(`${holds ? "holds" : "fails"}  ${what}  ${figure}`);
  if (!holds) failures.push(what);
}

const file = (name: string) => built.find((one) => one.name === name)?.file ?? "";
for (const [what, text] of [
  ["a challenge, cold", challenge],
  ["an event, cold", message("cold")],
] as const) {
  const { outcomes, initMs } = await run(file("webhook"), [httpEvent(text)]);
  const [first] = outcomes;
  const isRight = first?.kind === "response" && first.body.includes('"statusCode":200');
  report(
    `webhook: ${what}`,
    isRight,
    `start to first poll ${initMs.toFixed(0)} ms, answer after ${first?.ms.toFixed(0)} ms`,
  );
}

const warm = Array.from({ length: 50 }, (_, index) => httpEvent(message(`warm-${index}`)));
const { outcomes: answers } = await run(file("webhook"), warm);
const times = answers
  .slice(10)
  .map(({ ms }) => ms)
  .sort((a, b) => a - b);
report(
  "webhook: 50 events, one after the other",
  answers.length === 50 && answers.every(({ body }) => body.includes('"statusCode":200')),
  `median ${times[Math.floor(times.length / 2)]?.toFixed(1)} ms`,
);

const forged = await run(file("webhook"), [{ ...httpEvent(challenge), body: "{}" }]);
report("webhook: a forged request is refused", forged.outcomes[0]?.body.includes('"statusCode":401') === true, "401");

const unset = await run(file("webhook"), [httpEvent(challenge)], { ENCRYPT_KEY: "" });
const isUnavailable = unset.outcomes[0]?.body.includes('"statusCode":503') === true;
report("webhook: without its key it starts, and answers 503", isUnavailable, unset.outcomes[0]?.kind ?? "none");

const batches: unknown[] = [];
for (let received = 0; received < 51; ) {
  const messages = await services.take(services.urls.eventsQueueUrl);
  if (messages.length === 0) break;
  for (const one of messages) batches.push({ Records: [toRecord(one, services.urls.eventsQueueUrl)] });
  received += messages.length;
}
const worked = await run(file("worker"), batches);
const empty = worked.outcomes.filter(
  ({ kind, body }) => kind === "response" && body === '{"batchItemFailures":[]}',
).length;
report("worker: completes every record", empty === batches.length && empty === 51, `${empty} of ${batches.length}`);

// The handler reads a member that this event lacks.
const body = eventBody({ id: "broken", type: "im.message.receive_v1", app: keysEnv.APP_ID });
const broken = {
  Records: [toRecord({ MessageId: "m", ReceiptHandle: "r", Body: body }, services.urls.eventsQueueUrl)],
};
const { outcomes: failed, isAlive } = await run(file("worker"), [broken, broken]);
const named = failed.filter(({ body }) => body.includes('"itemIdentifier":"m"')).length;
report(
  "worker: a handler that throws fails its record only, and the process goes on",
  named === 2 && isAlive,
  `${named} of 2`,
);

await services.stop();
project.remove();
rmSync(outFolder, { recursive: true });
process.exit(failures.length === 0 ? 0 : 1);
