import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { contradictions } from "../../../infra/contradictions.js";
import { alarmThresholds, limits, optional } from "../../../infra/limits.js";
import { projectOf } from "../../../infra/project.js";
import { advise, judge } from "../../../lib/cli/scale/advice.ts";
import { type Forecast, simulate } from "../../../lib/cli/scale/model.ts";
import { type Quotas, quotas, timesOf } from "../../../lib/cli/scale/quotas.ts";
import { type Options, reportOf } from "../../../lib/cli/scale/report.ts";
import type { Load } from "../../../lib/cli/scale/step.ts";
import { toText } from "../../../lib/cli/scale/text.ts";
import type { LimitName } from "../../../lib/cli/scale/watch.ts";

const seed = 7;
/** So much that it never is the limit. */
const plenty = 1e9;
const endless: Partial<Quotas> = {
  ...{ gatewayRate: plenty, gatewayBurst: plenty, concurrency: plenty, startBurst: plenty, startRate: plenty },
  ...{ mappingFirst: plenty, mappingMost: plenty, inFlight: plenty, tableWrites: plenty, tableMost: plenty },
  ...{ parameterReads: plenty, keyUses: plenty, logCalls: plenty },
};
const wide = { ...limits, routeRatePerSecond: plenty, routeBurst: plenty, maxConcurrency: plenty };

interface Given {
  readonly load?: Partial<Load>;
  readonly limits?: Partial<typeof limits>;
  readonly optional?: Partial<typeof optional>;
  readonly quotas?: Partial<Quotas>;
}

/** Everything but what is given is endless. */
function placeOf(given: Given) {
  const own = { ...wide, ...given.limits };
  const chosen = { ...optional, ...given.optional } as typeof optional;
  return {
    limits: own,
    optional: chosen,
    alarmThresholds,
    quotas: { ...quotas, ...endless, ...given.quotas },
    times: timesOf(own),
  };
}

function forecastOf(given: Given): Forecast {
  const load = {
    rate: 100,
    seconds: 120,
    handlerMs: 200,
    front: "httpApi",
    dedupe: "required",
    ...given.load,
  } as const;
  return simulate(load, placeOf(given), seed);
}

function isNear(found: number, wanted: number, share = 0.03): void {
  assert.ok(Math.abs(found - wanted) <= share * wanted, `${found} is not within ${100 * share} % of ${wanted}`);
}

const passed = ({ limits: readings }: Forecast) =>
  readings.filter(({ turnedAway }) => turnedAway > 0).map(({ name }) => name);
const reading = ({ limits: readings }: Forecast, name: LimitName) =>
  readings.find((one) => one.name === name) ?? assert.fail(`${name} was not watched`);
const batchSeconds = (records: number, handlerMs: number) => {
  const { batch, record } = timesOf(limits);
  return batch + record * records + handlerMs / 1000;
};

