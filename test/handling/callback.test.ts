import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { toBody } from "../../lib/aws/record.ts";
import { systemClock } from "../../lib/clock.ts";
import { InvalidAnswerError } from "../../lib/errors.ts";
import { checkAnswer } from "../../lib/feishu/answers.ts";
import type { CallbackContext } from "../../lib/handler.ts";
import type { AnswerStore } from "../../lib/handling/answered-once.ts";
import type { CallbackPorts } from "../../lib/handling/callback.ts";
import { fallback } from "../../lib/handling/fallback.ts";
import { reportLeak } from "../../lib/handling/run.ts";
import { describeError } from "../../lib/trace/error.ts";
import { toLine } from "../../lib/trace/log.ts";
import {
  callbackList,
  cardText,
  cardType,
  memoryAnswers,
  objectOf,
  previewText,
  previewType,
  startCallbacks,
  type TestCallbacks,
  toast,
} from "../support/callbacks.ts";
import { settled, type TestClock, testClock } from "../support/clock.ts";
import { storing } from "../support/events.ts";
import { cyclic, hearDropped, odd, refuse } from "../support/hostile-values.ts";
import { httpApi } from "../support/http-events.ts";
import { ingressBehaves } from "../support/ingress.ts";
import { challengeText, push, ring, startMs, unsigned, v2Text } from "../support/push.ts";
import { seeded } from "../support/random.ts";
import { recordTrace } from "../support/trace.ts";

const trace = recordTrace();
beforeEach(() => {
  trace.entries.length = 0;
});

const never = () => new Promise<never>(() => {});
const outcomes = () => trace.stages().filter((stage) => !["received", "answered", "started"].includes(stage));

/** As the AWS SDK waits: not longer than it is let. */
function wait(clock: TestClock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, resolve);
    signal?.addEventListener("abort", () => {
      cancel();
      reject(signal.reason as Error);
    });
  });
}

type Callbacks = ReturnType<typeof startCallbacks>;

/** Pushes a callback and lets the clock run; `atMs` is when the answer came, `pending` what was then still set. */
async function timed({ clock, deliver }: Callbacks, text = cardText(), forMs = 12_000) {
  const fromMs = clock.nowMs();
  let atMs = Number.NaN;
  let pending = Number.NaN;
  const asking = deliver(push(text, { nowMs: fromMs })).finally(() => {
    atMs = clock.nowMs() - fromMs;
    pending = clock.pending;
  });
  await clock.advance(forMs);
  assert.ok(!Number.isNaN(atMs), "nothing was answered");
  return { response: await asking, atMs, pending };
}

