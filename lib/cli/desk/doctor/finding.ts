import type { Finding as Refusal } from "../../check/finding.ts";
import { oneLine } from "../../command.ts";

export type Level = "ok" | "warn" | "fail";

/** All that can be found, and how bad it is. */
export const causes = {
  // What AWS does not say.
  "right-missing": "fail",
  credentials: "fail",
  "host-unknown": "fail",
  "not-checked": "fail",
  // The stack of a stage.
  "stack-missing": "fail",
  "stack-stuck": "fail",
  "stack-rolled-back": "warn",
  "region-lacks": "fail",
  "region-doubtful": "warn",
  "kms-key": "fail",
  "concurrency-taken": "fail",
  "concurrency-shared": "warn",
  // Its keys.
  "keys-missing": "fail",
  "keys-unusable": "fail",
  "keys-other-app": "fail",
  "keys-ended": "fail",
  "keys-overlap": "warn",
  "keys-short": "warn",
  "secret-missing": "warn",
  "extra-missing": "warn",
  // Its functions, and what feeds them.
  "function-missing": "fail",
  "function-unusable": "fail",
  "function-update-failed": "fail",
  "function-stopped": "fail",
  "code-differs": "fail",
  "mapping-missing": "fail",
  "mapping-disabled": "fail",
  "mapping-problem": "fail",
  "worker-throttled": "warn",
  "queue-missing": "fail",
  "events-wait": "warn",
  "events-stuck": "fail",
  "dead-letters": "warn",
  quarantined: "warn",
  "ledger-missing": "fail",
  "ledger-unusable": "fail",
  "ledger-forgets-nothing": "warn",
  "ledger-unprotected": "warn",
  // Its alarms.
  "alarms-without-topic": "warn",
  "alarms-unheard": "warn",
  "alarms-off": "warn",
  "alarms-ring": "warn",
  "topic-unusable": "fail",
  // The addresses, of a stage or of npm start.
  "address-unknown": "fail",
  "address-unreachable": "fail",
  "address-not-found": "fail",
  "address-redirects": "fail",
  "address-of-another": "fail",
  "address-other-keys": "fail",
  "address-changes-body": "fail",
  "address-unavailable": "fail",
  "address-open": "fail",
  // The platform.
  "platform-unknown": "fail",
  "platform-unreachable": "fail",
  "clock-wrong": "fail",
  "app-refused": "fail",
  "connections-full": "fail",
  "connections-none": "fail",
  "connections-other": "warn",
  // This machine.
  "node-other": "warn",
  "config-refused": "fail",
  "setting-wrong": "fail",
  "setting-doubtful": "warn",
  "secrets-unset": "warn",
  "app-deployed": "warn",
  "port-taken": "fail",
  "start-missing": "warn",
  "handler-blocks": "fail",
  "state-unusable": "fail",
  "state-held": "fail",
  "state-left": "fail",
  "state-other": "fail",
  "disk-full": "fail",
} as const satisfies Readonly<Record<string, "warn" | "fail">>;

export type Cause = keyof typeof causes;

export interface Finding {
  /** A {@link Cause}, or the name of a check that found nothing. */
  readonly id: string;
  readonly level: Level;
  readonly what: string;
  /** One line; `null` where nothing is wrong. */
  readonly cure: string | null;
}

export function found(id: Cause, what: string, cure: string): Finding {
  return { id, level: causes[id], what: oneLine(what), cure: oneLine(cure) };
}

/** What to do about a resource of the stack that somebody has deleted: a deployment leaves it out, since its template has not changed. */
export function makeAgain({ name, region }: { readonly name: string; readonly region: string }): string {
  const stack = `--stack-name ${name} --change-set-name again --region ${region}`;
  const how = "--use-previous-template --deployment-mode REVERT_DRIFT --capabilities CAPABILITY_NAMED_IAM";
  return `Have it made again: "aws cloudformation create-change-set ${stack} ${how}", look at what it says, then "aws cloudformation execute-change-set ${stack}"`;
}

/**
 * What a check of a deployment, or of the project, has found: its last sentence is the cure.
 * @throws What AWS answered, where it did not let that be checked.
 */
export function fromRefusal(refusal: Refusal, ids: { readonly fail: Cause; readonly warn?: Cause }): Finding {
  const { file, line, message, isWarning, unchecked } = refusal;
  if (unchecked !== undefined) throw unchecked;
  const place = line === undefined ? file : `${file}:${line}`;
  const id = isWarning === true ? (ids.warn ?? ids.fail) : ids.fail;
  const [what, cure = 'Correct it there; "npm run check" looks at the whole project'] = cutCure(message);
  return found(id, `${place}: ${what}`, cure);
}

/** A message whose last sentence is the cure, if it has several. */
export function cutCure(message: string): [what: string, cure?: string] {
  const cut = message.search(/\. [A-Z"](?!.*\. [A-Z"])/);
  return cut < 0 ? [message] : [message.slice(0, cut), message.slice(cut + 2)];
}
