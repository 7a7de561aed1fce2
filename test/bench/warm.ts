import { buildPeer } from "./bundles.ts";
import type { Webhooks } from "./cold.ts";
import { interleave, type Row, row, type SectionOptions } from "./measure.ts";
import { gatewayEvents } from "./requests.ts";
import type { Surroundings } from "./surroundings.ts";

const warmUpCalls = 400;

/** One request after another through a process that has long been up: the answer comes when SQS has. */
export async function warm(surroundings: Surroundings, built: Webhooks, options: SectionOptions): Promise<Row[]> {
  const eventFile = surroundings.eventFile("event", gatewayEvents(Date.now()).event);
  const floor = await surroundings.startLoop(built.floor, { eventFile });
  const ours = await surroundings.startLoop(built.ours, { eventFile });
  const peer = await surroundings.startLoop(built.peer, { eventFile });
  options.progress("warm request, warming up");
  for (const run of [floor, ours, peer]) await run(warmUpCalls);
  const contenders = { floor: () => floor(100), ours: () => ours(100), peer: () => peer(100) };
  const samples = await interleave(contenders, options, "warm request");
  const section = "warm";
  return [
    row({ section, what: "request to answer, CPU", samples, figure: "cpuMs", targets: { peer: 0.85 } }),
    row({ section, what: "request to answer, wall", samples, figure: "wallMs" }),
  ];
}

/** One record of the worker, from its envelope to its verdict. The floor is ours without a ledger. */
export async function record(surroundings: Surroundings, options: SectionOptions): Promise<Row[]> {
  const [module, powertools] = await Promise.all(
    ["record", "powertools"].map((name) => buildPeer(surroundings.folder, name)),
  );
  const floor = await surroundings.startLoop(module ?? "", { exported: "withoutLedger" });
  const ours = await surroundings.startLoop(module ?? "");
  const peer = await surroundings.startLoop(powertools ?? "");
  options.progress("worker record, warming up");
  for (const run of [floor, ours, peer]) await run(warmUpCalls);
  const contenders = { floor: () => floor(200), ours: () => ours(50), peer: () => peer(50) };
  const samples = await interleave(contenders, options, "worker record");
  const section = "record";
  return [
    row({ section, what: "claim, handler, complete: CPU", samples, figure: "cpuMs", targets: { peer: 0.8 } }),
    row({ section, what: "claim, handler, complete: wall", samples, figure: "wallMs" }),
  ];
}
