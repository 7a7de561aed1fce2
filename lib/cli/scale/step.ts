import type { Project } from "../../../infra/project.js";
import type { Quotas, Times } from "./quotas.ts";

export interface Load {
  /** Events a second. */
  readonly rate: number;
  /** For so long. */
  readonly seconds: number;
  readonly handlerMs: number;
  readonly front: "httpApi" | "functionUrl";
  readonly dedupe: "required" | "off";
}

/** Where the events arrive. */
export interface Place extends Pick<Project, "limits" | "optional" | "alarmThresholds"> {
  readonly quotas: Quotas;
  readonly times: Times;
}

export const tickSeconds = 0.1;
export const ticksPerSecond = 10;

/** A step of the simulation: from a tick on, for so many. */
export interface Step {
  readonly tick: number;
  readonly ticks: number;
  readonly seconds: number;
}
