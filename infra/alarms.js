import { when, whenGrowing, whenShare, whenTrue } from "./conditions.js";
import { nameOf } from "./deployment.js";
import { callbackDurationAlarmMs, workerDurationAlarmMs } from "./limits.js";
import { metricFilters, metricsOf } from "./metrics.js";
import { projectOf } from "./project.js";
import { stackResources } from "./tags.js";

/** @typedef {import("./deployment.js").Deployment} Deployment */

/**
 * Each alarm needs somebody to act: a page at once, a ticket on the next working day. Missing data is good data, since an
 * app without traffic has none.
 * @param {Deployment} deployment
 * @param {import("./project.js").Project} project
 */
export function alarmResources(deployment, project = projectOf({})) {
  const { limits, alarmThresholds: thresholds } = project;
  const metrics = metricsOf(deployment, project);
  const { pushes, ledger } = metrics;
  const faults = faultsOf(thresholds);
  const there = placeOf(deployment);
  const listed = `npm run dead -- list${there}`;
  const keptDays = Math.floor(limits.deadLetterRetentionSeconds / 86_400);

  /** @type {Record<string, Alarm>} */
  const alarms = {
    DeadLetters: page(
      `events have failed for good. "${listed}" says which and why. Repair the handler, and let them run again with "npm run dead -- redrive --all${there}" within ${keptDays} days.`,
      whenGrowing(metrics.deadLetters),
    ),
    Quarantined: page(
      `Feishu sent something we could not read. "${listed} --queue quarantine" says what. It is kept for ${keptDays} days.`,
      whenGrowing([metrics.quarantined]),
    ),
    ...Object.assign({}, ...metrics.lanes.map((lane) => laneAlarms(lane, listed, project))),
    Unavailable: ticket(
      "a request was answered with 5xx. Feishu pushes an event again, but no callback. The log's stage `unavailable` says why.",
      when(pushes.failed, "Sum", ">=", thresholds.unavailablePerMinute),
    ),
    UnavailableOften: page(
      "requests are answered with 5xx. Callbacks fail; repaired within 6 hours, no event is lost.",
      whenShare(pushes.failed, pushes.all, faults),
    ),
    ...functionAlarms(metrics, there, project),
    Refused: ticket(
      "many requests are refused or throttled. The log's stage `refused` says why.",
      when(pushes.refused, "Sum", ">", thresholds.refusedPerMinute),
    ),
    AllRefused: page(
      "every request is refused. Check that the keys are the developer console's; repaired within 6 hours, no event is lost.",
      whenTrue(`IF(all >= ${thresholds.allRefusedCount} AND refused >= all, 1, 0)`, {
        metrics: { refused: pushes.refused, all: pushes.all },
        seconds: 300,
      }),
    ),
    LedgerFails: ticket(
      "the ledger is throttled or failing: events wait, and callbacks fail. See ledgerWarmWritesPerSecond.",
      whenTrue("FILL(writes, 0) + FILL(reads, 0) + FILL(puts, 0) + FILL(updates, 0) + FILL(gets, 0)", {
        metrics: {
          writes: ledger.writeThrottles,
          reads: ledger.readThrottles,
          puts: ledger.faults("PutItem"),
          updates: ledger.faults("UpdateItem"),
          gets: ledger.faults("GetItem"),
        },
        seconds: 60,
      }),
    ),
  };
  const ringing = Object.entries(alarms).filter(([id]) => deployment.front !== "none" || !needAddress.has(id));
  return { ...alarmsOf(deployment, Object.fromEntries(ringing)), ...metricFilters(deployment, project) };
}

/** @param {import("./project.js").Project["alarmThresholds"]} thresholds */
function faultsOf({ faultsPerFiveMinutes, faultsPercent }) {
  return { count: faultsPerFiveMinutes, percent: faultsPercent };
}

/**
 * The alarms of the webhook and the callback, and of the keys that both need.
 * @param {ReturnType<typeof metricsOf>} metrics
 * @param {string} there The options with which a command reaches the stage.
 * @param {import("./project.js").Project} project
 */