describe("the deadline of a callback", () => {
  const stalled = { ...memoryAnswers(), record: never };
  const deaf = { claim: never, record: never };
  const cases: [
    what: string,
    given: { card?: TestCallbacks[string]; ports?: Partial<CallbackPorts>; keysMs?: number; defers?: "waits" | "goes" },
    betweenMs: readonly [number, number],
  ][] = [
    ["all else is well", {}, [2_300, 2_300]],
    ["the table stalls when the answer is to be recorded", { ports: { answers: stalled } }, [2_300, 2_500]],
    ["its file never loads", { ports: { dispatch: never } }, [2_300, 2_500]],
    [
      "the queue stalls, and the handler waits for it",
      { ports: { deferrals: storing(never) }, defers: "waits" },
      [2_300, 2_500],
    ],
    [
      "the queue stalls, and the handler returns",
      { ports: { deferrals: storing(never) }, defers: "goes" },
      [2_300, 2_500],
    ],
    [
      "queue and table stall",
      { ports: { deferrals: storing(never), answers: stalled }, defers: "waits" },
      [2_300, 2_500],
    ],
    ["the keys take 1 s", { keysMs: 1_000 }, [2_300, 2_500]],
    ["the keys take 2.24 s", { keysMs: 2_240 }, [2_300, 2_500]],
    ["the keys take 2.24 s and the table stalls", { keysMs: 2_240, ports: { answers: deaf } }, [2_300, 2_500]],
    ["the keys leave 50 ms for the handler", { keysMs: 2_250 }, [2_300, 2_500]],
    ["the keys leave no time for the handler", { keysMs: 2_251 }, [2_251, 2_500]],
    ["the keys take 2.4 s", { keysMs: 2_400 }, [2_400, 2_500]],
  ];
  for (const [what, { card = never, ports = {}, keysMs, defers }, [fromMs, untilMs]] of cases) {
    test(`C1: of a handler that never ends brings a toast between 2.3 and 2.5 s while ${what}`, async () => {
      const clock = testClock(startMs);
      const keys = keysMs === undefined ? ring : () => wait(clock, keysMs).then(() => ring());
      const contexts: CallbackContext[] = [];
      const file = typeof card === "function" ? { handle: card } : card;
      const handle = async (_: unknown, context: CallbackContext) => {
        contexts.push(context);
        const sending = defers === undefined ? undefined : context.defer({});
        if (defers === "goes") return toast("done");
        await sending;
        return file.handle({}, context);
      };
      const list = { [cardType]: { ...file, handle, deferred: () => {} } };
      const callbacks = startCallbacks({ clock, keys, callbacks: list, ports });
      const { response, atMs, pending } = await timed(callbacks);
      assert.ok(atMs >= fromMs && atMs <= untilMs, `answered after ${atMs} ms`);
      const answer = objectOf(response);
      assert.deepEqual(answer, fallback(cardType, "late"));
      assert.ok("answer" in checkAnswer(cardType, answer));
      assert.equal(pending, 0, "a timer outlived the answer");
      assert.ok(trace.stages().includes("late"));
      assert.ok(!trace.stages().includes("handled"));
      assert.equal(callbacks.jobs.length, 0);
      if (keysMs !== undefined && ports.answers === undefined) assert.equal(contexts.length, keysMs <= 2_250 ? 1 : 0);
      for (const { signal } of contexts) {
        assert.ok(signal.aborted);
        assert.equal((signal.reason as { code?: string }).code, "HANDLER_TIMEOUT");
      }
    });
  }

  test("C1: a preview that takes too long is none, and no toast", async () => {
    const { response, atMs } = await timed(startCallbacks({ callbacks: { [previewType]: never } }), previewText());
    assert.deepEqual([objectOf(response), atMs], [{}, 2_300]);
  });

  test("C1: speaks to the person who clicked, in English and in Chinese", () => {
    for (const failure of ["late", "failed", "unhandled"] as const) {
      const { toast: said } = fallback(cardType, failure) as {
        toast: { type: string; content: string; i18n: { en_us: string; zh_cn: string } };
      };
      assert.equal(said.type, "error");
      assert.equal(said.content, said.i18n.en_us);
      assert.match(said.i18n.en_us, /^[A-Z][a-z ]+/);
      assert.match(said.i18n.zh_cn, /^[\u4e00-\u9fff\uff0c]+$/);
    }
  });

  test("C1: answers 503 at 2.5 s while keys never come: what is not proven to be a callback gets no toast", async () => {
    const callbacks = startCallbacks({ keys: never, callbacks: { [cardType]: () => assert.fail("it ran") } });
    const { response, atMs, pending } = await timed(callbacks);
    assert.deepEqual([response.statusCode, atMs, pending], [503, 2_500, 0]);
  });

  test("C1: whatever is slow, and however slow, the answer is a 200 within 2.5 s that leaves nothing running", async () => {
    const seed = Number(process.env["SEED"] ?? 20_270);
    const random = seeded(seed);
    const delay = () => random.pick([0, 0, 0, 10, 40, 300, 860, 899, 900, 1_500, 2_260, 2_299, 2_300, 2_301, 10_000]);
    for (let n = 0; n < 300; n++) {
      const clock = testClock(startMs);
      const delays = {
        keys: delay(),
        load: delay(),
        claim: delay(),
        handler: delay(),
        defer: delay(),
        record: delay(),
      };
      const store = memoryAnswers();
      const list = callbackList({
        [cardType]: {
          dedupe: random.pick(["required", "off"]),
          deferred: () => {},
          handle: async (_, { signal, defer }) => {
            if (random.chance(0.5)) await defer({});
            await wait(clock, delays.handler, signal);
            return toast("done");
          },
        },
      });
      const callbacks = startCallbacks({
        clock,
        keys: () => (delays.keys === 10_000 ? ring() : wait(clock, delays.keys).then(() => ring())),
        ports: {
          // A file cannot be told to stop loading; one that takes 10 s is one that never comes.
          dispatch: (type) =>
            delays.load === 10_000 ? never() : wait(clock, delays.load).then(() => list(type) ?? never()),
          answers: {
            claim: (request, signal) => wait(clock, delays.claim, signal).then(() => store.claim(request, signal)),
            record: (request, signal) => wait(clock, delays.record, signal).then(() => store.record(request, signal)),
          },
          deferrals: storing((_, { signal }) => wait(clock, delays.defer, signal)),
        },
      });
      const { response, atMs, pending } = await timed(callbacks, cardText(), 15_000);
      const told = `seed ${seed}, case ${n}: ${JSON.stringify(delays)}, answered after ${atMs} ms`;
      assert.ok(atMs <= 2_500, told);
      // A file that is still loading holds a timer of this test's own.
      assert.ok(pending <= (delays.load > atMs - delays.keys ? 1 : 0), told);
      objectOf(response);
    }
  });

  for (const dedupe of ["required", "off"]) {
    test(`C1: a file that has loaded when no time is left for its handler does not run it, nor behind the answer: dedupe ${dedupe}`, async () => {
      for (const [loadMs, answeredMs] of [
        [2_260, 2_260],
        [2_299, 2_299],
        [5_000, 2_300],
      ] as const) {
        let runs = 0;
        const list = callbackList({ [cardType]: { dedupe, handle: () => void runs++ } });
        const clock = testClock(startMs);
        const dispatch = (type: string) => wait(clock, loadMs).then(() => list(type) ?? never());
        const store = memoryAnswers();
        let claims = 0;
        const claim: AnswerStore["claim"] = (request, signal) => {
          claims++;
          return store.claim(request, signal);
        };
        const callbacks = startCallbacks({ clock, ports: { dispatch, answers: { ...store, claim } } });
        const { response, atMs } = await timed(callbacks);
        assert.deepEqual([objectOf(response), atMs], [fallback(cardType, "late"), answeredMs]);
        assert.equal(claims, dedupe !== "off" && loadMs < 2_300 ? 1 : 0);
        assert.equal(runs, 0, `it ran although its file had loaded after ${loadMs} ms`);
      }
    });
  }

  test("C1: a handler that goes on after the answer can put nothing off, is not told as handled, and fails nobody else", async () => {
    let refused: unknown;
    const callbacks = startCallbacks({
      callbacks: {
        [cardType]: {
          deferred: () => {},
          handle: async (_, { defer }) => {
            await wait(callbacks.clock, 10_000);
            await defer({}).catch((error: unknown) => {
              refused = error;
            });
            void Promise.reject(new Error("dropped later"));
            throw new Error("later");
          },
        },
        [previewType]: () => ({ inline: { title: "a title" } }),
      },
    });
    const leaks: unknown[] = [];
    const restore = hearDropped((error) => {
      leaks.push(error);
      reportLeak(error);
    });
    try {
      const { atMs } = await timed(callbacks);
      assert.equal(atMs, 2_300);
      assert.match(String(refused), /^TypeError: Cannot defer: the run is over$/);
      assert.deepEqual(outcomes(), ["late", "leaked"]);
      assert.equal(leaks.length, 1);
      assert.equal(callbacks.jobs.length, 0);
      for (let n = 0; n < 20; n++) assert.ok("inline" in (await callbacks.ask(previewText())));
    } finally {
      restore();
    }
  });

  test("C1: a handler that heeds the signal is late all the same, and told once", async () => {
    const callbacks = startCallbacks({
      callbacks: { [cardType]: (_, { signal }) => wait(callbacks.clock, 10_000, signal) },
    });
    const { response, atMs } = await timed(callbacks);
    assert.deepEqual([objectOf(response), atMs], [fallback(cardType, "late"), 2_300]);
    assert.deepEqual(outcomes(), ["late"]);
  });

  test("C1: an answer that is made while the process is blocked beyond the deadline is late, and still a 200", async () => {
    for (const first of [0, 5]) {
      const callbacks = startCallbacks({
        clock: systemClock as TestClock,
        withinMs: 90,
        ports: { deadlineMs: 60 },
        callbacks: {
          [cardType]: async () => {
            if (first > 0) await new Promise((resolve) => setTimeout(resolve, first));
            const untilMs = performance.now() + 120;
            while (performance.now() < untilMs);
            return toast("done");
          },
        },
      });
      const response = await callbacks.deliver(push(cardText(), { nowMs: Date.now() }));
      objectOf(response);
    }
  });
});

