import { spawn } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pause, systemClock } from "../../clock.ts";
import { fieldsOf, parseJson, stringOf } from "../../feishu/json.ts";
import { idempotencyKey } from "../../handling/idempotency.ts";
import { randomId } from "../../simulator/samples/samples.ts";
import { CommandError } from "../command.ts";
import { messageOf } from "../send/message.ts";
import { applySetting, parseExact, parseSetting, readPayload } from "../send/payload.ts";
import { isUnreachable, pushAll } from "../send/pushes.ts";
import { type Outcome, unreachableText, warn } from "../send/report.ts";
import { hidden, payloadText } from "../start/payloads.ts";
import { isOutcome } from "../start/render.ts";
import type { LogEntry, Push, Recent } from "../state/recent.ts";
import { findTarget, readLocal } from "../state/target.ts";

/** How long a replay waits for what becomes of the event. */
const waitMs = 10_000;

interface Replayed {
  readonly outcome: Outcome;
  readonly newId: string;
  /** What became of it in time. */
  readonly stage: string | undefined;
  readonly lines: readonly LogEntry[];
}

/** Pushes again what was pushed once, and waits for what becomes of it. */
export async function replayed(
  push: Push,
  options: { recent: Recent; stateFolder: string; edit: boolean; sameId: boolean },
): Promise<Replayed> {
  const { recent, stateFolder, edit, sameId } = options;
  const target = findTarget({ url: undefined, stateFolder, env: process.env });
  const text = edit ? await edited(payloadText(push.text)) : push.text;
  const content = readPayload(withUpdateToken(text), "the event");
  const type = content.is === "event" ? undefined : content.type;
  if (type === "app_ticket" && text.includes(hidden)) {
    throw new CommandError("Cannot replay an app_ticket: its ticket was not kept. The platform sends one each hour");
  }
  const message = messageOf(content, type, {
    nowMs: Date.now(),
    appId: target.appId,
    newId: randomId,
    keep: false,
    ...(sameId ? { eventId: push.id } : {}),
    ...tenantOf(text),
  });
  if (message.text.includes(JSON.stringify(hidden))) {
    warn(`it has a secret that was not kept: it is pushed as "${hidden}". --edit can put one in`);
  }
  if (!sameId) await forget(push, { stateFolder, appId: target.appId });
  const before = recent.after(0).at(-1)?.n ?? 0;
  const { outcomes } = await pushAll(target, () => message, {
    times: 1,
    clock: systemClock,
    repush: false,
    badSignature: false,
    isOneEvent: false,
    onRetry() {},
    show() {},
  });
  const [outcome] = outcomes;
  if (outcome === undefined) throw new CommandError("Cannot replay: nothing was pushed");
  if (isUnreachable(outcome.result)) throw new CommandError(unreachableText(outcome, target));
  const lines = outcome.isOk ? await linesUntilOutcome(recent, message.id, before) : [];
  const stage = stringOf(lines.findLast(({ line }) => isOutcome(line["stage"]))?.line["stage"]);
  return { outcome, newId: message.id, stage, lines };
}

/**
 * Deletes from this machine's ledger under which keys of handlers' own the payload is done or dead: with a new id alone it
 * would be a duplicate. The event's own id is remembered.
 */
async function forget(
  { id, text }: Push,
  { stateFolder, appId }: { stateFolder: string; appId: string },
): Promise<void> {
  const services = readLocal(join(stateFolder, "local.json"))?.services;
  const { header, event } = fieldsOf(parseJson(text));
  const type = stringOf(fieldsOf(header)["event_type"]) ?? stringOf(fieldsOf(event)["type"]);
  if (services === undefined || type === undefined) return;
  const own = [type, "_default"].map((handler) => `claim#${idempotencyKey({ app: appId, handler, id })}`);
  const { DynamoDB, paginateScan } = await import("@aws-sdk/client-dynamodb");
  const credentials = { accessKeyId: services.accessKeyId, secretAccessKey: "local" };
  const dynamo = new DynamoDB({ region: "us-east-1", endpoint: services.dynamo, credentials, maxAttempts: 1 });
  try {
    const rows = {
      TableName: "ledger",
      FilterExpression: "digest = :digest AND phase IN (:done, :dead)",
      ExpressionAttributeValues: {
        ":digest": { S: hash("sha256", JSON.stringify(event), "base64url") },
        ":done": { S: "done" },
        ":dead": { S: "dead" },
      },
    };
    for await (const { Items = [] } of paginateScan({ client: dynamo }, rows)) {
      for (const { pk } of Items) {
        if (pk?.S !== undefined && !own.includes(pk.S)) await dynamo.deleteItem({ TableName: "ledger", Key: { pk } });
      }
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ECONNREFUSED") throw error;
    // "npm start" does not run, which the push says.
  } finally {
    dynamo.destroy();
  }
}

/** A card's update token was not kept. The callback's handler wants one. */
function withUpdateToken(text: string): string {
  const envelope = parseExact(text);
  if (fieldsOf(fieldsOf(envelope)["event"])["token"] !== hidden) return text;
  applySetting(envelope as object, parseSetting(`event.token=c-${randomId()}`));
  return JSON.stringify(envelope);
}

/** Schema 2.0 has the tenant in the header, 1.0 in the event, an old card at the top. */
function tenantOf(text: string): { tenant?: string } {
  const { header, event, ...top } = fieldsOf(parseJson(text));
  const tenant = [fieldsOf(header), fieldsOf(event), top].map(({ tenant_key: key }) => stringOf(key)).find(Boolean);
  return tenant === undefined ? {} : { tenant };
}

/** The lines of an event after the `n`th, until one says what became of it. */
async function linesUntilOutcome(recent: Recent, id: string, n: number): Promise<readonly LogEntry[]> {
  const endMs = systemClock.nowMs() + waitMs;
  for (;;) {
    const lines = recent.after(n).filter(({ line }) => line["id"] === id && line["level"] !== "debug");
    const isOver = lines.some(({ line }) => isOutcome(line["stage"]));
    if (isOver || systemClock.nowMs() > endMs) return lines;
    await pause(systemClock, 100);
  }
}

/** @throws {CommandError} The editor failed, or its text is not JSON. The text is kept then. */
async function edited(text: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-event-"));
  const file = join(folder, "event.json");
  writeFileSync(file, `${text}\n`, { mode: 0o600 });
  const editor = process.env["VISUAL"] || process.env["EDITOR"] || "vi";
  // A shell splits it: an editor may be set with arguments, like "code --wait".
  const child = spawn(`${editor} "${file}"`, { shell: true, stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) {
    rmSync(folder, { recursive: true });
    throw new CommandError(`Cannot replay: the editor ended with ${code ?? "a signal"}. Nothing was pushed`);
  }
  const changed = readFileSync(file, "utf8");
  if (parseJson(changed) === undefined) {
    throw new CommandError(`Cannot replay: what was edited is not JSON. It is kept in ${file}`);
  }
  rmSync(folder, { recursive: true });
  return changed;
}