function functionAlarms(metrics, there, { limits, alarmThresholds: thresholds }) {
  const { webhook, callback, callbacks, staleKeysSeconds } = metrics;
  const faults = faultsOf(thresholds);
  return {
    WebhookErrors: page(
      "the webhook function crashed or ran out of time. Check the last deployment.",
      whenShare(webhook("Errors"), webhook("Invocations"), faults),
    ),
    WebhookSlow: page(
      "the webhook is slow. Feishu waits for 3 seconds in all.",
      when(webhook("Duration"), "p99", ">", thresholds.webhookP99Ms, { periods: 3 }),
    ),
    WebhookThrottled: page(
      "Lambda had no concurrency left for the webhook. Check the account's limit, and webhookReservedConcurrency.",
      whenShare(webhook("Throttles"), webhook("Invocations"), faults),
    ),
    CallbackErrors: page(
      "the callback function crashed or ran out of time, and somebody saw an error. Check the last deployment.",
      whenShare(callback("Errors"), callback("Invocations"), faults),
    ),
    CallbackSlow: ticket(
      "callbacks come close to their deadline; past it, somebody sees that it failed. Make their handlers faster.",
      when(callback("Duration"), "p99", ">", callbackDurationAlarmMs(limits, thresholds)),
    ),
    CallbackFailed: ticket(
      "callbacks are answered with a message of failure, and with 200. The log's stages `failed` and `late` say why.",
      whenShare([callbacks("failed"), callbacks("late")], callbacks("started"), {
        count: thresholds.failedCallbacksPerFiveMinutes,
        percent: thresholds.failedCallbacksPercent,
      }),
    ),
    StaleKeys: page(
      `the keys cannot be read from SSM. The last good ones are used until staleKeysSeconds have passed; then every request fails. Check the parameter ("npm run secrets -- show${there}"), the roles' rights and SSM's health. The log's stages \`stale-keys\` and \`misconfigured\` say why.`,
      when(staleKeysSeconds, "SampleCount", ">=", 1),
    ),
    CallbackThrottled: page(
      "Lambda had no concurrency left for a callback, and somebody saw an error. Check the account's limit, and callbackReservedConcurrency.",
      whenShare(callback("Throttles"), callback("Invocations"), faults),
    ),
  };
}

/**
 * The alarms of a lane's queue and worker. A lane is measured alone: what fails in it is few among all runs.
 * @param {ReturnType<typeof metricsOf>["lanes"][number]} metrics
 * @param {string} listed The command that lists dead letters.
 * @param {import("./project.js").Project} project
 */
