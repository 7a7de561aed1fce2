import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeFrame, encodeFrame, type Frame, headerOf, pingFrame, replyFrame } from "../../lib/feishu/frame.ts";
import { type Message, partBounds, partJoiner } from "../../lib/feishu/parts.ts";
import { type Random, seeded } from "../support/random.ts";

const seed = Number(process.env["SEED"] ?? 13);

// A writer of its own, by the rules of protobuf: what is read here was not written by what is tested.
function varint(value: bigint): number[] {
  const rest = value >> 7n;
  return rest === 0n ? [Number(value & 0x7fn)] : [Number(value & 0x7fn) | 0x80, ...varint(rest)];
}
const number = (field: number, value: bigint | number) => [field * 8, ...varint(BigInt.asUintN(64, BigInt(value)))];
const bytes = (field: number, value: string | readonly number[]) => {
  const content = typeof value === "string" ? [...Buffer.from(value)] : value;
  return [field * 8 + 2, ...varint(BigInt(content.length)), ...content];
};
const header = (key: string, value: string) => bytes(5, [...bytes(1, key), ...bytes(2, value)]);
const required = [...number(1, 7), ...number(2, 8), ...number(3, 9), ...number(4, 1)];
const read = (...parts: readonly number[][]) => decodeFrame(Uint8Array.from(parts.flat()));
const plain: Frame = { seqId: 7n, logId: 8n, service: 9, method: 1, headers: [] };

describe("a frame", () => {
  test("of a ping has these bytes, its zeros among them", () => {
    const hex = "0800100018f681801020002a0c0a0474797065120470696e67";
    assert.equal(Buffer.from(encodeFrame(pingFrame(33_554_678))).toString("hex"), hex);
    assert.deepEqual(decodeFrame(Buffer.from(hex, "hex")), pingFrame(33_554_678));
  });

  test("is read with every field, and written as it was", () => {
    const wire = [
      ...[...number(1, 2n ** 64n - 1n), ...number(2, 2n ** 63n + 1n), ...number(3, -5), ...number(4, 1)],
      ...[...header("type", "event"), ...header("\u540d", "\u503c"), ...header("type", "card"), ...header("", "")],
      ...[...bytes(6, "gzip"), ...bytes(7, ""), ...bytes(8, [0, 255]), ...bytes(9, "log-1")],
    ];
    const frame = read(wire);
    assert.deepEqual(frame, {
      ...{ seqId: 2n ** 64n - 1n, logId: 2n ** 63n + 1n, service: -5, method: 1 },
      headers: Object.entries({ type: "event", "\u540d": "\u503c" }).concat([
        ["type", "card"],
        ["", ""],
      ]),
      ...{ payloadEncoding: "gzip", payloadType: "", payload: Uint8Array.of(0, 255), logIdNew: "log-1" },
    });
    assert.deepEqual([...encodeFrame(frame as Frame)], wire);
    assert.equal(headerOf(frame as Frame, "type"), "event", "the first of two counts");
    assert.equal(headerOf(frame as Frame, "__proto__"), undefined);
  });

  test("is read whatever stands between its fields, and in whatever order", () => {
    const unknown = [
      ...number(15, 3),
      ...bytes(16 - 1, "x"),
      10 * 8 + 5,
      1,
      2,
      3,
      4,
      11 * 8 + 1,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
    ];
    const group = [12 * 8 + 3, ...number(1, 99), 12 * 8 + 4];
    assert.deepEqual(read(unknown, required, group), plain);
    assert.deepEqual(read(number(4, 1), number(3, 9), number(2, 8), number(1, 7)), plain);
    const inside = bytes(5, [...number(7, 1), ...bytes(2, "v"), ...bytes(1, "k")]);
    assert.deepEqual(read(required, inside)?.headers, [["k", "v"]]);
  });

  test("means the last of a field that comes twice", () => {
    assert.deepEqual(read(number(1, 1), required, bytes(8, [1]), bytes(8, [2])), {
      ...plain,
      payload: Uint8Array.of(2),
    });
  });

  test("may spell a number longer than needed", () => {
    assert.equal(read([8, 0x87, 0x80, 0x00], required.slice(2))?.seqId, 7n);
  });

  const broken: Readonly<Record<string, readonly number[][]>> = {
    "is empty": [],
    "is a text": [[...Buffer.from('{"type":"event"}')]],
    "lacks its method": [required.slice(0, -2)],
    "lacks its ids": [required.slice(4)],
    "ends amid its payload": [required, [0x42, 9, 1]],
    "ends amid a number": [required, [8, 0x80]],
    "ends amid a tag": [required, [0x80]],
    "has a number of eleven bytes": [required, [8, ...Array<number>(10).fill(0x80), 1]],
    "has a header without a value": [required, bytes(5, bytes(1, "k"))],
    "has a header without a key": [required, bytes(5, bytes(2, "v"))],
    "has a field 0": [required, [0, 1]],
    "has a wire type 7": [required, [0x0f]],
    "has its method as a text": [required.slice(0, -2), bytes(4, "1")],
    "has groups within groups": [required, Array<number>(100_000).fill(12 * 8 + 3)],
  };
  for (const [how, parts] of Object.entries(broken)) {
    test(`L7: that ${how} is none`, () => assert.equal(read(...parts), undefined));
  }

  test(`L7: of random or damaged bytes is read or is none, and what is read can be written (seed ${seed})`, () => {
    const random = seeded(seed);
    for (let round = 0; round < 200; round++) {
      const frame = anyFrame(random);
      const wire = encodeFrame(frame);
      assert.deepEqual(decodeFrame(wire), frame);
      for (let flips = random.below(4); flips >= 0; flips--) wire[random.below(wire.length)] = random.below(256);
      const found = decodeFrame(random.chance(0.2) ? new Uint8Array(random.bytes(random.below(60))) : wire);
      if (found !== undefined) assert.deepEqual(decodeFrame(encodeFrame(found)), found);
    }
  });
});