describe("a callback's handler that fails", () => {
  const late = Object.assign(new InvalidAnswerError("no", { field: "CANARY" }), {});
  const thrown: readonly unknown[] = [
    ...odd,
    late,
    new Proxy(late, { get: refuse }),
    new Proxy(new Error("x"), { get: refuse, has: refuse }),
  ];

  test(`C2: by throwing one of ${thrown.length} odd values is answered with a toast, at once or later`, async () => {
    for (const throws of [
      (value: unknown) => {
        throw value;
      },
      async (value: unknown) => {
        await settled();
        throw value;
      },
    ]) {
      for (const value of thrown) {
        trace.entries.length = 0;
        let runs = 0;
        const callbacks = startCallbacks({
          callbacks: {
            [cardType]: () => {
              runs++;
              return throws(value);
            },
          },
        });
        assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "failed"));
        assert.deepEqual(outcomes(), ["failed"]);
        assert.equal(trace.entries.find(({ stage }) => stage === "failed")?.level, "error");
        assert.deepEqual(
          await callbacks.ask(cardText()),
          fallback(cardType, "failed"),
          "the second push hears the same",
        );
        assert.deepEqual([runs, callbacks.clock.pending], [1, 0]);
        assert.ok(!JSON.stringify(trace.entries.map((entry) => toLine(entry, describeError))).includes("CANARY"));
      }
    }
  });

  const leaks = {
    "at once": () => void Promise.reject(new Error("dropped")),
    "while it is at work": async () => {
      void new Promise((_, reject) => setImmediate(() => reject(new Error("dropped"))));
      await settled();
    },
    "as the last thing it does": async () => {
      await settled();
      void Promise.reject(new Error("dropped"));
    },
    "with nothing": () => void Promise.reject(undefined),
  };
  for (const [when, leak] of Object.entries(leaks)) {
    test(`C2: by a promise that it drops, rejected ${when}, is answered with a toast and never told as handled`, async () => {
      const restore = hearDropped(reportLeak);
      try {
        const handle = async () => {
          await leak();
          return toast("done");
        };
        const callbacks = startCallbacks({ callbacks: { [cardType]: handle } });
        assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "failed"));
        assert.deepEqual(outcomes(), ["leaked", "failed"]);
      } finally {
        restore();
      }
    });
  }

  test("C2: because its file cannot be loaded, or does not fit, is answered with a toast", async () => {
    for (const dispatch of [
      () => Promise.reject(new SyntaxError("Unexpected token")),
      callbackList({ [cardType]: "no function" as never }),
    ]) {
      trace.entries.length = 0;
      assert.deepEqual(await startCallbacks({ ports: { dispatch } }).ask(cardText()), fallback(cardType, "failed"));
      assert.deepEqual(outcomes(), ["failed"]);
    }
  });

  test("C2: for a preview is no preview, without a word", async () => {
    const callbacks = startCallbacks({ callbacks: { [previewType]: refuse } });
    assert.deepEqual(await callbacks.ask(previewText()), {});
    assert.deepEqual(outcomes(), ["failed"]);
  });

  test("C2: because there is none says so to the person who clicked, and in the trace", async () => {
    assert.deepEqual(await startCallbacks().ask(cardText()), fallback(cardType, "unhandled"));
    assert.deepEqual(await startCallbacks().ask(v2Text({ header: { event_type: "profile.view.get" } })), {});
    assert.deepEqual(outcomes(), ["unhandled", "unhandled"]);
  });
});

