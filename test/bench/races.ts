import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { once } from "../../lib/once.ts";
import type { Comparison, Sample } from "./measure.ts";
import { batchEvent, challengeEvent, clickEvent, type Front, messageEvent } from "./requests.ts";
import type { Program, Surroundings, Task } from "./surroundings.ts";

export interface Entrant {
  /** Built when it is first needed. */
  readonly program: () => Promise<Program>;
  /** Made when the race begins: the platform's signatures grow old. */
  readonly task: () => Task;
}

/** Contestants that run side by side, and what is read off their figures. */
export interface Race {
  readonly name: string;
  /** A fresh process for each sample, or a process that has long been up. */
  readonly kind: "cold" | "warm" | "zip";
  readonly rounds: number;
  readonly entrants: Readonly<Record<string, Entrant>>;
  readonly rows: readonly Comparison[];
  /** Left out of a quick run. */
  readonly isLong?: boolean;
}

const cpu = "cpuMs";
const nodeSdk = "node-sdk";
const KB = 1024;
const messageType = "im.message.receive_v1";
const messageHandler = handlerFile("onEvent", messageType, "async () => {}");
const clickAnswer = '{ toast: { type: "success", content: "Approved" } }';
const clickHandler = handlerFile("onCallback", "card.action.trigger", `async () => (${clickAnswer})`);

/** The same callback function with the AWS SDK's client. */
const sdkEntry = `import { callback } from "larkpost/aws";
import { sdkClient } from ${JSON.stringify(join(import.meta.dirname, "../../lib/aws/sdk-client.ts"))};
import { callbacks } from "./callbacks.gen.ts";

export const handler = await callback({ callbacks, aws: await sdkClient({ sqs: 500, dynamodb: 350, ssm: 600 }) });
`;