function anyFrame(random: Random): Frame {
  const text = () => random.pick(["", "a", "\u4f60\u597d", "\u{1f44b}", random.hex(random.below(300))]);
  const wide = () => BigInt(`0x${random.hex(1 + random.below(16))}`);
  return {
    ...{ seqId: wide(), logId: wide(), service: random.pick([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) },
    method: random.below(3),
    headers: Array.from({ length: random.below(5) }, () => [text(), text()] as const),
    ...(random.chance(0.5) ? { payloadEncoding: text() } : {}),
    ...(random.chance(0.5) ? { payloadType: text() } : {}),
    ...(random.chance(0.7) ? { payload: new Uint8Array(random.bytes(random.below(300))) } : {}),
    ...(random.chance(0.5) ? { logIdNew: text() } : {}),
  };
}

describe("the reply", () => {
  const frame: Frame = {
    ...{ ...plain, seqId: 2n ** 64n - 1n, payloadEncoding: "", payloadType: "json", payload: Uint8Array.of(1) },
    headers: [
      ["type", "event"],
      ["type", "again"],
    ],
    logIdNew: "log-1",
  };
  const payloadOf = (reply: Frame) => Buffer.from(reply.payload ?? []).toString("utf8");

  test("is the frame again, with the time that it took behind its headers", () => {
    const { payload: _, headers, ...rest } = replyFrame(frame, { code: 200 }, 12.4);
    const { payload: __, headers: before, ...echoed } = frame;
    assert.deepEqual(rest, echoed);
    assert.deepEqual(headers, [...before, ["biz_rt", "12"]]);
  });

  test("says no negative time, where a clock was set back", () => {
    assert.equal(headerOf(replyFrame(frame, { code: 200 }, -3), "biz_rt"), "0");
  });

  test("holds the verdict, and a callback's answer as base64 of its JSON", () => {
    assert.equal(payloadOf(replyFrame(frame, { code: 200 }, 1)), '{"code":200}');
    assert.equal(payloadOf(replyFrame(frame, { code: 500 }, 1)), '{"code":500}');
    const reply = payloadOf(replyFrame(frame, { code: 200, answer: { toast: { content: "\u4f60\u597d" } } }, 1));
    assert.equal(reply, '{"code":200,"data":"eyJ0b2FzdCI6eyJjb250ZW50Ijoi5L2g5aW9In19"}');
  });
});

const part = (sum: number | string | null, seq: number | string, payload: Uint8Array | string, id = "m-1"): Frame => ({
  ...plain,
  headers: [["message_id", id], ...(sum === null ? [] : [["sum", String(sum)] as const]), ["seq", String(seq)]],
  payload: typeof payload === "string" ? Buffer.from(payload) : payload,
});
const textOf = (message: Message | string) =>
  typeof message === "string" ? message : Buffer.from(message.payload).toString("utf8");

describe("parts of a message", () => {
  test("are joined in whatever order they come, cut within a character, twice or empty", () => {
    const whole = Buffer.from("a\u4f60\u{1f44b}b");
    for (const order of [
      [0, 1, 2, 3],
      [3, 2, 1, 0],
      [2, 2, 0, 3, 0, 1],
    ]) {
      const joiner = partJoiner();
      const pieces = [whole.subarray(0, 2), whole.subarray(2, 6), new Uint8Array(), whole.subarray(6)];
      const results = order.map((seq) => joiner.add(part(4, seq, pieces[seq] ?? ""), 0));
      assert.equal(textOf(results.at(-1) ?? ""), "a\u4f60\u{1f44b}b");
      assert.ok(results.slice(0, -1).every((result) => result === "incomplete"));
      assert.equal(joiner.pending, 0);
    }
  });

  test("count from the first, and are answered to the last", () => {
    const joiner = partJoiner();
    joiner.add(part(2, 1, "b"), 1_000);
    const last = part(2, 0, "a");
    const message = joiner.add(last, 3_000);
    assert.ok(typeof message !== "string");
    assert.equal(message.sinceMs, 1_000);
    assert.equal(message.frame, last);
  });

  test("are told apart by their message", () => {
    const joiner = partJoiner();
    for (const id of ["m-1", "__proto__"]) joiner.add(part(2, 0, id, id), 0);
    assert.equal(textOf(joiner.add(part(2, 1, "!", "__proto__"), 0)), "__proto__!");
    assert.equal(textOf(joiner.add(part(2, 1, "!", "m-1"), 0)), "m-1!");
  });

  test("that are the only one, or say of no number, are the whole", () => {
    assert.equal(textOf(partJoiner().add(part(1, 0, "x"), 0)), "x");
    assert.equal(textOf(partJoiner().add(part(null, 0, "x"), 0)), "x");
    assert.equal(partJoiner().add(part(partBounds.parts, partBounds.parts - 1, "x"), 0), "incomplete");
    assert.equal(textOf(partJoiner().add({ ...plain, headers: [] }, 0)), "");
  });

  const invalid: [sum: number | string, seq: number | string][] = [
    [2, 2],
    [2, -1],
    [0, 0],
    ["two", 0],
    [2, "x"],
    ["", 0],
    ["1e1", 0],
    ["1.5", 0],
    [partBounds.parts + 1, 0],
    [2 ** 31, 0],
    ["9".repeat(400), 0],
    [1, 1],
  ];
  for (const [sum, seq] of invalid) {
    test(`that claim to be number ${seq} of ${String(sum).slice(0, 12)} are none`, () => {
      const joiner = partJoiner();
      assert.equal(joiner.add(part(sum, seq, "x"), 0), "invalid");
      assert.equal(joiner.pending, 0);
    });
  }

  test("that disagree about their number, or name no message, are none", () => {
    const joiner = partJoiner();
    joiner.add(part(2, 0, "a"), 0);
    assert.equal(joiner.add(part(3, 1, "b"), 0), "invalid");
    assert.equal(joiner.add({ ...plain, headers: [["sum", "2"]] }, 0), "invalid");
    assert.equal(textOf(joiner.add(part(2, 1, "b"), 0)), "ab");
  });

  test("L6: are forgotten after 10 s without the rest, and that is told", () => {
    const forgotten: number[] = [];
    const joiner = partJoiner((count) => forgotten.push(count));
    for (const id of ["m-1", "m-2"]) joiner.add(part(2, 0, "a", id), 0);
    joiner.add(part(2, 0, "a", "m-3"), 5_000);
    assert.equal(joiner.add(part(2, 0, "a"), 9_999), "incomplete");
    assert.deepEqual(forgotten, []);
    assert.equal(joiner.add(part(2, 1, "b"), 10_000), "incomplete");
    assert.deepEqual(forgotten, [2]);
    assert.equal(joiner.pending, 2);
    assert.equal(textOf(joiner.add(part(2, 0, "a"), 10_000)), "ab");
  });

  test("L6: of more than 256 messages push the oldest out", () => {
    let forgotten = 0;
    const joiner = partJoiner((count) => {
      forgotten += count;
    });
    for (let index = 0; index < 300; index++) joiner.add(part(2, 0, "a", `m-${index}`), 0);
    assert.deepEqual([joiner.pending, forgotten], [256, 44]);
    assert.equal(joiner.add(part(2, 1, "b", "m-0"), 0), "incomplete");
    assert.equal(textOf(joiner.add(part(2, 1, "b", "m-299"), 0)), "ab");
  });

  test("L6: of more than 32 MiB push the oldest out, be they bytes, names or many small ones", () => {
    const mebibyte = 1_048_576;
    let forgotten = 0;
    const joiner = partJoiner((count) => {
      forgotten += count;
    });
    // What an empty part takes, with its name.
    const least = 1_024 + 2 * "m-10".length;
    const bytes = new Uint8Array(mebibyte - least);
    for (let index = 10; index < 42; index++) joiner.add(part(2, 0, bytes, `m-${index}`), 0);
    assert.deepEqual([joiner.pending, forgotten], [32, 0]);
    joiner.add(part(2, 0, "", "m-42"), 0);
    assert.deepEqual([joiner.pending, forgotten], [32, 1]);
    // One byte more than what is left.
    joiner.add(part(2, 0, bytes.subarray(least - 1), "m-43"), 0);
    assert.deepEqual([joiner.pending, forgotten], [32, 2]);
    for (let index = 0; index < 1_100; index++) {
      const names = { message_id: `m-${100 + (index % 100)}`, sum: "1000", seq: String(Math.floor(index / 100)) };
      joiner.add({ ...plain, headers: Object.entries(names) }, 0);
    }
    assert.equal(forgotten, 3, "empty parts take room as well");
    const named = partJoiner();
    for (const [id, pending] of [
      ["a", 1],
      ["b", 1],
      ["bb", 0],
    ] as const) {
      named.add(part(2, 0, "", id.repeat(9 * mebibyte)), 0);
      assert.equal(named.pending, pending);
    }
  });

  test("L6: keep nothing alive but their own bytes", () => {
    const joiner = partJoiner();
    const read = Buffer.from("ab");
    joiner.add(part(2, 0, read.subarray(0, 1)), 0);
    const held = { ...part(2, 0, "", "m-2"), payload: read.subarray(0, 1) };
    joiner.add(held, 0);
    // The socket's buffer is used again.
    read.fill("z");
    assert.equal(textOf(joiner.add(part(2, 1, "!", "m-2"), 0)), "a!");
  });
});