describe("what a callback's handler returns", () => {
  const canary = "CANARY-of-the-payload";
  const card = (data: object) => ({ card: { type: "raw", data: { header: { title: canary }, ...data } } });
  const invalid: [what: string, answer: unknown, field: string][] = [
    ["an object that refers to itself", cyclic, "answer"],
    ["a BigInt", { toast: { content: canary }, n: 1n }, "answer"],
    ["a text", canary, "answer"],
    ["a number", 5, "answer"],
    ["true", true, "answer"],
    ["an array", [{ toast: { content: canary } }], "answer"],
    ["a function", () => canary, "answer"],
    ["a symbol", Symbol(canary), "answer"],
    ["what throws when it is written", { canary, toJSON: refuse }, "answer"],
    ["what writes itself as a text", { toJSON: () => canary }, "answer"],
    ["a getter that throws", Object.defineProperty({}, "toast", { get: refuse, enumerable: true }), "answer"],
    ["a proxy that throws", new Proxy({}, { ownKeys: refuse }), "answer"],
    ["more than 100 KB", { toast: { content: canary.repeat(6_000) } }, "answer"],
    ["a toast that is a text", { toast: canary }, "toast"],
    ["a toast of type danger", { toast: { type: "danger", content: canary } }, "toast.type"],
    ["a toast whose content is a number", { toast: { content: 5 } }, "toast.content"],
    ["a bare card", { elements: [canary] }, "elements"],
    ["a bare card of version 2.0", { schema: "2.0", body: { elements: [canary] } }, "schema"],
    ["a card without its type", { card: { data: { canary } } }, "card.type"],
    ["a card without data", { card: { type: "raw", canary } }, "card.data"],
    ["a card of version 2.0 with elements of version 1.0", card({ schema: "2.0", elements: [] }), "card.data.elements"],
    ["a card of version 1.0 with a body", card({ body: {} }), "card.data.body"],
    ["a card of version 3.0", card({ schema: "3.0" }), "card.data.schema"],
    ["a template without its id", { card: { type: "template", data: { canary } } }, "card.data.template_id"],
  ];
  for (const [what, answer, field] of invalid) {
    test(`C3: is not sent when it is ${what}: a toast is, and the log names the member and nothing of it`, async () => {
      const callbacks = startCallbacks({ callbacks: { [cardType]: () => answer } });
      const sent = await callbacks.ask(cardText());
      assert.deepEqual(sent, fallback(cardType, "failed"));
      assert.ok("answer" in checkAnswer(cardType, sent));
      assert.deepEqual(outcomes(), ["failed"]);
      const told = trace.entries.find(({ stage }) => stage === "failed");
      assert.equal(told?.facts?.["field"], field);
      const { message, at } = describeError(told?.error);
      assert.match(
        message ?? "",
        new RegExp(`^Cannot answer with functions/callbacks/card\\.action\\.trigger\\.ts: ${field} `),
      );
      assert.equal(at, `functions/callbacks/${cardType}.ts`);
      assert.ok(!JSON.stringify(trace.entries.map((entry) => toLine(entry, describeError))).includes("CANARY"));
    });
  }

  const valid: [what: string, answer: unknown, sent?: object][] = [
    ["nothing", undefined, {}],
    ["null", null, {}],
    ["an empty object", {}],
    ["a toast without a type", { toast: { content: "done" } }],
    ["a card of version 2.0", card({ schema: "2.0", body: { elements: [] } })],
    ["a card of version 1.0", card({ elements: [] })],
    ["toast and card", { ...toast("done"), ...card({}) }],
    ["a member of the future", { toast: { content: "done" }, later: 1 }],
    ["almost 100 KB", { toast: { content: "x".repeat(102_000) } }],
    ["what writes itself as an answer", { toJSON: () => toast("done") }, toast("done")],
  ];
  for (const [what, answer, sent = answer as object] of valid) {
    test(`is sent as it is when it is ${what}`, async () => {
      assert.deepEqual(await startCallbacks({ callbacks: { [cardType]: () => answer } }).ask(cardText()), sent);
      assert.deepEqual(outcomes(), ["handled"]);
    });
  }
});

