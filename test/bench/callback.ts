import { setImmediate as turn } from "node:timers/promises";
import { systemClock } from "../../lib/clock.ts";
import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { open } from "../../lib/feishu/open.ts";
import { answerCallback } from "../../lib/handling/callback.ts";
import { receive } from "../../lib/receiving/receiver.ts";
import { callbackList, memoryAnswers, previewText, previewType } from "../support/callbacks.ts";
import { push, ring } from "../support/push.ts";
import { buildPeer } from "./bundles.ts";
import { type Contenders, cpuMsSince, interleave, type Row, row, type SectionOptions } from "./measure.ts";
import type { Surroundings } from "./surroundings.ts";

/** Requests of one sample, and of the first, uncounted ones. */
const batch = 400;
const warmUp = 10;

/** A link preview as the platform asks for it. */
function previewRequest(nowMs: number): SealedRequest {
  const text = previewText({
    id: "5e3702a84e847582be8db7fb73283c02",
    event: {
      operator: {
        tenant_key: "2d94f07b61c8e35a",
        user_id: "4c8d21fa",
        open_id: "ou_1b7e40c2d95f4a83b6e0c71f2a9d3548",
        union_id: "on_84d1f7a06c3e49b2a5f81c0e7d62b394",
      },
      context: {
        url: "https://shop.example/orders/42?from=chat",
        preview_token: "3a5e1521-4bd0-49b6-a96d-6a2c50235486",
        open_message_id: "om_e150ecf06637b0cb35779f6b356d7131",
        open_chat_id: "oc_9f27c4e81b6d40a5b3e8d0721c5f9a64",
      },
    },
  });
  return push(text, { nowMs });
}

/**
 * All that is done around a handler, from the request's bytes to the answer's; the floor is its cryptography and
 * parsing alone. Each request comes in a turn of the event loop of its own, as in a function: the cryptography's
 * objects are freed between turns, which is part of what it costs.
 */
export async function preview(options: SectionOptions): Promise<Row[]> {
  const nowMs = Date.now();
  const request = previewRequest(nowMs);
  const keys = ring();
  const { signal } = new AbortController();
  const answer = { inline: { i18n_title: { zh_cn: "\u8ba2\u5355 42", en_us: "Order 42" }, image_key: "img_v3_0042" } };
  const never = () => Promise.reject(new Error("nothing of the kind was expected"));
  const ports = {
    ...{ dispatch: callbackList({ [previewType]: () => answer }), answers: memoryAnswers(), defer: never },
    tools: () => ({ secrets: {}, sign: never, signCard: never, lark: never, request: never, updateCard: never }),
    ...{ signer: { sign: never, isSigned: never }, clock: systemClock, newOwner: () => "owner", deadlineMs: 2_300 },
  };
  const receiver = {
    ...{ send: never, quarantine: never },
    callback: (...given: [Parameters<typeof answerCallback>[0], { elapsedMs: () => number }]) =>
      answerCallback(given[0], ports, given[1]),
  };
  const contenders: Contenders = {
    floor: await sampler(() => {
      if (open(request, { keys, nowMs }).kind !== "callback") throw new Error("the floor found no callback");
    }),
    ours: await sampler(async () => {
      const startMs = systemClock.nowMs();
      const elapsedMs = () => systemClock.nowMs() - startMs;
      const { body, json } = await receive(open(request, { keys, nowMs }), receiver, { signal, elapsedMs });
      if (!(json ?? JSON.stringify(body)).includes("42")) throw new Error("we gave no answer");
    }),
  };
  const what = "link preview around its handler";
  const samples = await interleave(contenders, options, what);
  return [row({ section: "callback", what, samples, figure: "cpuUs", unit: "\u00b5s", targets: { floor: 1.5 } })];
}

async function sampler(task: () => unknown) {
  const sample = async () => {
    const start = process.cpuUsage();
    for (let n = 0; n < batch; n++) {
      await turn();
      await task();
    }
    return { cpuUs: (cpuMsSince(start) / batch) * 1000 };
  };
  for (let n = 0; n < warmUp; n++) await sample();
  return sample;
}

/** A card's click, from the gateway's event to its answer. The floor is ours without remembering it. */
export async function card(surroundings: Surroundings, options: SectionOptions): Promise<Row[]> {
  const module = await buildPeer(surroundings.folder, "callback");
  const floor = await surroundings.startLoop(module, { exported: "withoutTable" });
  const ours = await surroundings.startLoop(module);
  options.progress("card's click, warming up");
  for (const run of [floor, ours]) await run(batch);
  const samples = await interleave({ floor: () => floor(200), ours: () => ours(50) }, options, "card's click");
  const section = "callback";
  return [
    row({ section, what: "card's click, claimed and recorded: CPU", samples, figure: "cpuMs" }),
    row({ section, what: "card's click, claimed and recorded: wall", samples, figure: "wallMs" }),
  ];
}
