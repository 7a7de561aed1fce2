import { type Clock, withDeadline } from "../../../clock.ts";
import { DeadlineError, LarkpostError } from "../../../errors.ts";
import { networkCode } from "../../../https.ts";
import { CommandError } from "../../command.ts";
import { adviceOn, credentialsCure, isDenied, isUnknownUser, reasonOf } from "../../deploy/clients.ts";
import { type Cause, cutCure, type Finding, found } from "./finding.ts";

/** Looks at one thing. */
export interface Check<Subject> {
  readonly id: string;
  /** What it looks at. */
  readonly about: string;
  /** What is said when nothing is wrong. */
  readonly fine: string;
  /** The right that AWS wants for it, where its refusal names none. */
  readonly right?: string;
  /** @returns What is wrong; `undefined` when there is nothing of the kind to look at, or another check says why. */
  find(subject: Subject): Promise<readonly Finding[] | undefined>;
}

/** How long one check may take. The SDK tries a call three times within it. */
export const withinMs = 20_000;

/** Makes all checks side by side. One that is refused, or late, takes nothing from the others. */
export async function examine<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject,
  clock: Clock,
): Promise<Finding[]> {
  const late = () => new DeadlineError(`no answer within ${withinMs / 1000} s`);
  const made = await Promise.allSettled(
    checks.map((check) => withDeadline(clock, { ms: withinMs, error: late }, () => check.find(subject))),
  );
  const findings: Finding[] = [];
  /** Checks by why they were not made: one missing right may stop several. */
  const unmade = new Map<string, { readonly abouts: string[]; readonly id: Cause; readonly cure: string }>();
  for (const [index, check] of checks.entries()) {
    const result = made[index];
    if (result?.status === "fulfilled") {
      const isFine = result.value?.length === 0;
      findings.push(...(isFine ? [{ id: check.id, level: "ok" as const, what: check.fine, cure: null }] : []));
      findings.push(...(result.value ?? []));
    } else {
      const { reason, ...why } = refusalOf(result?.reason, check);
      const { abouts = [] } = unmade.get(reason) ?? {};
      unmade.set(reason, { ...why, abouts: [...abouts, check.about] });
    }
  }
  const refused = [...unmade].map(([reason, { abouts, id, cure }]) =>
    found(id, `not checked: ${abouts.join(", ")}: ${reason}`, cure),
  );
  return [...findings, ...refused];
}

const otherwise = "Type the command again; if it stays so, look at AWS's health and at the network of this machine";
const unknownHost = /^(ENOTFOUND|EAI_AGAIN)$/;

/** Why a check was not made, and what to do. */
function refusalOf(error: unknown, { right }: { readonly right?: string }) {
  // What AWS answered is the cause of a command's own error.
  const cause = error instanceof CommandError ? (error.cause ?? error) : error;
  if (cause instanceof LarkpostError && !(cause instanceof DeadlineError)) {
    const [what, cure = otherwise] = cutCure(cause.message);
    return { id: "not-checked", reason: what, cure } as const;
  }
  const known = cause instanceof DeadlineError ? cause.message : reasonOf(cause);
  if (isDenied(known)) {
    const reason = known.endsWith(")") || right === undefined ? known : `${known}: ${right}`;
    return { id: "right-missing", reason, cure: adviceOn(known, right) } as const;
  }
  if (isUnknownUser(known)) return { id: "credentials", reason: known, cure: credentialsCure } as const;
  const code = networkCode(cause);
  if (unknownHost.test(code)) {
    const cure = "Check the DNS and the network of this machine, and the region's name";
    return { id: "host-unknown", reason: `AWS's host is unknown, ${code}`, cure } as const;
  }
  return { id: "not-checked", reason: known, cure: otherwise } as const;
}