describe("a callback that comes twice", () => {
  test("C4: at the same moment runs once, and both get the answer soon after it is there", async () => {
    for (const tookMs of [0, 10, 49, 120, 700, 1_540, 1_600, 2_150]) {
      let runs = 0;
      const callbacks = startCallbacks({
        callbacks: { [cardType]: () => wait(callbacks.clock, tookMs).then(() => toast(`run ${++runs}`)) },
      });
      const atMs: number[] = [];
      const told = () => void atMs.push(callbacks.clock.nowMs() - startMs);
      const both = [1, 2].map(() => callbacks.ask(cardText()).finally(told));
      await callbacks.clock.advance(3_000);
      assert.deepEqual(await Promise.all(both), [toast("run 1"), toast("run 1")]);
      assert.ok(atMs[0] === tookMs && (atMs[1] ?? 0) <= Math.max(50, tookMs + 100), `${tookMs}: ${atMs}`);
      assert.equal(runs, 1);
    }
    assert.equal(outcomes().filter((stage) => stage === "duplicate").length, 8);
  });

  test("C4: later runs once, and gets what was answered the first time, be it a toast of failure", async () => {
    const outcomes: TestCallbacks[string][] = [
      () => toast(`run ${++runs}`),
      () => {
        runs++;
        throw new Error("x");
      },
      () => {
        runs++;
        return never();
      },
      () => ({ n: ++runs, toast: { type: "danger" } }),
    ];
    let runs = 0;
    for (const handle of outcomes) {
      runs = 0;
      const callbacks = startCallbacks({ callbacks: { [cardType]: handle } });
      const first = objectOf((await timed(callbacks)).response);
      for (let again = 0; again < 3; again++) assert.deepEqual(await callbacks.ask(cardText()), first);
      assert.equal(runs, 1);
    }
  });

  test("C4: later gets the text that was sent the first time and remembered", async () => {
    const answers = memoryAnswers();
    const callbacks = startCallbacks({ callbacks: { [cardType]: () => toast("\u4f60\u597d") }, ports: { answers } });
    const [first, second] = [await timed(callbacks), await timed(callbacks)];
    const remembered = [...answers.rows.values()].map(({ answer }) => answer);
    assert.deepEqual([first.response.body, second.response.body, ...remembered], Array(3).fill(remembered[0]));
    assert.deepEqual(objectOf(first.response), toast("\u4f60\u597d"));
  });

  test("C4: is no second click: two clicks are two runs", async () => {
    let runs = 0;
    const callbacks = startCallbacks({ callbacks: { [cardType]: () => toast(`run ${++runs}`) } });
    assert.deepEqual(await callbacks.ask(cardText({ id: "click-1" })), toast("run 1"));
    assert.deepEqual(await callbacks.ask(cardText({ id: "click-2" })), toast("run 2"));
    assert.deepEqual(await callbacks.ask(cardText({ id: "click-1" })), toast("run 1"));
  });

  test("C4: without an id is known by what it says", async () => {
    let runs = 0;
    const callbacks = startCallbacks({ callbacks: { [cardType]: () => toast(`run ${++runs}`) } });
    for (let again = 0; again < 2; again++) {
      assert.deepEqual(await callbacks.ask(cardText({ id: null })), toast("run 1"));
      const other = cardText({ id: null, event: { token: "c-another" } });
      assert.deepEqual(await callbacks.ask(other), toast("run 2"));
    }
    assert.equal(runs, 2);
  });

  test("C4: whose first run died with its process is not run again: the person is told that it took too long", async () => {
    const store = memoryAnswers();
    const dead = startCallbacks({
      callbacks: { [cardType]: never },
      ports: { answers: { ...store, record: never } },
    });
    await timed(dead);
    const callbacks = startCallbacks({
      callbacks: { [cardType]: () => assert.fail("it ran") },
      ports: { answers: store },
    });
    const { response, atMs, pending } = await timed(callbacks);
    assert.deepEqual([objectOf(response), pending], [fallback(cardType, "late"), 0]);
    assert.ok(atMs <= 2_500, `${atMs}`);
  });

  test("of a type that changes nothing runs twice, unless its file asks for more", async () => {
    for (const [dedupe, expected] of [
      [undefined, 2],
      ["off", 2],
      ["required", 1],
    ] as const) {
      let runs = 0;
      const handle = () => ({ inline: { title: `run ${++runs}` } });
      const file = dedupe === undefined ? handle : { handle, dedupe };
      const callbacks = startCallbacks({ callbacks: { [previewType]: file } });
      for (let again = 0; again < 2; again++) await callbacks.ask(previewText());
      assert.equal(runs, expected, dedupe);
    }
  });
});

