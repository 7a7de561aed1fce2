import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "../../errors.ts";
import { fieldsOf } from "../../feishu/json.ts";
import { appKeys, defaultApp, type KeyRing } from "../../feishu/keys.ts";
import { UsageError } from "../command.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** Where pushes go, and the keys they are sealed with. */
export interface Target {
  /** For events. */
  readonly url: string;
  /** For callbacks: the same, unless the receiver is the local runtime, which has an address for each. */
  readonly callbackUrl: string;
  /** Whether the running simulated platform has no such address: it pushes over the long connection. */
  readonly hasNoAddress: boolean;
  /** What to do if nothing listens there. */
  readonly ifDown: string;
  readonly appId: string;
  readonly keys: KeyRing;
  /** How the running `npm start` is asked to do something; only while it simulates the platform. */
  readonly control?: { readonly url: string; readonly token: string } | undefined;
}

/** What the local runtime, or the simulated platform alone, has written for other commands. */
export interface LocalRuntime {
  readonly url?: string;
  readonly pushTo?: string;
  /** Where a conversation with the bot can be had. */
  readonly control?: { readonly url: string; readonly token: string };
  readonly encryptKey?: string | null;
  readonly verificationToken?: string;
  readonly appId?: string;
  /** The secret of the app that exists on this machine alone. */
  readonly appSecret?: string;
  /** The embedded services, and the access key that they want. */
  readonly services?: { readonly sqs: string; readonly dynamo: string; readonly accessKeyId: string };
}

/**
 * Finds the receiver: what was given, then where the running simulated platform pushes, then the environment, then
 * what the running local runtime wrote to `local.json` in its state folder.
 * @throws {ConfigError} No place has a setting. Values are never printed. {@link UsageError}: `url` is not a URL.
 */
export function findTarget(options: { url: string | undefined; stateFolder: string; env: Env }): Target {
  const { env, stateFolder } = options;
  const file = join(stateFolder, "local.json");
  const local = readLocal(file);
  const only = options.url ?? local?.pushTo;
  const url = only ?? localUrl(env["PORT"]) ?? local?.url ?? "http://127.0.0.1:3000/webhook";
  if (!URL.canParse(url) || !["http:", "https:"].includes(new URL(url).protocol)) {
    throw new UsageError(`Cannot send to "${url}": it is not an http(s) URL. Check --url`);
  }
  const appId = env["APP_ID"] || local?.appId;
  const verificationToken = env["VERIFICATION_TOKEN"] || local?.verificationToken;
  const encryptKey = env["ENCRYPT_KEY"] || local?.encryptKey;
  const isPlain = !encryptKey && (env["ALLOW_UNENCRYPTED"] === "true" || local?.encryptKey === null);
  const missing = [
    ...(encryptKey || isPlain ? [] : ["ENCRYPT_KEY"]),
    ...(verificationToken ? [] : ["VERIFICATION_TOKEN"]),
    ...(appId ? [] : ["APP_ID"]),
  ];
  if (missing.length > 0 || !verificationToken || !appId) {
    const found = local === undefined ? `, and there is no ${file} (another folder? --state)` : "";
    // Keys that were given to npm start are not written down.
    const advice = local?.url === undefined ? 'Run "npm start" first' : "Put those that npm start was given into .env";
    throw new ConfigError(
      `Cannot seal an event: ${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set${found}. ` +
        `${advice}, or set ENCRYPT_KEY, VERIFICATION_TOKEN and APP_ID to the receiver's`,
    );
  }
  const keys = appKeys({
    appId,
    encryptKeys: encryptKey ? [{ value: encryptKey }] : [],
    verificationTokens: [{ value: verificationToken }],
  });
  const callbackUrl = only ?? new URL("callback", url).href;
  const hasNoAddress = only === undefined && local?.control !== undefined && local.url === undefined;
  const given = options.url === undefined ? '--push-to of "npm run simulate"' : "--url";
  const ifDown =
    only === undefined
      ? 'Start the runtime with "npm start" in another terminal'
      : `Start the receiver there, or check ${given}`;
  const { control } = local ?? {};
  return { url, callbackUrl, hasNoAddress, ifDown, appId, keys: new Map([[defaultApp, keys]]), control };
}

function localUrl(port: string | undefined): string | undefined {
  // 0 asked the runtime for a free port: only its file knows which it got.
  if (port === undefined || port === "" || port === "0") return undefined;
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    throw new ConfigError(`Cannot send: the port "${port}" is not a number from 1 to 65535. Check PORT`);
  }
  return `http://127.0.0.1:${port}/webhook`;
}

/** @throws {ConfigError} The file is not what `npm start` writes. */
export function readLocal(file: string): LocalRuntime | undefined {
  if (!existsSync(file)) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // Refused below, together with JSON that `npm start` did not write.
  }
  if (typeof value !== "object" || value === null) {
    throw new ConfigError(
      `Cannot read ${file}: it is not what "npm start" writes. Delete it and start the runtime again`,
    );
  }
  const { url, pushTo, encryptKey, verificationToken, appId, appSecret, control, services } = value as Record<
    string,
    unknown
  >;
  const { url: controlUrl, token } = fieldsOf(control);
  const { sqs, dynamo, accessKeyId } = fieldsOf(services);
  return {
    ...(typeof controlUrl === "string" && typeof token === "string" ? { control: { url: controlUrl, token } } : {}),
    ...(typeof sqs === "string" && typeof dynamo === "string" && typeof accessKeyId === "string"
      ? { services: { sqs, dynamo, accessKeyId } }
      : {}),
    ...(typeof url === "string" ? { url } : {}),
    ...(typeof pushTo === "string" ? { pushTo } : {}),
    ...(typeof encryptKey === "string" || encryptKey === null ? { encryptKey } : {}),
    ...(typeof verificationToken === "string" ? { verificationToken } : {}),
    ...(typeof appId === "string" ? { appId } : {}),
    ...(typeof appSecret === "string" ? { appSecret } : {}),
  };
}
