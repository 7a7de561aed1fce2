import assert from "node:assert/strict";
import type { Clock } from "../../lib/clock.ts";
import { toolMaker } from "../../lib/handling/tools.ts";
import { openApi } from "../../lib/open-api/client.ts";
import { openApi as simulate } from "../../lib/simulator/open-api/open-api.ts";
import { type ApiRequest, type ApiResponse, serve } from "../../lib/simulator/open-api/server.ts";
import { groupChat, mei } from "../../lib/simulator/samples/facts.ts";
import { memoryTokens } from "../../lib/testing/tokens.ts";
import { eventBody, type TestHandle } from "../support/events.ts";
import { type Random, seeded } from "../support/random.ts";
import { startWorker, type Worker } from "../support/worker.ts";
import type { Row } from "./row.ts";

const app = { kind: "self-built", appId: "cli_00000000000000a1", appSecret: "a secret of the app" } as const;
const messagesPath = "/open-apis/im/v1/messages";
const toChat = { query: { receive_id_type: "chat_id" }, body: { receive_id: groupChat, msg_type: "text" } };
const text = (words: string) => JSON.stringify({ text: words });

/** Time that passes a hundred times faster: ten seconds without an answer are a tenth of one. */
const hurried: Clock = {
  nowMs: Date.now,
  after(ms, fire) {
    const timer = setTimeout(fire, ms / 100);
    return () => clearTimeout(timer);
  },
};

/** The same without a deadline: those are of ten seconds and more. */
const undated: Clock = { ...hurried, after: (ms, fire) => (ms < 10_000 ? hurried.after(ms, fire) : () => {}) };

type Perform = () => Promise<ApiResponse | null>;
/** What becomes of a call: `perform` does it, and gives its answer. */
type Fate = (request: ApiRequest, perform: Perform, signal: AbortSignal | undefined) => Promise<ApiResponse | null>;

/** The simulator over HTTP, what handlers call it by, and each call's fate. */
async function startPlatform(random: Random, fate: Fate, clock = hurried) {
  const problems: unknown[] = [];
  const simulator = simulate({
    clock,
    newId: () => random.hex(32),
    apps: [app],
    onProblem: (problem) => problems.push(problem),
  });
  const server = await serve((request, signal) => fate(request, () => simulator.handle(request), signal), 0);
  const { appId } = app;
  const appSecret = async () => app.appSecret;
  const api = { appId, appSecret, origin: server.url, store: memoryTokens(), clock, random: random.next };
  const sign = () => Promise.reject(new Error("nothing is signed"));
  return {
    simulator,
    tools: toolMaker({ signer: { sign }, api, secrets: async () => ({}) }),
    openApi: () => openApi(api),
    async stop() {
      await server.close();
      assert.deepEqual(problems, []);
    },
  };
}

/** Events by the hundred through the worker; each handler's messages are counted by their text. */
async function viaWorker(
  { n, seed, progress }: Parameters<Row["run"]>[0],
  { fate, handler }: { fate: (random: Random) => Fate; handler: TestHandle },
  check: (found: { bench: Worker; ids: readonly string[]; sent: Map<string, number> }) => void,
): Promise<void> {
  const random = seeded(seed);
  const bench = await startWorker({ seed, memory: true });
  const platform = await startPlatform(random, fate(random));
  const sent = new Map<string, number>();
  platform.simulator.onMessage(({ message: { content } }) => sent.set(content, (sent.get(content) ?? 0) + 1));
  try {
    for (let from = 0; from < n; from += 100) {
      const ids = Array.from({ length: Math.min(100, n - from) }, (_, index) => `a-${from + index}`);
      await bench.send(...ids.map((id) => eventBody({ id })));
      await bench.drain({ handlers: { "test.event": handler }, ports: { tools: platform.tools } });
      check({ bench, ids, sent });
      assert.deepEqual(await bench.counts(), { queued: 0, dead: 0, quarantined: 0 });
      assert.deepEqual(bench.idsAt("handled").sort(), [...ids].sort());
      bench.trace.entries.length = 0;
      sent.clear();
      progress(Math.min(n, from + 100));
    }
  } finally {
    await Promise.all([bench.stop(), platform.stop()]);
  }
}

