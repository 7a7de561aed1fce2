import { buildOurs, buildPeer } from "./bundles.ts";
import { type Contenders, interleave, type Row, row, type SectionOptions } from "./measure.ts";
import { gatewayEvents } from "./requests.ts";
import type { Surroundings } from "./surroundings.ts";

/** The built webhook, the least that could do its work, and the same on the official SDK. */
export async function buildWebhooks({ folder }: Surroundings) {
  const [bare, floor, ours, peer] = await Promise.all([
    buildPeer(folder, "bare"),
    buildPeer(folder, "floor"),
    buildOurs(folder),
    buildPeer(folder, "official-sdk"),
  ]);
  return { bare, floor, ours, peer };
}

export type Webhooks = Awaited<ReturnType<typeof buildWebhooks>>;

/** A fresh process, from its start to the answer and to its end. */
export async function cold(surroundings: Surroundings, built: Webhooks, options: SectionOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [name, event] of Object.entries(gatewayEvents(Date.now()))) {
    const file = surroundings.eventFile(name, event);
    const contenders: Contenders = {
      floor: () => surroundings.bareRun(built.bare, file),
      ours: () => surroundings.coldRun(built.ours, file),
      peer: () => surroundings.coldRun(built.peer, file),
    };
    // Once uncounted: the files are then in the machine's cache for everyone.
    await interleave(contenders, { ...options, rounds: 1 }, `cold ${name}, warming up`);
    const samples = await interleave(contenders, options, `cold ${name}`);
    const section = "cold";
    rows.push(
      row({
        ...{ section, what: `${name}, to the answer`, samples, figure: "answeredMs" },
        targets: name === "event" ? { peer: 0.8 } : {},
      }),
      row({ section, what: `${name}, to the end of the process`, samples, figure: "exitMs" }),
      row({ section, what: `${name}, CPU to the answer`, samples, figure: "cpuMs" }),
    );
  }
  return rows;
}

/** The first event, given as soon as the module is evaluated: what loading left to do is the event's to bear. */
export async function first(surroundings: Surroundings, built: Webhooks, options: SectionOptions): Promise<Row[]> {
  const file = surroundings.eventFile("event", gatewayEvents(Date.now()).event);
  const contenders: Contenders = {
    ours: () => surroundings.coldRun(built.ours, file),
    peer: () => surroundings.coldRun(built.peer, file),
  };
  await interleave(contenders, { ...options, rounds: 1 }, "first event, warming up");
  const samples = await interleave(contenders, options, "first event");
  const section = "first";
  return [
    row({ section, what: "first event after load, CPU", samples, figure: "firstCpuMs", targets: { peer: 1.1 } }),
    row({ section, what: "load and first event, CPU", samples, figure: "cpuMs" }),
  ];
}
