import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "../../lib/cli/deploy/build.ts";

const peers = join(import.meta.dirname, "peers");

/** Builds our webhook as it is deployed. */
export async function buildOurs(folder: string): Promise<string> {
  return fileOf(await build({ outFolder: join(folder, "ours"), names: ["webhook"] }));
}

/** Builds a file of `peers/` as if it were our webhook: by the same call, so with the same settings. */
export async function buildPeer(folder: string, name: string): Promise<string> {
  const root = join(folder, `${name}-project`);
  mkdirSync(join(root, "functions"), { recursive: true });
  writeFileSync(join(root, "functions/webhook.ts"), `export * from ${JSON.stringify(join(peers, `${name}.ts`))};\n`);
  for (const other of ["callback", "worker"]) writeFileSync(join(root, `functions/${other}.ts`), "export {};\n");
  return fileOf(await build({ root, outFolder: join(folder, name) }));
}

function fileOf(built: Awaited<ReturnType<typeof build>>): string {
  const file = built.find(({ name }) => name === "webhook")?.file;
  if (file === undefined) throw new Error("the build made no webhook");
  return file;
}
