import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EventEnvelope, UnreadableEnvelope } from "../../lib/feishu/envelope.ts";
import { appId, challengeText, v1Text, v2Text } from "./push.ts";

/** What the platform says to us, whatever carries it: an envelope's text, its token included. */
export interface IngressRequest {
  readonly text: string;
}

/** One way in. A new one is started for each test, so that nothing is left over from the test before. */
export interface Ingress {
  /** Brings the request in as the transport does. 200 means acknowledged; any other status, that the platform will send again. */
  deliver(request: IngressRequest): Promise<{ status: number; body: unknown }>;
  readonly queued: readonly EventEnvelope[];
  readonly quarantined: readonly UnreadableEnvelope[];
  /** From now on both queues refuse. */
  breakQueues(): void;
}

/**
 * The behaviours that every way in shares: `transport` says which one it is, `start` makes one.
 *
 * @param options.proof What shows that the platform speaks: `request` where each brings its own, `connection`
 * where it is the connection's. What does not belong here is refused there, and kept in quarantine here.
 */
export function ingressBehaves(
  transport: string,
  start: () => Ingress,
  { proof = "request" }: { proof?: "request" | "connection" } = {},
): void {
  /** What fails in a loop names its case. */
  const shown = (text: string) => JSON.stringify(text.slice(0, 600));
  const queuesOne = async (text: string): Promise<EventEnvelope> => {
    const ingress = start();
    assert.equal((await ingress.deliver({ text })).status, 200, shown(text));
    assert.deepEqual([ingress.queued.length, ingress.quarantined.length], [1, 0], shown(text));
    return ingress.queued[0] as EventEnvelope;
  };
  const quarantinesOne = async (text: string, reason: UnreadableEnvelope["reason"]) => {
    const ingress = start();
    assert.equal((await ingress.deliver({ text })).status, 200, shown(text));
    assert.deepEqual([ingress.queued.length, ingress.quarantined.length], [0, 1], shown(text));
    assert.equal(ingress.quarantined[0]?.reason, reason, shown(text));
  };
  const refusesOne = async (text: string) => {
    const ingress = start();
    assert.notEqual((await ingress.deliver({ text })).status, 200);
    assert.deepEqual([ingress.queued.length, ingress.quarantined.length], [0, 0]);
  };

  describe(`an event over ${transport}`, () => {
    test("is acknowledged once it is in the queue, with an empty body", async () => {
      const ingress = start();
      assert.deepEqual(await ingress.deliver({ text: v2Text() }), { status: 200, body: {} });
      assert.equal(ingress.queued.length, 1);
    });

    test("V7: is not acknowledged when the queue refuses it", async () => {
      const ingress = start();
      ingress.breakQueues();
      assert.notEqual((await ingress.deliver({ text: v2Text() })).status, 200);
    });

    test("P3: of schema 1.0 is queued under its uuid, of 2.0 under its event id", async () => {
      const first = await queuesOne(v1Text());
      assert.deepEqual([first.schema, first.id, first.type], ["1.0", "uuid-1", "approval_instance"]);
      const second = await queuesOne(v2Text());
      assert.deepEqual([second.schema, second.id, second.type], ["2.0", "event-1", "im.message.receive_v1"]);
    });

    test("P3: of an unknown schema goes to quarantine", () =>
      quarantinesOne(v2Text({ envelope: { schema: "3.0" } }), "schema"));

    test("C8: of schema 1.0 that names a callback's type goes to quarantine, and never to the events", () =>
      quarantinesOne(v1Text({ event: { type: "card.action.trigger" } }), "schema"));

    test("P4: that comes twice without an id has the same one both times", async () => {
      const text = v2Text({ header: { event_id: undefined } });
      assert.equal((await queuesOne(text)).id, (await queuesOne(text)).id);
    });

    test("P6: keeps its 64-bit numbers and its text, but not its token", async () => {
      const big = v2Text({ event: { n: 0 } }).replace('"n":0', '"n":12345678901234567890');
      const { text, header } = await queuesOne(big);
      assert.ok(text.includes('"n":12345678901234567890'));
      assert.equal(header["token"], "");
      assert.equal(text, big.replace(/"token":"[^"]*"/, '"token":""'));
    });

    test("P7, C-47: of any type is queued like any other", async () => {
      const names = ["unknown.type_v1", "../../x", "constructor", "__proto__", "toString", "a\0b", "\u{1f44b}"];
      for (const type of [...names, "t".repeat(70_000)]) {
        assert.equal((await queuesOne(v2Text({ header: { event_type: type } }))).type, type);
      }
    });

    test("C-48: of an id of any characters is queued under that id", async () => {
      for (const id of ["a\r\nb", "\u001b[31mred", "i".repeat(70_000), "#", '"', "'", "\u202e"]) {
        assert.equal((await queuesOne(v2Text({ header: { event_id: id } }))).id, id);
      }
    });

    test("C-49: with members named __proto__ and constructor changes nothing outside itself", async () => {
      const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
      await queuesOne(
        v2Text({ event: { a: 0 } })
          .replace('"a":0', `"a":${evil}`)
          .replace('"header":{', `"header":{"__proto__":{"polluted":1},`),
      );
      assert.equal(({} as { polluted?: unknown }).polluted, undefined);
    });

    test("C-53: keeps odd numbers to the letter", async () => {
      const odd = `[1e400,-0,1.0,${"7".repeat(10_000)}]`;
      const { text } = await queuesOne(v2Text({ event: { a: 0 } }).replace('"a":0', `"a":${odd}`));
      assert.ok(text.includes(odd));
    });

    test("C-54: with a name given twice means its last value", async () => {
      const text = v2Text().replace('"event_id":"event-1"', '"event_id":"first","event_id":"last"');
      assert.equal((await queuesOne(text)).id, "last");
    });

    test("C-56: keeps lone surrogates, non-characters and NUL", async () => {
      const text = v2Text({ event: { a: "\ud800 \udfff \uffff \ufffe \0 \u{1fffe}" } });
      assert.deepEqual((await queuesOne(text)).event, JSON.parse(text).event);
    });

    test("P8: as deep as allowed is queued, one level deeper goes to quarantine", async () => {
      const nested = (levels: number) =>
        v2Text({ event: { a: 0 } }).replace('"a":0', `"a":${"[".repeat(levels)}${"]".repeat(levels)}`);
      await queuesOne(nested(62));
      await quarantinesOne(nested(63), "depth");
    });

    const foreign = [v2Text({ header: { app_id: "cli_other" } }), v1Text({ event: { app_id: "cli_other" } })];
    if (proof === "request") {
      test("C-41: of another app is refused", async () => {
        for (const text of foreign) await refusesOne(text);
      });
    } else {
      test("C-79: of another app goes to quarantine", async () => {
        for (const text of foreign) await quarantinesOne(text, "app");
      });

      test("is taken without a token, of either schema", async () => {
        await queuesOne(v2Text({ header: { token: undefined } }));
        await queuesOne(v1Text({ envelope: { token: undefined } }));
      });
    }

    test("C-41: that names no app is queued with the app that received it; so is one that names it", async () => {
      for (const app_id of [undefined, appId]) {
        const named = [v2Text({ header: { app_id } }), v1Text({ event: { app_id } })];
        for (const text of named) {
          const { app, receivedBy } = await queuesOne(text);
          assert.deepEqual([app, receivedBy], [app_id ?? null, appId]);
        }
      }
    });

    test("C-35: whose inner type is url_verification is an event", async () => {
      const { type } = await queuesOne(v2Text({ event: { type: "url_verification", challenge: "x" } }));
      assert.equal(type, "im.message.receive_v1");
    });
  });

  describe(`what is no envelope, over ${transport}`, () => {
    test("P2: goes to quarantine", async () => {
      for (const text of ["null", "5", '"x"', "[]", "true", "", "{", `${v2Text()}x`])
        await quarantinesOne(text, "json");
    });

    test("V7: is not acknowledged when the quarantine refuses it", async () => {
      const ingress = start();
      ingress.breakQueues();
      assert.notEqual((await ingress.deliver({ text: "5" })).status, 200);
    });
  });

  const challenges = [challengeText(), v1Text({ envelope: { type: "url_verification", challenge: "7c5a9b1e-4d2f" } })];
  if (proof === "request") {
    test(`C-35: a 1.0 body of type url_verification over ${transport} is a challenge, and nothing is queued`, async () => {
      for (const text of challenges) {
        const ingress = start();
        assert.deepEqual(await ingress.deliver({ text }), { status: 200, body: { challenge: "7c5a9b1e-4d2f" } });
        assert.deepEqual([ingress.queued.length, ingress.quarantined.length], [0, 0]);
      }
    });
  } else {
    test(`C-35: a challenge over ${transport}, where nobody asks one, goes to quarantine`, async () => {
      for (const text of challenges) await quarantinesOne(text, "schema");
    });
  }
}