function laneAlarms({ lane, queue, worker, runs }, listed, { alarmThresholds: thresholds }) {
  const isDefault = lane.name === "default";
  const [concurrency, timeout] = isDefault
    ? ["maxConcurrency", "workerTimeoutSeconds"]
    : [`lanes.${lane.name}.concurrency`, `lanes.${lane.name}.timeoutSeconds`];
  const slow = { workerTimeoutSeconds: lane.timeoutSeconds };
  const alarms = {
    RunsFailed: page(
      `many runs of events fail. Check the last deployment. Events are dead after ${lane.attempts} runs: "${listed}". The log's stage \`failed\` says why.`,
      whenShare([runs("failed"), runs("dead")], runs("started"), {
        count: thresholds.failedRunsPerFiveMinutes,
        percent: thresholds.failedRunsPercent,
      }),
    ),
    AllRunsFail: ticket(
      "no run of an event has succeeded for five minutes, and one event's runs are enough for that. Check the last deployment. The log's stage `failed` says why.",
      whenShare(runs("failed"), runs("started"), { count: thresholds.allFailedCount, percent: 100 }),
    ),
    LeaseLost: ticket(
      "a run was stalled so long that another worker ran the same event. Only the other run counts. Look for a handler that blocks.",
      when(runs("lease-lost"), "Sum", ">=", 1),
    ),
    EventsWait: ticket(
      `events wait for the worker. Check its throttles, its errors and ${concurrency}.`,
      when(queue.oldestSeconds, "Maximum", ">", thresholds.oldestEventSeconds),
    ),
    EventsStuck: page(
      "events are not being worked on. Check that the worker's event source mapping is enabled.",
      when(queue.oldestSeconds, "Maximum", ">", thresholds.oldestEventUrgentSeconds),
    ),
    WorkerThrottled: page(
      `Lambda had no concurrency left for the worker: events wait. Check the account's limit${isDefault ? ", and workerReservedConcurrency" : ""}.`,
      whenShare(worker("Throttles"), worker("Invocations"), faultsOf(thresholds)),
    ),
    WorkerErrors: ticket(
      "the worker function crashed or ran out of time. A handler blocks, or a setting is missing.",
      when(worker("Errors"), "Sum", ">=", 1),
    ),
    WorkerSlow: ticket(
      `a handler came close to its deadline, or several ran one after another. Make them faster, or raise ${timeout}.`,
      when(worker("Duration"), "Maximum", ">", workerDurationAlarmMs(slow, thresholds)),
    ),
  };
  if (isDefault) return alarms;
  return Object.fromEntries(
    Object.entries(alarms).map(([heading, { says, ...alarm }]) => [
      `${heading}${lane.id}`,
      { ...alarm, says: `lane "${lane.name}": ${says}`, heading },
    ]),
  );
}

/**
 * Alarms that are left out without a front: nothing calls what they watch. `CallbackFailed` is not among them, since it
 * counts the long connection's callbacks, too.
 */
const needAddress = new Set([
  "Unavailable",
  "UnavailableOften",
  "Refused",
  "AllRefused",
  "WebhookErrors",
  "WebhookSlow",
  "WebhookThrottled",
  "CallbackErrors",
  "CallbackSlow",
  "CallbackThrottled",
]);

/**
 * @typedef {object} Alarm
 * @property {"Page" | "Ticket"} urgency
 * @property {string} says
 * @property {object} condition
 * @property {string} [heading] That of the runbook, where it is not the alarm's own id.
 */

/**
 * @param {string} says What happened and what to do, in a sentence or two.
 * @param {object} condition
 * @returns {Alarm}
 */
export function page(says, condition) {
  return { urgency: "Page", says, condition };
}

/**
 * @param {string} says
 * @param {object} condition
 * @returns {Alarm}
 */
export function ticket(says, condition) {
  return { urgency: "Ticket", says, condition };
}

/**
 * Alarms by their ids. Each says what to type first, and names its heading in the runbook, which its own name ends with,
 * but for a lane's.
 * @param {Pick<Deployment, "service" | "stage" | "region" | "pageTopicArn" | "ticketTopicArn">} deployment
 * @param {Record<string, Alarm>} alarms
 */
export function alarmsOf(deployment, alarms) {
  const topics = { Page: deployment.pageTopicArn, Ticket: deployment.ticketTopicArn };
  return Object.fromEntries(
    Object.entries(alarms).map(([id, { urgency, says, condition, heading = id }]) => [
      `${id}Alarm`,
      {
        Type: "AWS::CloudWatch::Alarm",
        Properties: {
          AlarmName: nameOf(deployment, kebab(id)),
          AlarmDescription: `${urgency}: ${says} First type "npm run doctor --${placeOf(deployment)}". Runbook: docs/operate.md, heading "${kebab(heading)}".`,
          TreatMissingData: "notBreaching",
          ...condition,
          ...(topics[urgency] === "" ? {} : { AlarmActions: [topics[urgency]] }),
        },
      },
    ]),
  );
}

/**
 * The options with which a command reaches the stage, whatever region the reader's shell has.
 * @param {Pick<Deployment, "stage" | "region">} deployment
 */
function placeOf({ stage, region }) {
  return ` --stage ${stage} --region ${region}`;
}

export const alarms = stackResources(alarmResources);

/** @param {string} name */
function kebab(name) {
  return name.replaceAll(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
}