describe("while the table is down", () => {
  const down = {
    "it refuses": { claim: () => Promise.reject(new Error("down")), record: () => Promise.reject(new Error("down")) },
    "it throws": { claim: refuse, record: refuse },
    "it does not answer": { claim: never, record: never },
    "what it holds is no answer": {
      claim: async () => ({ state: "answered" as const, answer: "{" }),
      record: () => Promise.reject(new Error("down")),
    },
  };
  for (const [how, answers] of Object.entries(down)) {
    test(`C9: because ${how}, a card's callback does not run and says so`, async () => {
      const callbacks = startCallbacks({
        callbacks: { [cardType]: () => assert.fail("it ran") },
        ports: { answers },
      });
      const { response, atMs, pending } = await timed(callbacks);
      assert.deepEqual([objectOf(response), pending], [fallback(cardType, "failed"), 0]);
      assert.ok(atMs <= 2_500, `${atMs}`);
      assert.deepEqual(outcomes(), ["failed"]);
      if (how.startsWith("it")) assert.equal(trace.entries.at(-2)?.facts?.["reason"], "store");
    });
  }

  test("C9: a callback that changes nothing does not touch it", async () => {
    const untouched = { claim: () => assert.fail("claimed"), record: () => assert.fail("recorded") };
    const answer = { inline: { title: "a title" } };
    const files: TestCallbacks[] = [
      { [previewType]: () => answer },
      { [previewType]: { handle: () => answer, dedupe: "off" } },
    ];
    for (const callbacks of files) {
      assert.deepEqual(await startCallbacks({ callbacks, ports: { answers: untouched } }).ask(previewText()), answer);
    }
    const card: TestCallbacks = { [cardType]: { handle: () => toast("done"), dedupe: "off" } };
    assert.deepEqual(
      await startCallbacks({ callbacks: card, ports: { answers: untouched } }).ask(cardText()),
      toast("done"),
    );
  });

  test("C9: when the answer is to be recorded, the person gets it all the same", async () => {
    for (const record of [never, refuse, () => Promise.reject(new Error("down"))]) {
      trace.entries.length = 0;
      const callbacks = startCallbacks({
        callbacks: { [cardType]: () => toast("done") },
        ports: { answers: { ...memoryAnswers(), record } },
      });
      const { response, atMs, pending } = await timed(callbacks);
      assert.deepEqual([objectOf(response), pending], [toast("done"), 0]);
      assert.ok(atMs <= 1_000, `${atMs}`);
      assert.deepEqual(outcomes(), ["handled", "failed"]);
      const { error } = trace.entries.at(-2) ?? {};
      const says =
        record === never ? /^Cannot store the callback's answer: .* whether the handler blocks/ : /^(down|trap)$/;
      assert.match(`${(error as Error).message}`, says);
    }
  });
});

