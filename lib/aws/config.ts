import { limits } from "../../infra/limits.js";
import { ConfigError } from "../errors.ts";
import { appKeys, defaultApp, type KeyRing } from "../feishu/keys.ts";
import type { ChainLimits } from "../handling/deferral.ts";
import { apiConfig } from "../open-api/config.ts";
import { appSecret, noSecret } from "../settings/app-secrets.ts";
import {
  appIdAdvice,
  type Env,
  flag,
  platformAppId,
  refuseUncheckedTls,
  secret,
  setting,
  url,
  wholeNumber,
} from "../settings/environment.ts";
import { laneFinder, parseLanes } from "./lanes.ts";
import type { ParameterOptions } from "./parameter.ts";

/** Where the keys are stored instead of in the environment, and the app that they must be for. */
export interface StoredSecrets extends ParameterOptions {
  readonly appId: string | undefined;
  /** Whether old card callbacks are accepted. */
  readonly oldCards: boolean;
}

/** The platform waits for 3 seconds. After the deadline the answer is stored and sent. */
const longestDeadlineMs = 2_500;
const defaultDeadlineMs = 2_300;

/**
 * The webhook function's settings.
 * @throws {ConfigError} A setting is missing, blank, padded or a placeholder, or it would let anyone pose as Feishu.
 */
export function webhookConfig(env: Env) {
  return ingressConfig(env, false);
}

/**
 * The callback function's settings.
 * @throws {ConfigError} As {@link webhookConfig}, or the table or the deadline is missing or wrong.
 */
export function callbackConfig(env: Env) {
  return {
    ...ingressConfig(env, flag(env, "LEGACY_CARD_CALLBACK")),
    appSecret: appSecret(env),
    ledgerTable: ledgerTable(env),
    deadlineMs: callbackDeadlineMs(env),
    ...chainLimits(env),
  };
}

/**
 * The worker function's settings. It opens no request, so it needs no Encrypt Key.
 * @throws {ConfigError} A setting is missing, blank or not a URL.
 */
export function workerConfig(env: Env) {
  return { ...handlingConfig(env), deadLetterQueueUrl: url(env, "DEAD_LETTER_QUEUE_URL") };
}

/**
 * The long connection's settings.
 * @throws {ConfigError} A setting is missing or wrong. The platform would refuse an app id of another shape at every try.
 */
export function longConnectionConfig(env: Env) {
  const config = handlingConfig(env);
  platformAppId(env);
  // The platform gives no connection without it.
  if (config.appSecret === undefined && config.stored === undefined) {
    throw new ConfigError(`Cannot start: ${noSecret}`);
  }
  const api = apiConfig(env, config.appId);
  if (api.isMarketplace) {
    throw new ConfigError(
      "Cannot start: MARKETPLACE_APP is true, but only self-built apps may connect. Use the webhook",
    );
  }
  const healthPort = wholeNumber(env, "HEALTH_PORT");
  if (healthPort !== undefined && healthPort > 65_535) throw new ConfigError("Cannot start: HEALTH_PORT is not a port");
  return { ...config, api, deadlineMs: callbackDeadlineMs(env), healthPort };
}

/** @throws {ConfigError} The platform would not wait that long. */
export function callbackDeadlineMs(env: Env): number {
  const deadlineMs = wholeNumber(env, "CALLBACK_DEADLINE_MS") ?? defaultDeadlineMs;
  if (deadlineMs >= 100 && deadlineMs <= longestDeadlineMs) return deadlineMs;
  throw new ConfigError(`Cannot start: CALLBACK_DEADLINE_MS is not within 100 and ${longestDeadlineMs} ms`);
}

function ingressConfig(env: Env, oldCards: boolean) {
  refuseUncheckedTls(env);
  /** Settings that work but should be checked. They are named without their values. */
  const warnings: string[] = [];
  const stored = storedSecrets(env, oldCards);
  const keys: KeyRing = stored === undefined ? environmentKeys(env, oldCards, warnings) : new Map();
  return { keys, stored, ...queues(env), warnings };
}

/** The settings of the worker and the long connection. */
function handlingConfig(env: Env) {
  refuseUncheckedTls(env);
  return {
    appId: setting(env, "APP_ID", appIdAdvice),
    appSecret: appSecret(env),
    stored: storedSecrets(env, false),
    ...queues(env),
    ledgerTable: ledgerTable(env),
    ...chainLimits(env),
  };
}

/** How far a chain of deferred work may go. */
function chainLimits(env: Env): ChainLimits {
  return {
    maxDeferrals: wholeNumber(env, "MAX_DEFERRALS") ?? limits.maxDeferrals,
    deferForSeconds: wholeNumber(env, "DEFER_FOR_SECONDS") ?? limits.deferForSeconds,
  };
}

function queues(env: Env) {
  return {
    eventsQueueUrl: url(env, "EVENTS_QUEUE_URL"),
    quarantineQueueUrl: url(env, "QUARANTINE_QUEUE_URL"),
    isMarketplace: flag(env, "MARKETPLACE_APP"),
    laneOf: laneFinder(parseLanes(env["LANES"])),
  };
}

function environmentKeys(env: Env, oldCards: boolean, warnings: string[]): KeyRing {
  const isPlain = flag(env, "ALLOW_UNENCRYPTED") && !env["ENCRYPT_KEY"];
  if (isPlain) {
    warnings.push(
      "ALLOW_UNENCRYPTED is on and ENCRYPT_KEY is not set: the Verification Token is the only proof of origin",
    );
  }
  const encryptKeys = isPlain ? [] : [{ value: secret(env, "ENCRYPT_KEY", warnings) }];
  const verificationTokens = [{ value: secret(env, "VERIFICATION_TOKEN", warnings) }];
  const appId = setting(env, "APP_ID", appIdAdvice);
  return new Map([[defaultApp, appKeys({ appId, encryptKeys, verificationTokens, oldCards })]]);
}

function storedSecrets(env: Env, oldCards: boolean): StoredSecrets | undefined {
  if (env["SECRETS_PARAMETER"] === undefined) return undefined;
  for (const name of ["ENCRYPT_KEY", "VERIFICATION_TOKEN"]) {
    if (env[name] === undefined) continue;
    throw new ConfigError(
      `Cannot start: both SECRETS_PARAMETER and ${name} are set. Remove one, so that it is clear which key counts`,
    );
  }
  return {
    parameter: setting(env, "SECRETS_PARAMETER", "It is the name of an SSM parameter"),
    appId: env["APP_ID"] === undefined ? undefined : setting(env, "APP_ID", appIdAdvice),
    oldCards,
    staleMs: staleMs(env),
  };
}

/** How long a parameter's last value is used while SSM does not answer. */
export function staleMs(env: Env): number | undefined {
  const seconds = wholeNumber(env, "STALE_KEYS_SECONDS");
  return seconds === undefined ? undefined : seconds * 1000;
}

function ledgerTable(env: Env): string {
  return setting(env, "LEDGER_TABLE", "It is the name of the DynamoDB table");
}
