import {
  allowOtherDomain,
  appId,
  forDeployment,
  larkDomain,
  legacyCardCallback,
  marketplaceApp,
} from "./deployment.js";
import { lanesText } from "./lanes.js";

// Environment variables of the functions.

/** @typedef {import("./deployment.js").Variables} Variables */

/**
 * Name of the SSM parameter of this stage that holds the project's further secrets. `npm run secrets` writes it.
 * @param {Pick<import("./deployment.js").Deployment, "service" | "stage">} deployment
 */
export function extraSecretsParameter({ service, stage }) {
  return `/${service}/${stage}/extra`;
}

/**
 * The project's own variables.
 * @param {Pick<import("./deployment.js").Deployment, "service" | "stage">} deployment
 * @param {import("./project.js").Project} project
 */
function ownVariables(deployment, { environment, secrets, logErrorMessages }) {
  // Only the names: the parameter holds the values.
  const names = secrets.join(",");
  const extra = { EXTRA_SECRETS: names, EXTRA_SECRETS_PARAMETER: extraSecretsParameter(deployment) };
  return {
    ...environment,
    ...(names === "" ? {} : extra),
    ...(logErrorMessages ? { LOG_ERROR_MESSAGES: "true" } : {}),
  };
}

/**
 * What is logged.
 * @param {Pick<import("./project.js").Project, "logSampleRate">} project
 */
function logVariables({ logSampleRate }) {
  return { LOG_LEVEL: "info", ...(logSampleRate === 1 ? {} : { LOG_SAMPLE_RATE: String(logSampleRate) }) };
}

/**
 * Which types have a queue of their own.
 * @param {Pick<import("./project.js").Project, "lanes">} project
 */
function laneVariables(project) {
  const text = lanesText(project);
  return text === undefined ? {} : { LANES: text };
}

/**
 * The variables of every function.
 * @param {Variables} variables
 */
export async function shared(variables) {
  const app = await appId(variables);
  const marketplace = await marketplaceApp(variables);
  const environment = forDeployment(({ secretsParameter }, { limits, ...project }) => ({
    ...logVariables(project),
    APP_ID: app,
    ...laneVariables(project),
    EVENTS_QUEUE_URL: { Ref: "EventsQueue" },
    QUARANTINE_QUEUE_URL: { Ref: "QuarantineQueue" },
    SECRETS_PARAMETER: secretsParameter,
    STALE_KEYS_SECONDS: limits.staleKeysSeconds,
    MARKETPLACE_APP: marketplace,
  }));
  return environment(variables);
}

/** @param {Variables} variables */
export async function callback(variables) {
  const legacy = await legacyCardCallback(variables);
  const more = forDeployment((_, { limits }) => ({
    CALLBACK_DEADLINE_MS: limits.callbackDeadlineMs,
    LEGACY_CARD_CALLBACK: legacy,
  }));
  return { ...(await ofHandlers(variables)), ...(await more(variables)) };
}

/**
 * The variables of a lane's worker alone. It has those of every function that runs handlers as well.
 * @param {import("./lanes.js").Lane} lane
 */
export function ofLane({ attempts, maxReceiveCount, maxAgeSeconds, holdSeconds }) {
  return {
    DEAD_LETTER_QUEUE_URL: { Ref: "DeadLetterQueue" },
    MAX_ATTEMPTS: attempts,
    // As in the queue's redrive policy.
    MAX_RECEIVE_COUNT: maxReceiveCount,
    ...(maxAgeSeconds === null ? {} : { MAX_AGE_SECONDS: maxAgeSeconds }),
    ...(holdSeconds === null ? {} : { HOLD_SECONDS: holdSeconds }),
  };
}

/** @param {Variables} variables */
export async function ofHandlers(variables) {
  const bounds = forDeployment((_, { limits }) => ({
    MAX_DEFERRALS: limits.maxDeferrals,
    DEFER_FOR_SECONDS: limits.deferForSeconds,
  }));
  return {
    LEDGER_TABLE: { Ref: "LedgerTable" },
    LARK_DOMAIN: await larkDomain(variables),
    ALLOW_OTHER_DOMAIN: await allowOtherDomain(variables),
    ...(await bounds(variables)),
    ...(await forDeployment(ownVariables)(variables)),
  };
}
