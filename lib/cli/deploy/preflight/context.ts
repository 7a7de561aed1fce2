import { LarkpostError } from "../../../errors.ts";
import type { Finding } from "../../check/finding.ts";
import { type Clients, reasonOf } from "../clients.ts";
import type { DeployedStack, Stack } from "../stack.ts";

/** What a check may look at without asking AWS. */
export interface Local {
  readonly root: string;
  readonly stack: Stack;
  /** The stack as it is; `undefined` before the first deployment. */
  readonly deployed: DeployedStack | undefined;
  /** Whether another app may take the stage over. */
  readonly force: boolean;
  /** Whether the stack may take over what a removed one has left. */
  readonly adopt: boolean;
}

export interface Context extends Local {
  readonly clients: Clients;
  /** The AWS account that the credentials are of. */
  readonly account: string;
  /** Whether a worker that is paused is meant to run again. */
  readonly resumes: boolean;
}

/** Looks at one thing. @returns What is wrong with it, each with what to do. */
export type Check = (context: Context) => Finding[] | Promise<Finding[]>;

/** @param place Where it is set, or what it is about: `--param customerKeyArn`. */
export function about(place: string, message: string): Finding {
  return { part: "deployment", file: place, message };
}

/** What does not stop a deployment. */
export function warning(place: string, message: string): Finding {
  return { part: "deployment", file: place, message, isWarning: true };
}

/** A check that AWS does not let this user make stops no deployment: AWS may well let the deployment itself through. */
export async function unlessRefused(place: string, check: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await check();
  } catch (error) {
    if (error instanceof LarkpostError) return [about(place, error.message)];
    return [{ ...warning(place, `was not checked: ${reasonOf(error)}`), unchecked: error }];
  }
}
