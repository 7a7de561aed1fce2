import { alarmThresholds } from "../../../../infra/limits.js";
import { nameIn, type QueueState, queueState } from "../status.ts";
import type { Check } from "./check.ts";
import { type Finding, found, makeAgain } from "./finding.ts";
import type { Stage } from "./stage.ts";

const ofLetters = /(dead-letters(\.fifo)?|quarantine)$/;
const isMissing = /QueueDoesNotExist|NonExistentQueue/;

export const queueChecks: readonly Check<Stage>[] = [
  {
    id: "queues",
    about: "the queues",
    fine: "all queues are there, and no dead letter and no unreadable message waits",
    right: "sqs:GetQueueAttributes",
    async find({ clients, queues, name, region, args }) {
      const urls = await queues();
      if (urls === undefined) return undefined;
      const cure = makeAgain({ name, region });
      const found = urls.map((url) => queueState(clients, url).catch((error: Error) => missing(error, url, cure)));
      return (await Promise.all(found)).flatMap((result) => ("id" in result ? [result] : lettersIn(result, args)));
    },
  },
  {
    id: "age",
    about: "the age of waiting events",
    fine: "no event has waited for long",
    right: "cloudwatch:GetMetricData",
    async find({ metrics, args }) {
      const measured = await metrics();
      return measured && [...measured.ages].flatMap(([queue, seconds]) => waitIn(queue, seconds, args));
    },
  },
];

/** Events that have waited for long. */
export function waitIn(queue: string, seconds: number, args: string): Finding[] {
  if (ofLetters.test(queue) || seconds <= alarmThresholds.oldestEventSeconds) return [];
  const what = `the oldest event in ${queue} has waited for ${Math.round(seconds / 60)} min`;
  return seconds > alarmThresholds.oldestEventUrgentSeconds
    ? [found("events-stuck", what, `Look whether the worker fails: "npm run logs --${args} --failed"`)]
    : [found("events-wait", what, `Look what is slow or fails: "npm run logs --${args} --failed"`)];
}

function missing(error: Error, url: string, cure: string): Finding {
  if (!isMissing.test(error.name)) throw error;
  return found("queue-missing", `there is no queue ${nameIn(url)}`, cure);
}

/** Letters that wait for a person. */
export function lettersIn({ name, waiting, running, delayed }: QueueState, args: string): Finding[] {
  const count = waiting + running + delayed;
  const list = `npm run dead -- list${args}`;
  if (count === 0) return [];
  if (/dead-letters(\.fifo)?$/.test(name)) {
    return [found("dead-letters", `dead letters wait in ${name}: ${count}`, `Look which and why: "${list}"`)];
  }
  if (!/quarantine$/.test(name)) return [];
  const what = `messages that could not be read wait in ${name}: ${count}`;
  return [found("quarantined", what, `Look what they are: "${list} --queue quarantine"`)];
}
