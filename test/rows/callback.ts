import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { dynamoAnswers } from "../../lib/aws/answers.ts";
import { systemClock } from "../../lib/clock.ts";
import { bounds } from "../../lib/feishu/open.ts";
import { fallback } from "../../lib/handling/fallback.ts";
import { subscribe } from "../../lib/trace/trace.ts";
import { cardText, cardType, objectOf, previewText, previewType, startCallbacks, toast } from "../support/callbacks.ts";
import { patientClock, type TestClock } from "../support/clock.ts";
import { firstTry } from "../support/faults.ts";
import { refuse } from "../support/hostile-values.ts";
import { shapes } from "../support/http-events.ts";
import { nodeEnv } from "../support/node-env.ts";
import {
  appId,
  bare,
  challengeText,
  encryptKey,
  push,
  signedPush,
  unsigned,
  v1Text,
  v2Text,
  verificationToken,
} from "../support/push.ts";
import { type Random, seeded } from "../support/random.ts";
import { startServices } from "../support/services.ts";
import { startFaultyTable } from "../support/table.ts";
import { toRecord } from "../support/worker.ts";
import { value } from "./ingress.ts";
import type { Row } from "./row.ts";

type Case = Parameters<Row["run"]>[0] & { readonly random: Random };

/** A row that prints nothing; what it fails with names the seed. */
function row(given: Omit<Row, "run"> & { readonly check: (given: Case) => Promise<void> }): Row {
  const { check, ...rest } = given;
  return {
    ...rest,
    async run(options) {
      const silent = subscribe("log", () => {});
      try {
        await check({ ...options, random: seeded(options.seed) });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        throw new Error(`${rest.id} does not hold with seed ${options.seed}, n ${options.n}: ${message}`, {
          cause: error,
        });
      } finally {
        silent();
      }
    },
  };
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
/** The wall clock where a bench expects one that it can move. */
const wallClock = systemClock as TestClock;

export const callbackRows: readonly Row[] = [
  row({
    id: "C4",
    title: "of callbacks that come twice, at once or later, each runs once, and both pushes get the same answer",
    full: 1_000,
    sample: 20,
    async check({ n, random, progress }) {
      const table = await startFaultyTable();
      const runs = new Map<string, number>();
      const ends: (() => void)[] = [];
      const callbacks = startCallbacks({
        clock: patientClock() as TestClock,
        ports: { answers: dynamoAnswers(table.client, table.name) },
        callbacks: {
          [cardType]: async ({ token }) => {
            const run = (runs.get(token) ?? 0) + 1;
            runs.set(token, run);
            await pause(random.below(20));
            return toast(`${token}, run ${run}, ${random.hex(8)}`);
          },
        },
      });
      let next = 0;
      const lane = async () => {
        for (let pair = next++; pair < n; pair = next++) {
          // For 12 pairs of 50, what is stored is often not confirmed: no second run may come of it, nor another answer.
          if (pair % 50 === 4) {
            for (const action of ["PutItem", "UpdateItem"])
              ends.push(table.faults.inject(action, { kind: "lost" }, (call) => firstTry(call) && random.chance(0.35)));
          } else if (pair % 50 === 16) for (const end of ends.splice(0)) end();
          const isNamed = random.chance(0.8);
          const text = cardText({ id: isNamed ? `pair-${pair}` : null, event: { token: `token-${pair}` } });
          const first = callbacks.ask(text);
          if (random.chance(0.5)) await first;
          const answers = await Promise.all([first, callbacks.ask(text)]);
          assert.deepEqual(answers[0], answers[1]);
          assert.match(JSON.stringify(answers[0]), new RegExp(`"token-${pair}, run 1, `));
          progress(pair + 1);
        }
      };
      try {
        await Promise.all(Array.from({ length: 8 }, lane));
        assert.equal(runs.size, n);
        assert.deepEqual(new Set(runs.values()), new Set([1]));
        assert.ok(table.faults.injected("lost") >= n / 50, `${table.faults.injected("lost")} lost`);
      } finally {
        await table.stop();
      }
    },
  }),

  row({
    id: "C7",
    title: "whatever comes to the callback's address is answered 200, 401, 404, 405 or 413, and every callback 200",
    full: 10_000,
    sample: 80,
    async check({ n, random, progress }) {
      const behaviours: (() => unknown)[] = [
        () => toast("done"),
        () => ({ inline: { title: "a title" } }),
        () => value(random),
        () =>
          random.pick([undefined, 1n, Symbol("x"), () => {}, { toJSON: refuse }, new Proxy({}, { ownKeys: refuse })]),
        refuse,
        () => Promise.reject(value(random)),
        () => new Promise(() => {}),
      ];
      let handled = 0;
      const handle = () => behaviours[handled++ % behaviours.length]?.();
      const callbacks = startCallbacks({ callbacks: { [cardType]: handle, [previewType]: handle } });
      const { clock } = callbacks;
      const members = () => Object.fromEntries([1, 2].map(() => [random.pick(names), value(random)]));
      const kinds: (() => { request: ReturnType<typeof bare>; isCallback?: boolean })[] = [
        () => ({ request: push(cardText({ id: id(), event: members() }), now()), isCallback: true }),
        () => ({
          request: push(cardText({ id: id(), header: { tenant_key: value(random) } }), now()),
          isCallback: true,
        }),
        () => ({ request: push(previewText({ id: id(), event: members() }), now()), isCallback: true }),
        () => ({ request: push(v2Text({ header: { event_type: "profile.view.get" } }), now()), isCallback: true }),
        () => ({ request: push(v2Text({ event: members(), header: members() }), now()) }),
        () => ({ request: push(v1Text({ event: members() }), now()) }),
        () => ({ request: push(JSON.stringify(value(random)), now()) }),
        () => ({ request: push(cardText({ header: members() }), now()) }),
        () => ({ request: push(cardText(), { ...now(), encryptKey: "another key" }) }),
        () => ({ request: push(cardText(), { nowMs: clock.nowMs() - random.below(10 * bounds.callbackAgeMs) }) }),
        () => ({ request: signedPush(random.bytes(random.below(300)), now()) }),
        () => ({ request: unsigned(random.pick([challengeText(members()), cardText()])) }),
        () => ({ request: bare(random.bytes(random.below(300))) }),
        () => ({ request: bare(tooLong.subarray(random.below(9))) }),
      ];
      const tooLong = Buffer.alloc(1_048_585, 0x20);
      const names = ["token", "operator", "action", "context", "event_type", "app_id", "create_time", "__proto__", "x"];
      const now = () => ({ nowMs: clock.nowMs(), nonce: random.hex(10) });
      const id = () => random.pick([null, random.hex(8), value(random) as string]);
      for (let done = 0; done < n; done++) {
        const { request, isCallback = false } = (kinds[done % kinds.length] ?? random.pick(kinds))();
        const isAddressed = random.chance(0.9);
        const http = isAddressed
          ? { path: "/callback", base64: random.chance(0.5) }
          : { path: `/${random.pick(names)}`, method: random.pick(["GET", "POST", "DELETE", ""]) };
        const asking = callbacks.post(random.pick(shapes).toEvent(request, http));
        await clock.advance(2_500);
        const response = await asking;
        assert.ok([200, 401, 404, 405, 413].includes(response.statusCode), `case ${done}: ${response.statusCode}`);
        assert.equal(clock.pending, 0, `case ${done}: a timer outlived the answer`);
        if (isCallback && isAddressed) objectOf(response);
        if (done % 100 === 99) progress(done + 1);
      }
    },
  }),
];

const callbackProcess = join(import.meta.dirname, "../support/callback-process.ts");

/** Rows that take the wall clock's time; not in the sample. */
export const slowCallbackRows: readonly Row[] = [
  row({
    id: "C1",
    title: "a handler that sleeps 10 s is answered for with a 200 between 2.3 and 2.5 s",
    full: 200,
    sample: 20,
    async check({ n, progress }) {
      const table = await startFaultyTable();
      let ended = 0;
      const callbacks = startCallbacks({
        clock: wallClock,
        ports: { answers: dynamoAnswers(table.client, table.name) },
        callbacks: { [cardType]: () => pause(10_000).then(() => void ended++) },
      });
      let answered = 0;
      try {
        const asked = Array.from({ length: n }, async (_, index) => {
          await pause(25 * index);
          const fromMs = performance.now();
          const answer = await callbacks.ask(cardText({ id: `sleeper-${index}` }));
          const tookMs = performance.now() - fromMs;
          assert.deepEqual(answer, fallback(cardType, "late"));
          assert.ok(tookMs >= 2_295 && tookMs <= 2_500, `answered after ${tookMs} ms`);
          progress(++answered);
        });
        await Promise.all(asked);
        while (ended < n) await pause(100);
      } finally {
        await table.stop();
      }
    },
  }),

  row({
    id: "C5",
    title: "kill -9 right after the answer, and of workers at work, loses no deferred work and does none twice",
    full: 40,
    sample: 1,
    async check({ n, random, progress }) {
      const services = await startServices({ visibilityTimeoutSeconds: 5 });
      const env = { ...services.env, APP_ID: appId, ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken };
      const children = new Set<ReturnType<typeof fork>>();
      const start = (name: "callback" | "worker") => {
        const child = fork(callbackProcess, [name], { env: { ...nodeEnv, ...env }, silent: true });
        child.stderr?.pipe(process.stderr);
        children.add(child);
        return { child, exited: once(child, "exit").then(() => children.delete(child)) };
      };
      try {
        const ids = Array.from({ length: n }, (_, index) => `click-${index}`);
        for (const [done, id] of ids.entries()) {
          const { child, exited } = start("callback");
          await once(child, "message");
          const answer = once(child, "message");
          child.send({ text: cardText({ id }) });
          const [{ body }] = await answer;
          // Not a moment later: nothing may be left to do.
          child.kill("SIGKILL");
          assert.deepEqual(JSON.parse(body), toast("received"));
          await exited;
          assert.equal(await services.count(services.urls.eventsQueueUrl), done + 1, "the job is in the queue");
          progress(done);
        }

        const stages = new Map<string, string[]>();
        const hits = new Map<string, number>();
        let kills = 0;
        while ((await services.count(services.urls.eventsQueueUrl)) > 0) {
          const messages = await services.take(services.urls.eventsQueueUrl, { waitSeconds: 1, hiddenSeconds: 5 });
          if (messages.length === 0) continue;
          const { child, exited } = start("worker");
          child.stdout?.on("data", (text: Buffer) => {
            for (const line of text.toString("utf8").split("\n").filter(Boolean)) {
              const { id, stage } = JSON.parse(line) as { id: string; stage: string };
              stages.set(id, [...(stages.get(id) ?? []), stage]);
            }
          });
          await once(child, "message");
          const answer = Promise.race([once(child, "message").then(([message]) => message), exited]);
          child.send({ records: messages.map(toRecord) });
          // Five kills in a row would be taken for the work's own fault.
          if (kills < 4 && random.chance(0.6)) {
            kills++;
            setTimeout(() => child.kill("SIGKILL"), random.below(120));
          }
          const settled = (await answer) as { batchItemFailures?: { itemIdentifier: string }[] };
          child.kill("SIGKILL");
          await exited;
          const failed = settled.batchItemFailures?.map(({ itemIdentifier }) => itemIdentifier);
          for (const { MessageId = "", ReceiptHandle, Body = "" } of messages) {
            if (failed === undefined) {
              const id = /"event_id\\":\\"(click-\d+)/.exec(Body)?.[1] ?? "";
              hits.set(id, (hits.get(id) ?? 0) + 1);
            } else if (!failed.includes(MessageId)) {
              await services.callSqs("DeleteMessage", { QueueUrl: services.urls.eventsQueueUrl, ReceiptHandle });
            }
          }
        }
        assert.equal(await services.count(services.urls.deadLetterQueueUrl), 0);
        for (const id of ids) {
          const went = stages.get(`${id}#deferred`) ?? [];
          const times = (stage: string) => went.filter((one) => one === stage).length;
          const told = `${id}, ${hits.get(id) ?? 0} kills: ${went.join(" ")}`;
          // A process that dies between the last write and its line has completed it: the next finds that it is done.
          assert.ok(times("handled") === 1 || (times("handled") === 0 && times("duplicate") > 0), told);
          assert.ok(times("started") <= 1 + (hits.get(id) ?? 0), told);
        }
      } finally {
        for (const child of children) child.kill("SIGKILL");
        await services.stop();
      }
    },
  }),
];
