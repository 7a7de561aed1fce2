import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { limits } from "../../infra/limits.js";
import { projectOf } from "../../infra/project.js";
import { queueResources } from "../../infra/queues.js";
import { build } from "../../lib/cli/deploy/build.ts";
import { idempotencyKey } from "../../lib/handling/idempotency.ts";
import { reserveMs } from "../../lib/handling/worker.ts";
import { deployment } from "../infra/deployment.ts";
import { faultNames } from "../simulation/plan.ts";
import { Simulation, type Subject } from "../simulation/simulation.ts";
import { eventText } from "../support/events.ts";
import { temporaryProject } from "../support/project.ts";
import { appId, encryptKey, ring, verificationToken } from "../support/push.ts";
import type { Row } from "./row.ts";

/** Handlers get two seconds of it. They are real, and a handler that hangs takes them all. */
const workerTimeoutSeconds = reserveMs / 1000 + 2;
const type = "test.simulated_v1";
const secrets = JSON.stringify({
  appId,
  encryptKeys: [{ value: encryptKey }],
  verificationTokens: [{ value: verificationToken }],
});

export const faultRows: readonly Row[] = [
  {
    id: "FAULTS",
    title:
      "built functions, under faults at every call, lose no event, complete none twice and explain every dead letter",
    full: 20_000,
    sample: 10,
    async run({ n, seed, progress }) {
      const handler = readFileSync(join(import.meta.dirname, "../fixtures/simulated-handler.ts"), "utf8");
      const project = await temporaryProject({ _default: handler });
      try {
        const built = await build({ root: project.root, names: ["webhook", "worker"] });
        const fileOf = (name: string) => built.find((one) => one.name === name)?.file ?? "";
        // The deployed queue, but with the shorter worker timeout.
        const given = { ...limits, workerTimeoutSeconds };
        const queue = queueResources(deployment, { ...projectOf({}), limits: given }).EventsQueue
          .Properties as object as {
          VisibilityTimeout: number;
          RedrivePolicy: { maxReceiveCount: number };
        };
        const simulation = new Simulation({
          n,
          seed,
          progress,
          files: { webhook: fileOf("webhook"), worker: fileOf("worker") },
          env: {
            PATH: process.env["PATH"],
            NODE_COMPILE_CACHE: join(import.meta.dirname, "../../node_modules/.cache/larkpost"),
            APP_ID: appId,
            LEDGER_TABLE: "ledger",
            SECRETS_PARAMETER: "/larkpost/simulated/app",
            LOG_LEVEL: "error",
          },
          keys: ring(),
          secrets,
          textOf: (id, plan) =>
            plan.end === "quarantined" ? `${id} is no JSON` : eventText({ id, type, app: appId, tenant: "tenant-1" }),
          keyOf: (id) => `claim#${idempotencyKey({ app: appId, handler: "_default", id })}`,
          batchSize: limits.batchSize,
          maxReceiveCount: queue.RedrivePolicy.maxReceiveCount,
          visibilitySeconds: queue.VisibilityTimeout,
          workerTimeoutSeconds,
        });
        if (await simulation.run()) for (const subject of simulation.subjects) judge(simulation, subject);
        const summary = summaryOf(simulation);
        assert.equal(simulation.violations.length, 0, report(simulation, summary));
        // Among so many events, a fault that never came is not simulated at all.
        if (n >= 10_000) for (const name of faultNames) assert.ok(simulation.counts.has(name), `no call met ${name}`);
        return summary;
      } finally {
        project.remove();
      }
    },
  },
];

/** The attributes of every dead letter. */
const expected = ["deadReason", "attempts", "eventId", "eventType", "firstAttemptAt", "lastAttemptAt", "redrives"];

/** Compares how an event ended with how it had to end. */
function judge(simulation: Simulation, subject: Subject): void {
  const { id, plan, deadLetters, quarantined } = subject;
  const violate = (what: string) => simulation.violate(what, subject);
  const isDone = simulation.phaseOf(subject) === "done";
  if (!subject.isAcked) violate("never answered 200");
  else if (!isDone && deadLetters.length === 0 && quarantined === 0) violate("lost");
  if (plan.end === "completed" && !isDone) violate("not completed");
  if (plan.end === "quarantined" && quarantined === 0) violate("not quarantined");
  for (const letter of deadLetters) {
    const reason = letter.attributes["deadReason"]?.StringValue;
    const missing = expected.filter((name) => !letter.attributes[name]?.StringValue);
    if (missing.length > 0) violate(`a dead letter without ${missing.join(", ")}`);
    else if (letter.attributes["eventId"]?.StringValue !== id) violate("a dead letter of another event");
    if (plan.end === "completed" || plan.end === "quarantined") violate("a healthy event is dead");
    else if (reason !== plan.end) violate(`dead as ${reason} instead of ${plan.end}`);
    const attempts = Number(letter.attributes["attempts"]?.StringValue);
    if (reason === "attemptsExhausted" && attempts < limits.maxAttempts) violate(`dead after ${attempts} attempts`);
  }
}

function endOf({ deadLetters: [letter], quarantined }: Subject): string {
  if (letter !== undefined) return letter.attributes["deadReason"]?.StringValue ?? "dead without a reason";
  return quarantined > 0 ? "quarantined" : "completed";
}

function summaryOf(simulation: Simulation): string {
  const { options, subjects, counts } = simulation;
  const count = (name: string) => counts.get(name) ?? 0;
  const ends = Map.groupBy(subjects, endOf);
  const list = (entries: Iterable<readonly [string, number]>) =>
    [...entries].map(([name, n]) => `${name} ${n}`).join(", ");
  return [
    `seed ${options.seed}: ${options.n} events in ${(simulation.sinceStartMs() / 3_600_000).toFixed(1)} simulated hours`,
    `${count("pushes")} pushes, ${count("answered 200")} answered 200`,
    `${count("runs")} runs: ${count("runs completed")} completed, ${count("runs told to fail")} told to fail, ${count("runs cut short by a fault")} cut short by a fault`,
    `${count("calls")} calls, of which ${list(faultNames.map((name) => [name, count(name)] as const))}`,
    `${count("kills")} kills, ${count("timeouts")} timeouts, ${count("throttled invocations")} throttled invocations, ${count("thaws")} thaws`,
    `ended: ${list([...ends].map(([name, { length }]) => [name, length] as const))}`,
  ].join("; ");
}

/** How often each promise was broken, by which events, and the first event's trace. */
function report({ violations }: Simulation, summary: string): string {
  const byWhat = Map.groupBy(violations, ({ what }) => what);
  const lines = [...byWhat].map(([what, found]) => {
    const ids = found.slice(0, 10).map(({ subject }) => subject?.id ?? "");
    return `${found.length} × ${what}: ${ids.join(" ")}${found.length > 10 ? " …" : ""}`;
  });
  const stories = [...byWhat.values()].slice(0, 12).flatMap(([first]) => {
    const { id, plan, trace } = first?.subject ?? {};
    return id === undefined ? [] : [`\n${id} (${plan?.acts.join(", ")} → ${plan?.end})`, ...(trace ?? [])];
  });
  return [summary, ...lines, ...stories].join("\n");
}