describe("work that a callback puts off", () => {
  const deferred = () => {};
  const put = (
    handle: (context: CallbackContext, callbacks: Callbacks) => unknown,
    ports: Partial<CallbackPorts> = {},
  ) => {
    const callbacks: Callbacks = startCallbacks({
      ports,
      callbacks: { [cardType]: { deferred, handle: (_, context) => handle(context, callbacks) } },
    });
    return callbacks;
  };

  for (const isAwaited of [true, false]) {
    test(`C5: is stored before the answer is out, ${isAwaited ? "the handler waiting for it" : "also when the handler does not wait"}`, async () => {
      let storedAtMs = Number.NaN;
      const callbacks = put(
        async ({ defer }) => {
          const sending = defer({ order: 42 });
          if (isAwaited) await sending;
          return toast("received");
        },
        {
          deferrals: storing(async (job, { delaySeconds }) => {
            assert.equal(delaySeconds, 3, "the answer has time to get there first");
            await wait(callbacks.clock, 500);
            storedAtMs = callbacks.clock.nowMs() - startMs;
            callbacks.jobs.push(job);
          }),
        },
      );
      const { response, atMs } = await timed(callbacks);
      assert.deepEqual(objectOf(response), toast("received"));
      assert.deepEqual([storedAtMs, atMs], [500, 500]);
      const [job, ...more] = callbacks.jobs;
      assert.deepEqual(more, []);
      assert.deepEqual(
        [job?.kind, job?.id, job?.type, job?.payload, job?.requestId],
        ["job", "callback-1#deferred", cardType, { order: 42 }, null],
      );
      assert.deepEqual(job?.event["action"], { value: { key: "approve" }, tag: "button" });
      assert.deepEqual(outcomes(), ["deferred", "handled"]);
    });
  }

  test("C5: is put off as often as the handler likes, each time under an id of its own that every run gives it", async () => {
    const delays: number[] = [];
    const callbacks = put(
      async ({ defer }) => {
        await defer(1);
        await defer(2, { delaySeconds: 1 });
        await defer(3, { delaySeconds: 899.5 });
        return toast("received");
      },
      {
        deferrals: storing(async (job, { delaySeconds }) => {
          delays.push(delaySeconds);
          callbacks.jobs.push(job);
        }),
      },
    );
    assert.deepEqual(await callbacks.ask(cardText()), toast("received"));
    const ids = ["callback-1#deferred", "callback-1#deferred-2", "callback-1#deferred-3"];
    assert.deepEqual(
      callbacks.jobs.map(({ payload, id }) => [payload, id]),
      ids.map((id, index) => [index + 1, id]),
    );
    assert.deepEqual(delays, [3, 3, 900], "the answer has time to get there first");
    assert.deepEqual(await callbacks.ask(cardText()), toast("received"), "a second push");
    assert.equal(callbacks.jobs.length, 3);
  });

  test("C5: cannot be put off without a deferred in the file, which the error says", async () => {
    let refused: unknown;
    const callbacks = startCallbacks({
      callbacks: {
        [cardType]: async (_, { defer }) => {
          await defer({}).catch((error: unknown) => {
            refused = error;
            throw error;
          });
        },
      },
    });
    assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "failed"));
    assert.match(
      String(refused),
      /^TypeError: Cannot defer: functions\/callbacks\/card\.action\.trigger\.ts has no deferred$/,
    );
    assert.equal(callbacks.jobs.length, 0);
  });

  test("C5: cannot be put off by what a handler left behind, once it has returned, failed or is out of time", async () => {
    for (const ends of ["returns", "throws", "is late"]) {
      let refused: unknown;
      const callbacks = put(({ defer }, { clock }) => {
        clock.after(3_000, () =>
          defer({}).catch((error: unknown) => {
            refused = error;
          }),
        );
        if (ends === "throws") throw new Error("x");
        return ends === "returns" ? toast("received") : never();
      });
      await timed(callbacks);
      assert.match(String(refused), /^TypeError: Cannot defer: the run is over$/, ends);
      assert.equal(callbacks.jobs.length, 0);
    }
  });

  test("C5: is done once, and the toast of lateness is what a second push gets, when the handler is late after all", async () => {
    const callbacks = put(async ({ defer }) => {
      await defer({});
      return never();
    });
    const { response } = await timed(callbacks);
    assert.deepEqual(objectOf(response), fallback(cardType, "late"));
    assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "late"));
    assert.equal(callbacks.jobs.length, 1);
    assert.deepEqual(outcomes(), ["deferred", "late", "duplicate"]);
  });

  test("C5: that the queue refuses is told to the handler, and to the person, whatever the handler makes of it", async () => {
    for (const heeds of ["waits", "swallows", "goes"]) {
      trace.entries.length = 0;
      let heard: unknown;
      const callbacks = put(
        async ({ defer }) => {
          const sending = defer({});
          if (heeds === "goes") return toast("received");
          await sending.catch((error: unknown) => {
            heard = error;
            if (heeds === "waits") throw error;
          });
          return toast("received");
        },
        { deferrals: storing(() => Promise.reject(new Error("the queue is down"))) },
      );
      assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "failed"), heeds);
      if (heeds !== "goes") assert.match(String(heard), /the queue is down/);
      assert.deepEqual(outcomes(), ["failed"]);
    }
  });

  test("C5: must be what JSON can hold", async () => {
    for (const payload of [1n, cyclic, { toJSON: refuse }]) {
      let heard: unknown;
      const callbacks = put(
        async ({ defer }) => {
          await defer(payload).catch((error: unknown) => {
            heard = error;
          });
          return toast("received");
        },
        { deferrals: storing(async (job) => void toBody(job)) },
      );
      assert.deepEqual(await callbacks.ask(cardText()), fallback(cardType, "failed"));
      assert.ok(heard instanceof Error);
    }
  });
});