/** The races, in the order of the table. `must` is what the project holds itself to. */
export function racesOf({ bundle, contestant }: Surroundings): readonly Race[] {
  const ours = (...options: Parameters<typeof bundle>) =>
    once(async (): Promise<Program> => ({ file: await bundle(...options) }));
  const files = new Map<string, Promise<string>>();
  const other =
    (name: string, exported = "handler") =>
    async (): Promise<Program> => {
      const file = files.get(name) ?? contestant(name);
      files.set(name, file);
      return { file: await file, exported, hasKeys: true };
    };
  /** The same task for all. */
  const all = (task: () => Task, programs: Readonly<Record<string, Entrant["program"]>>) =>
    Object.fromEntries(Object.entries(programs).map(([name, program]) => [name, { program, task }]));

  const webhook = ours("webhook");
  const webhooks = { floor: other("floor"), ours: webhook, [nodeSdk]: other("official-sdk") };
  const opens = { floor: other("floor", "open"), ours: other("open"), [nodeSdk]: other("official-sdk", "open") };
  const worker = ours("worker", { events: { [messageType]: messageHandler } });
  const callbacks = { "card.action.trigger": clickHandler };
  const callback = ours("callback", { callbacks });
  /** A worker with so many handlers' files, of which one runs. */
  const workerOf = (count: number) => {
    const types = Array.from({ length: count - 1 }, (_, n) => `bench.type_${n}_v1`);
    const others = types.map((type) => [type, handlerFile("onEvent", type, "async () => {}")]);
    return ours("worker", { events: { [messageType]: messageHandler, ...Object.fromEntries(others) } });
  };
  const event =
    (bytes: number, front: Front = "2.0") =>
    () => ({ event: messageEvent(bytes, { front }), answer: ":200" });
  const body = (bytes: number) => () => ({ event: messageEvent(bytes, { of: "body" }), answer: ":200" });
  const batch = (count: number) => () => ({ event: batchEvent(count), answer: '{"batchItemFailures":[]}' });
  const clicks =
    (atOnce = 1) =>
    () => ({ event: clickEvent(), answer: "Approved", atOnce });

  const open = (what: string, must: number, task: () => Task): Race => ({
    name: "open",
    kind: "warm",
    rounds: 15,
    entrants: all(task, opens),
    rows: [{ what: `gateway event → envelope, ${what}, CPU × floor`, figure: cpu, by: "floor", must }],
  });
  const warm = (what: string, task: () => Task): Race => ({
    name: "warm",
    kind: "warm",
    rounds: 21,
    entrants: all(task, webhooks),
    rows: [{ what: `whole warm request, ${what}, CPU × node-sdk`, figure: cpu, by: nodeSdk, must: 0.35 }],
  });
  /** Work that grows must not cost more than in proportion: a fifth is left to garbage collection and noise. */
  const scale = (what: string, by: string, times: number, kind: Race["kind"], entrants: Race["entrants"]): Race => ({
    name: "scale",
    kind,
    rounds: 9,
    isLong: true,
    entrants,
    rows: [{ what, figure: cpu, by, times, must: 1.2 }],
  });
  return [
    {
      name: "cold",
      kind: "cold",
      rounds: 31,
      entrants: all(event(KB), webhooks),
      rows: [
        { what: "cold event acked, CPU × floor", figure: cpu, by: "floor", must: 1.55 },
        { what: "first event after load, CPU × node-sdk", figure: "firstCpuMs", by: nodeSdk, must: 0.2 },
        { what: "peak memory × floor", figure: "peakMiB", by: "floor", must: 1.1 },
      ],
    },
    {
      name: "challenge",
      kind: "cold",
      rounds: 31,
      entrants: all(() => ({ event: challengeEvent(), answer: "challenge" }), webhooks),
      rows: [{ what: "cold challenge, CPU × floor", figure: cpu, by: "floor", must: 2.5 }],
    },
    open("1 KB", 1.9, event(KB)),
    open("1 KB by REST API", 1.9, event(KB, "1.0")),
    open("10 KB", 1.6, event(10 * KB)),
    open("100 KB", 1.6, event(100 * KB)),
    open("100 KB by REST API", 1.6, event(100 * KB, "1.0")),
    open("1 MB", 1.35, body(KB * KB)),
    warm("1 KB", event(KB)),
    warm("1 KB by REST API", event(KB, "1.0")),
    warm("100 KB", event(100 * KB)),
    {
      name: "worker",
      kind: "warm",
      rounds: 21,
      entrants: all(batch(10), { ours: worker, Powertools: other("powertools") }),
      rows: [{ what: "worker, batch of 10, CPU × Powertools idempotency", figure: cpu, by: "Powertools", must: 0.27 }],
    },
    {
      name: "click",
      kind: "warm",
      rounds: 21,
      entrants: all(clicks(), { ours: callback, "SDK client": ours("callback", { callbacks, entry: sdkEntry }) }),
      rows: [{ what: "click, claimed and recorded, CPU × SDK client", figure: cpu, by: "SDK client", must: 0.5 }],
    },
    {
      name: "zip",
      kind: "zip",
      rounds: 1,
      entrants: all(event(KB), { ours: webhook, [nodeSdk]: other("official-sdk") }),
      rows: [
        { what: "webhook zip", figure: "zipKB", must: 16 },
        { what: "webhook zip, files", figure: "files" },
      ],
    },
    scale("900 KB ÷ 10 × 90 KB, whole request", "90 KB", 10, "warm", {
      "1 KB": { program: webhook, task: body(KB) },
      "90 KB": { program: webhook, task: body(90 * KB) },
      ours: { program: webhook, task: body(900 * KB) },
    }),
    scale("batch of 1,000 ÷ 10 × batch of 100", "100", 10, "warm", {
      "1": { program: worker, task: batch(1) },
      "100": { program: worker, task: batch(100) },
      ours: { program: worker, task: batch(1_000) },
    }),
    scale("cold worker, 500 handler files ÷ 2 files", "2", 1, "cold", {
      "2": { program: workerOf(2), task: batch(1) },
      "50": { program: workerOf(50), task: batch(1) },
      ours: { program: workerOf(500), task: batch(1) },
    }),
    scale("400 clicks in flight ÷ 40, each", "40", 1, "warm", {
      "10": { program: callback, task: clicks(10) },
      "40": { program: callback, task: clicks(40) },
      ours: { program: callback, task: clicks(400) },
    }),
  ];
}

function handlerFile(maker: "onEvent" | "onCallback", type: string, handle: string): string {
  return `import { ${maker} } from "larkpost";\nexport default ${maker}(${JSON.stringify(type)}, ${handle});\n`;
}

/** A bundle's zip as osls makes it, but for 1 %: its files deflated, each named twice, in headers of 30 and 46 bytes. */
export function zipOf({ file }: Program): Sample {
  const folder = dirname(file);
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.(mjs|json)$/.test(name));
  const bytes = names.map(
    (name) => 76 + 2 * `dist/webhook/${name}`.length + deflateRawSync(readFileSync(join(folder, name))).length,
  );
  return { zipKB: bytes.reduce((sum, size) => sum + size, 22) / 1024, files: names.length };
}