const answer = (status: number, body: string): ApiResponse => ({ status, headers: {}, body });
const faults: readonly Fate[] = [
  async () => answer(500, '{"code":10500,"msg":"internal server error"}'),
  async () => answer(503, "<html>unavailable</html>"),
  async () => answer(429, '{"code":99991400,"msg":"too many"}'),
  async () => null,
  async (_request, perform) => {
    await perform();
    return null;
  },
  (_request, _perform, signal) =>
    new Promise((resolve) => {
      signal?.addEventListener("abort", () => resolve(null));
    }),
];

export const apiRows: readonly Row[] = [
  {
    id: "A2",
    title:
      "of events whose calls fail by a tenth (5xx, no answer, an answer lost) none is dead, and each has its message once",
    full: 100_000,
    sample: 60,
    run: (options) =>
      viaWorker(
        options,
        {
          fate: () => {
            let calls = 0;
            // Each kind in turn.
            return (request, perform, signal) =>
              (++calls % 10 === 0 ? (faults[(calls / 10) % faults.length] ?? perform) : perform)(
                request,
                perform,
                signal,
              );
          },
          handler: async (_event, { request, id }) => {
            await request("POST", messagesPath, { ...toChat, body: { ...toChat.body, content: text(id) } });
          },
        },
        ({ ids, sent }) => assert.deepEqual([...sent].sort(), ids.map((id) => [text(id), 1]).sort()),
      ),
  },
  {
    id: "A3",
    title: "of events that create, reply and forward, where every call's first answer is lost, each sends each once",
    full: 10_000,
    sample: 8,
    async run(options) {
      const first = new Set<string>();
      await viaWorker(
        options,
        {
          fate: () => async (request, perform) => {
            const result = await perform();
            const { uuid } = JSON.parse(request.body ?? "{}") as { uuid?: string };
            const call = uuid ?? new URL(request.url, "http://x").searchParams.get("uuid") ?? "";
            if (call === "" || first.has(call)) return result;
            first.add(call);
            return null;
          },
          handler: async (_event, { request, id }) => {
            const body = { ...toChat.body, content: text(`${id} created`) };
            const created = await request("POST", messagesPath, { ...toChat, body });
            const path = `${messagesPath}/${created.data.message_id}`;
            await request("POST", `${path}/reply`, { body: { msg_type: "text", content: text(`${id} reply`) } });
            const query = { receive_id_type: "open_id" };
            await request("POST", `${path}/forward`, { query, body: { receive_id: mei.open_id } });
          },
        },
        ({ ids, sent }) => {
          // What is forwarded says what the first said.
          const wanted = ids.flatMap((id) => [
            [text(`${id} created`), 2],
            [text(`${id} reply`), 1],
          ]);
          assert.deepEqual([...sent].sort(), wanted.sort());
        },
      );
      assert.equal(first.size, 3 * options.n);
    },
  },
  {
    id: "A7",
    title:
      "of calls whose connection had died while the process was frozen, none fails: reads, and messages with a uuid",
    full: 1_000,
    sample: 20,
    async run({ n, seed, progress }) {
      const random = seeded(seed);
      let isDead = false;
      const fate: Fate = async (_request, perform) => {
        if (!isDead) return perform();
        isDead = false;
        return null;
      };
      const platform = await startPlatform(random, fate, undated);
      try {
        const api = platform.openApi();
        const signal = new AbortController().signal;
        const run = (key: string) => api.forRun({ key, tenant: null, signal, remainingMs: () => 60_000 });
        let last = "";
        for (let thaw = 0; thaw < n; thaw++) {
          const { request } = run(`a7-${thaw}`);
          isDead = thaw > 0;
          if (thaw % 2 === 0) {
            const body = { ...toChat.body, content: text(String(thaw)) };
            last = (await request("POST", messagesPath, { ...toChat, body })).data.message_id;
          } else {
            assert.equal((await request("GET", `${messagesPath}/${last}`)).code, 0);
          }
          if (thaw % 100 === 0) progress(thaw);
        }
        assert.equal(platform.simulator.messages().length, Math.ceil(n / 2));
      } finally {
        await platform.stop();
      }
    },
  },
];
