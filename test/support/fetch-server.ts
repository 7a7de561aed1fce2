import { createReceiver, fetchHandler } from "larkpost/http";
import { callbacks } from "../../functions/callbacks.gen.ts";

// The program that Bun and Deno run: it prints its port.

type Serve = (options: { port: number; hostname: string; fetch: (request: Request) => Promise<Response> }) => {
  readonly port: number;
};
type DenoServe = (
  options: { port: number; hostname: string; onListen: (at: { readonly port: number }) => void },
  fetch: (request: Request) => Promise<Response>,
) => unknown;

const { Bun, Deno } = globalThis as { Bun?: { readonly serve: Serve }; Deno?: { readonly serve: DenoServe } };
const fetch = fetchHandler(createReceiver({ callbacks }));
const at = { port: 0, hostname: "127.0.0.1" };
const print = ({ port }: { readonly port: number }) => console.log(JSON.stringify({ port }));
if (Bun !== undefined) print(Bun.serve({ ...at, fetch }));
else Deno?.serve({ ...at, onListen: print }, fetch);