describe("the model of scale", () => {
  test("has the same forecast for the same seed, and nearly the same for another", () => {
    const load = { rate: 300, seconds: 60, handlerMs: 200, front: "httpApi", dedupe: "required" } as const;
    const of = (given: number) => simulate(load, placeOf({}), given);
    const [one, same, other] = [of(1), of(1), of(2)];
    assert.deepEqual(one, same);
    assert.notEqual(one.events, other.events);
    isNear(one.events, other.events);
  });

  test("neither loses nor makes an event, whatever limits it meets", () => {
    const number = (least: number, most: number) => fc.integer({ min: least, max: most });
    fc.assert(
      fc.property(
        fc.record({ rate: number(1, 3_000), seconds: number(1, 30), handlerMs: number(1, 3_000) }),
        fc.record({
          routeRatePerSecond: number(1, 2_000),
          routeBurst: number(1, 2_000),
          maxConcurrency: number(2, 40),
        }),
        fc.record({ concurrency: number(5, 300), parameterReads: number(1, 60), tableWrites: number(10, 2_000) }),
        (load, ownLimits, ownQuotas) => {
          const given = { load, limits: ownLimits, quotas: { ...quotas, ...ownQuotas } };
          const { events, atOnce, later, refused, expired, longestWaitSeconds } = forecastOf(given);
          assert.equal(atOnce + later + refused, events);
          assert.ok(expired <= atOnce + later && longestWaitSeconds >= 0);
        },
      ),
      { seed, numRuns: 12 },
    );
  });

  test("obeys Little's law: what waits is the rate times the wait, what runs is the batches times their time", () => {
    for (const rate of [40, 400, 4_000]) {
      const forecast = forecastOf({ load: { rate, seconds: 600 }, limits: { maxConcurrency: Math.ceil(rate / 20) } });
      const { recordsPerBatch, meanBusy, handledPerSecond } = forecast;
      isNear(handledPerSecond, rate, 0.05);
      isNear(meanBusy, (rate / recordsPerBatch) * batchSeconds(recordsPerBatch, 200), 0.1);
    }
    // A queue that has become empty: all that waited, by the second and by the event.
    const seconds = 300;
    const growing = forecastOf({ load: { rate: 2_000, seconds }, quotas: { mappingFirst: 5 } });
    assert.ok(growing.meanWaiting > 500);
    isNear(growing.meanWaiting * seconds, growing.meanWaitSeconds * growing.events);
  });

  test("loses exactly what exceeds a throttle in all five of the platform's pushes", () => {
    for (const [routeRatePerSecond, routeBurst] of [
      [20, 50],
      [100, 100],
    ] as const) {
      const seconds = 60;
      const forecast = forecastOf({ load: { rate: 500, seconds }, limits: { routeRatePerSecond, routeBurst } });
      // The first two pushes overlap: 15 s lie between them.
      const pushedSeconds = seconds + 15 + 3 * seconds;
      isNear(forecast.atOnce + forecast.later, pushedSeconds * routeRatePerSecond + 4 * routeBurst);
      assert.deepEqual([forecast.lastPush, passed(forecast)], [5, ["route"]]);
    }
    const below = forecastOf({ load: { rate: 100 }, limits: { routeRatePerSecond: 110, routeBurst: 200 } });
    assert.deepEqual([below.atOnce, passed(below)], [below.events, []]);
  });

  test("the account's throttle holds for the HTTP API, whatever the route lets in", () => {
    const forecast = forecastOf({ load: { rate: 500, seconds: 60 }, quotas: { gatewayRate: 100, gatewayBurst: 100 } });
    assert.deepEqual(passed(forecast), ["gateway"]);
    isNear(forecast.atOnce + forecast.later, 100 * (60 + 15 + 3 * 60) + 4 * 100);
  });

  test("lines of a log that come late are told, and hold back no event", () => {
    const forecast = forecastOf({ quotas: { logCalls: 5 } });
    assert.deepEqual([passed(forecast), forecast.atOnce], [["logs"], forecast.events]);
  });

  test("a Function URL has no throttle but Lambda's: ten requests a second for each invocation at once", () => {
    const load = { front: "functionUrl", rate: 300 } as const;
    const throttle = { routeRatePerSecond: 1, routeBurst: 1 };
    const open = forecastOf({ load, limits: throttle, optional: { webhookReservedConcurrency: 150 } });
    assert.deepEqual([open.atOnce, passed(open)], [open.events, []]);
    const most = { ...load, rate: 2_000 };
    const reserved = forecastOf({ load: most, limits: throttle, optional: { webhookReservedConcurrency: 20 } });
    assert.ok(passed(reserved).includes("requests"));
    isNear(reserved.atOnce + reserved.later, 200 * (120 + 15 + 3 * 120));
  });

  test("a worker that is too slow handles what its slots can, and the last event waits for the excess", () => {
    const seconds = 300;
    const maxConcurrency = 5;
    const forecast = forecastOf({ load: { rate: 400, seconds }, limits: { maxConcurrency } });
    const capacity = (maxConcurrency * limits.batchSize) / batchSeconds(limits.batchSize, 200);
    isNear(forecast.handledPerSecond, capacity);
    isNear(forecast.longestWaitSeconds, seconds * (400 / capacity - 1), 0.1);
    isNear(forecast.mostWaiting, seconds * (400 - capacity), 0.1);
    isNear(forecast.doneAfterSeconds, (seconds * 400) / capacity, 0.1);
    assert.deepEqual([forecast.refused, passed(forecast)], [0, ["mapping"]]);
    assert.equal(reading(forecast, "mapping").used, maxConcurrency);
  });

  test("handlers shorter than a step of the model share its slots", () => {
    const forecast = forecastOf({ load: { rate: 200, handlerMs: 5 }, limits: { maxConcurrency: 2, batchSize: 1 } });
    isNear(forecast.handledPerSecond, 2 / batchSeconds(1, 5));
  });

  test("SQS deletes what waits longer than the queue keeps it", () => {
    const slow = { load: { rate: 400, seconds: 300 }, limits: { maxConcurrency: 2, queueRetentionSeconds: 600 } };
    const { expired, longestWaitSeconds } = forecastOf(slow);
    const capacity = (2 * limits.batchSize) / batchSeconds(limits.batchSize, 200);
    isNear(expired, 300 * 400 - capacity * (300 + 60 + 600), 0.1);
    assert.equal(longestWaitSeconds, 600);
  });

  test("the mapping begins with five batches and grows by 300 a minute, with pollers by 1,000", () => {
    const load = { rate: 2_000, seconds: 60 };
    const own = { mappingFirst: quotas.mappingFirst, mappingMost: quotas.mappingMost };
    const slow = forecastOf({ load, quotas: own, limits: { maxConcurrency: 1_000 } });
    assert.ok(passed(slow).includes("mapping growth"));
    // The growth g carries g·t events a second after t seconds: what waits is most when that is the rate.
    const perSlot = limits.batchSize / batchSeconds(limits.batchSize, 200);
    const [first, rest] = [quotas.mappingFirst * perSlot, quotas.mappingGrowth * perSlot];
    const starting = (2_000 / perSlot) * timesOf(limits).start * perSlot;
    isNear(slow.mostWaiting, (2_000 - first) ** 2 / (2 * rest) + starting, 0.1);
    // A poller begins no more than it can receive.
    const perPoller = quotas.recordsPerPoller / quotas.batchesPerPoller;
    const quick = forecastOf({ load, quotas: own, optional: { minimumPollers: 10, maximumPollers: 200 } });
    isNear(
      quick.mostWaiting,
      (2_000 - 10 * quotas.recordsPerPoller) ** 2 / (2 * quotas.pollerGrowth * perPoller),
      0.15,
    );
    const few = forecastOf({ load, optional: { minimumPollers: 2, maximumPollers: 12 } });
    assert.ok(passed(few).includes("pollers"));
    isNear(few.handledPerSecond, 12 * quotas.recordsPerPoller);
  });

  test("the ledger takes its writes, two for an event, and grows to twice as many in half an hour", () => {
    const load = { rate: 1_000, seconds: 300 };
    const forecast = forecastOf({ load, quotas: { tableWrites: 1_000 } });
    assert.ok(passed(forecast).includes("ledger"));
    isNear(forecast.handledPerSecond, 500, 0.05);
    assert.deepEqual(passed(forecastOf({ load: { ...load, dedupe: "off" }, quotas: { tableWrites: 1_000 } })), []);
    const grown = forecastOf({
      load: { rate: 1_000, seconds: 2_400 },
      quotas: { tableWrites: 1_000, inFlight: plenty },
    });
    isNear(grown.handledPerSecond, 1_000, 0.1);
    assert.equal(reading(grown, "ledger").limit, 2_000);
  });

  test("what the ledger refuses is hidden, and SQS lets only so many be in flight", () => {
    const forecast = forecastOf({
      load: { rate: 2_000, seconds: 300 },
      quotas: { tableWrites: 100, inFlight: 50_000 },
    });
    assert.ok(passed(forecast).includes("in flight"));
    assert.ok(reading(forecast, "in flight").used <= 50_000);
  });

  test("instances that find no keys refuse pushes until SSM has served all, and no longer", () => {
    const load = { rate: 1_000, seconds: 60 };
    const { startBurst, startRate, parameterReads } = quotas;
    const slow = forecastOf({ load, quotas: { startBurst, startRate, parameterReads } });
    assert.ok(passed(slow).includes("parameters"));
    assert.deepEqual([slow.refused, slow.lastPush], [0, 2]);
    assert.deepEqual(passed(forecastOf({ load, quotas: { startBurst, startRate } })), []);
  });

  test("new instances are bounded: what comes before they have loaded is refused, and stored 15 s later", () => {
    const { startBurst, startRate } = quotas;
    const forecast = forecastOf({ load: { rate: 10_000, seconds: 60 }, quotas: { startBurst, startRate } });
    assert.deepEqual([passed(forecast)[0], forecast.refused, forecast.lastPush], ["starts", 0, 2]);
    // All of a start's time, less a thousand and what is added meanwhile.
    isNear(forecast.later, 10_000 * 0.4 - startBurst - 0.4 * startRate, 0.15);
  });

  test("webhook and worker share the account's invocations, unless they are reserved", () => {
    const load = { rate: 500, seconds: 120, handlerMs: 2_000 };
    const shared = forecastOf({ load, quotas: { concurrency: 60 } });
    assert.ok(passed(shared).includes("concurrency"));
    assert.ok(reading(shared, "concurrency").used <= 61);
    const kept = { webhookReservedConcurrency: 250 };
    const reserved = forecastOf({ load, quotas: { concurrency: 350 }, optional: kept, limits: { maxConcurrency: 90 } });
    assert.equal(reserved.refused + reserved.later, 0);
    // What callbacks have is nobody else's.
    const left = { ...kept, callbackReservedConcurrency: 60 };
    const less = forecastOf({ load, quotas: { concurrency: 350 }, optional: left, limits: { maxConcurrency: 90 } });
    assert.ok(passed(less).includes("concurrency"));
  });

  test("a batch window fills batches, at the price of a wait", () => {
    const load = { rate: 20, seconds: 120 };
    const forecast = forecastOf({ load, limits: { batchWindowSeconds: 2, batchSize: 100 } });
    assert.ok(forecast.recordsPerBatch > 20, `${forecast.recordsPerBatch}`);
    assert.ok(forecast.longestWaitSeconds >= 1.5 && forecast.longestWaitSeconds <= 4);
  });

  for (const [rate, first] of [
    [700, "maxConcurrency"],
    [3_000, "maxConcurrency"],
    [30_000, "routeRatePerSecond"],
  ] as const) {
    test(`what it says to change at ${rate} a second is allowed, and holds`, () => {
      const load = { rate, seconds: 600, handlerMs: 200, front: "httpApi", dedupe: "required" } as const;
      const place = { limits, optional, alarmThresholds, quotas, times: timesOf(limits) };
      const forecast = simulate(load, place, seed);
      assert.ok(!judge(forecast, alarmThresholds).holds);
      const { changes, forecast: changed } = advise(load, place, forecast, seed);
      assert.ok(judge(changed, alarmThresholds).holds, JSON.stringify(changed));
      const numbers = Object.fromEntries(changes.map(({ name, to }) => [name.replace("limits.", ""), to]));
      assert.deepEqual(contradictions({ ...limits, ...numbers }, { ...optional, ...numbers }), []);
      assert.equal(changes[0]?.name, `limits.${first}`);
    });
  }

  describe("with lanes", () => {
    const ai = { types: ["im.message.receive_v1"], order: "message.chat_id", concurrency: 20, memoryMb: 1_024 };
    const project = projectOf({ lanes: { ai, bulk: { types: ["contact.*"] }, old: { types: [] } } });
    const usual = { rate: 20, minutes: 10, handlerMs: 200, front: "httpApi", dedupe: "required", seed } as const;
    const report = (given: Partial<Options> = {}) => reportOf({ ...usual, region: "us-east-1", ...given }, project);

    test("says which lane breaks first and its change, and slow events delay no other lane", () => {
      const options = { ...usual, region: "us-east-1", share: { ai: 0.6, bulk: 0.1 }, handler: { ai: 8_000 } };
      const found = report(options);
      const { now, changes, changed } = found;
      const [slow, bulk] = now.lanes ?? [];
      assert.ok(slow !== undefined && bulk !== undefined);
      const { batch, record } = timesOf({ ...limits, workerMemoryMb: 1_024 });
      const runSeconds = batch + record + 8;
      isNear(slow.stored, 0.6 * now.events, 0.001);
      isNear(bulk.stored, 0.1 * now.events, 0.001);
      isNear(slow.mostWaiting, 600 * (12 - 20 / runSeconds), 0.1);
      isNear(slow.longestWaitSeconds, 600 * ((12 * runSeconds) / 20 - 1), 0.1);
      // A FIFO lane runs one event at a time.
      assert.deepEqual([slow.recordsPerBatch, now.longestWaitSeconds], [1, slow.longestWaitSeconds]);
      assert.ok(bulk.longestWaitSeconds < 1 && now.meanWaitSeconds < 1);
      assert.deepEqual([now.holds, now.first?.lane, now.first?.name], [false, "ai", "mapping"]);
      const to = Math.ceil(1.5 * 12 * runSeconds);
      assert.deepEqual(changes, [{ name: "lanes.ai.concurrency", from: 20, to }]);
      assert.equal(changed.holds, true);
      const text = toText(options, found);
      assert.match(
        text,
        /^Breaks first: lane ai: worker's .* \(lanes\.ai\.concurrency\), after .*\nThe longest wait is [\d,.]+ s, and an alarm rings/m,
      );
    });

    test("says why a rate breaks, and what comes near to an alarm where it holds", () => {
      const forecast = report().now;
      const judged = (given: Partial<Forecast>) => {
        const { holds, why } = judge({ ...forecast, ...given }, alarmThresholds);
        return [holds, ...why];
      };
      const wait = (seconds: string) =>
        `The longest wait is ${seconds} s, and an alarm rings above 300 s (oldestEventSeconds).`;
      assert.deepEqual(judged({}), [true]);
      assert.deepEqual(judged({ longestWaitSeconds: 290 }), [true, wait("290")]);
      assert.deepEqual(judged({ longestWaitSeconds: 1_300.14 }), [false, wait("1,300.1")]);
      assert.deepEqual(judged({ longestWaitSeconds: 290, refused: 1_000, expired: 1 }), [
        false,
        "1,001 events are lost.",
      ]);
      assert.deepEqual(judged({ events: 1_000, muchLater: 11 }), [
        false,
        "1.10 % are stored five minutes late or later, and an alarm rings above 1 % (faultsPercent).",
      ]);
    });

    test("lanes without a share have equal parts, and all lanes share the ledger", () => {
      const { lanes, now } = report();
      assert.deepEqual(
        lanes?.map(({ name }) => name),
        ["default", "ai", "bulk"],
      );
      assert.ok(lanes?.every(({ share }) => Math.abs(share - 1 / 3) < 1e-9));
      assert.equal(now.holds, true);
      const few = report({ rate: 200, quota: { tableWrites: 100 } }).now;
      const { atOnce, later, expired, events, refused } = few;
      assert.equal(atOnce + later + refused, events);
      assert.equal(expired, 0);
      assert.ok(passed(few).includes("ledger") && (few.lanes ?? []).every(({ mostWaiting }) => mostWaiting > 1_000));
    });

    for (const [given, message] of [
      [
        { share: { al: 0.5 } },
        'Cannot simulate: "al" is no lane that takes events; larkpost.config.js has ai, bulk. Did you mean "ai"?',
      ],
      [{ handler: { old: 5 } }, /^Cannot simulate: "old" is no lane/],
      [{ share: { ai: 0.9, bulk: 0.2 } }, /^Cannot simulate: the shares are 1\.1\d* together/],
    ] as const) {
      test(`refuses ${JSON.stringify(given)}`, () => {
        assert.throws(() => report(given), { name: "UsageError", message: message as RegExp });
      });
    }
  });

  // As docs/scale.md says.
  for (const [preset, rate, waits, needed] of [
    ["small", 300, 1, {}],
    ["busy", 1_000, 3, {}],
    ["large", 10_000, 30, { concurrency: 2_400, gatewayRate: 15_000, gatewayBurst: 7_500, parameterReads: 10_000 }],
  ] as const) {
    test(`the preset ${preset} carries ${rate} events a second`, () => {
      const project = projectOf({ preset });
      const load = { rate, seconds: 3_600, handlerMs: 200, front: "httpApi", dedupe: "required" } as const;
      const place = { ...project, quotas: { ...quotas, ...needed }, times: timesOf(project.limits) };
      const forecast = simulate(load, place, seed);
      assert.ok(judge(forecast, alarmThresholds).holds && forecast.lastPush <= 2, JSON.stringify(forecast));
      assert.ok(forecast.longestWaitSeconds <= waits, `${forecast.longestWaitSeconds}`);
    });
  }
});
