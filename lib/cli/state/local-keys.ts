import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fieldsOf } from "../../feishu/json.ts";

/** The variables that hold an app's keys. */
export const appVariables = ["APP_ID", "APP_SECRET", "ENCRYPT_KEY", "VERIFICATION_TOKEN"];
const ofRealApp = ["ENCRYPT_KEY", "VERIFICATION_TOKEN", "APP_ID"] as const;

/** The keys of an app that exists on this machine alone. */
export interface LocalApp {
  readonly encryptKey: string;
  readonly verificationToken: string;
  readonly appId: string;
  readonly appSecret: string;
}

/** The app as the functions' settings name it. */
export function envOf({ encryptKey, verificationToken, appId, appSecret }: LocalApp) {
  return { ENCRYPT_KEY: encryptKey, VERIFICATION_TOKEN: verificationToken, APP_ID: appId, APP_SECRET: appSecret };
}

/** Whether the environment has some keys of a real app: then that is the app. */
export function hasRealApp(env: NodeJS.ProcessEnv): boolean {
  return ofRealApp.some((name) => env[name] !== undefined) || env["ALLOW_UNENCRYPTED"] === "true";
}

/** Keys for this machine alone, made once and kept in the state folder. */
export function keptApp(stateFolder: string): LocalApp {
  const local = readLocal(localFile(stateFolder));
  const kept = fieldsOf(local["kept"] ?? local);
  const textOr = (name: keyof LocalApp, make: () => string) => {
    const value = kept[name];
    return typeof value === "string" ? value : make();
  };
  return {
    encryptKey: textOr("encryptKey", secret),
    verificationToken: textOr("verificationToken", secret),
    appId: textOr("appId", () => `cli_${randomBytes(8).toString("hex")}`),
    appSecret: textOr("appSecret", secret),
  };
}

/** Writes what other commands need of a local runtime or a simulated platform. Keys from the environment are not written down. */
export function writeLocal(
  stateFolder: string,
  facts: Partial<Omit<LocalApp, "encryptKey">> & {
    /** The app of this machine, also while a real one is used: what waits for it is received again later. */
    readonly kept: LocalApp;
    /** `null`: nothing is encrypted. */
    readonly encryptKey?: string | null;
    /** Where the local runtime listens. The simulated platform alone has none. */
    readonly url?: string;
    /** Where the simulated platform pushes events and callbacks. Without it, they go over the long connection. */
    readonly pushTo?: string | undefined;
    readonly control?: { readonly url: string; readonly token: string } | undefined;
    /** The embedded services, and the access key that they want: for other tools of this machine. */
    readonly services?: { readonly sqs: string; readonly dynamo: string; readonly accessKeyId: string };
  },
): void {
  const file = localFile(stateFolder);
  // The mode holds for a new file only, and a reader must not find half of it.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(facts, null, 2)}\n`, { mode: 0o600 });
  renameSync(draft, file);
}

function localFile(stateFolder: string): string {
  return join(stateFolder, "local.json");
}

/** What cannot be read is written anew: these keys protect nothing but this machine's own test events. */
function readLocal(file: string): Readonly<Record<string, unknown>> {
  try {
    return existsSync(file) ? (Object(JSON.parse(readFileSync(file, "utf8"))) as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function secret(): string {
  return randomBytes(24).toString("base64url");
}