describe("what comes to the callback's address", () => {
  ingressBehaves("the callback's address", () => {
    let isBroken = false;
    const refuseAll = async () => {
      if (isBroken) throw new Error("the queue refuses");
    };
    const callbacks: Callbacks = startCallbacks({
      callbacks: { [cardType]: () => assert.fail("no callback came"), _default: () => assert.fail("nor this") },
      send: (envelope) => refuseAll().then(() => void callbacks.queued.push(envelope)),
      quarantine: (envelope) => refuseAll().then(() => void callbacks.quarantined.push(envelope)),
    });
    return {
      deliver: async ({ text }) => {
        const { statusCode, body } = await callbacks.deliver(push(text));
        assert.equal(callbacks.clock.pending, 0);
        return { status: statusCode, body: JSON.parse(body) as unknown };
      },
      queued: callbacks.queued,
      quarantined: callbacks.quarantined,
      breakQueues: () => {
        isBroken = true;
      },
    };
  });

  test("C8: is handled when it is a callback, and queued when it is an event, never both", async () => {
    const seen: unknown[] = [];
    const callbacks = startCallbacks({
      callbacks: { [cardType]: (event) => void seen.push(event), "im.message.receive_v1": () => assert.fail("it ran") },
    });
    await callbacks.ask(cardText());
    assert.deepEqual([seen.length, callbacks.queued.length, callbacks.jobs.length], [1, 0, 0]);
    assert.deepEqual(await callbacks.ask(v2Text()), {});
    assert.deepEqual([seen.length, callbacks.queued.length, callbacks.jobs.length], [1, 1, 0]);
  });

  test("C8: is answered itself when it is a challenge", async () => {
    const { statusCode, body } = await startCallbacks().deliver(unsigned(challengeText()));
    assert.deepEqual([statusCode, JSON.parse(body)], [200, { challenge: "7c5a9b1e-4d2f" }]);
  });

  test("C7: is answered 401, 404, 405 or 413 when it is no proven callback, and runs nothing", async () => {
    const callbacks = startCallbacks({ callbacks: { [cardType]: () => assert.fail("it ran") } });
    const request = push(cardText());
    const post = async (event: unknown) => (await callbacks.post(event)).statusCode;
    assert.equal(await post(httpApi(unsigned(cardText()), { path: "/callback" })), 401);
    assert.equal(await post(httpApi(push(cardText({ header: { token: "another" } })), { path: "/callback" })), 401);
    assert.equal(await post(httpApi(push(cardText({ header: { app_id: "cli_other" } })), { path: "/callback" })), 401);
    assert.equal(await post(httpApi(push(cardText(), { nowMs: startMs - 301_000 }), { path: "/callback" })), 401);
    assert.equal(await post(httpApi(request, { path: "/webhook" })), 404);
    assert.equal(await post(httpApi(request, { path: "/callback", method: "PUT" })), 405);
    const big = { ...request, rawBody: Buffer.alloc(1_048_577, 0x20) };
    assert.equal(await post(httpApi(big, { path: "/callback" })), 413);
  });

  for (const [what, event] of Object.entries({
    "its token": { token: "" },
    "the person who acted": { operator: {} },
    "any person": { operator: null },
  })) {
    test(`a card's callback without ${what} does nothing in nobody's name`, async () => {
      const callbacks = startCallbacks({ callbacks: { [cardType]: () => assert.fail("it ran") } });
      assert.deepEqual(await callbacks.ask(cardText({ event })), fallback(cardType, "failed"));
      assert.equal(trace.entries.find(({ stage }) => stage === "failed")?.facts?.["reason"], "incomplete");
    });
  }
});
