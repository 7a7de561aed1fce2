import type { Project } from "../../../infra/project.js";
import { type Quotas, type Times, timesOf } from "./quotas.ts";

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
  /** All but the default one, whose numbers are in `limits`. */
  readonly otherLanes?: readonly Lane[];
}

/** A queue and a worker of their own, for a part of the events. */
export interface Lane {
  readonly name: string;
  /** The part of the events, from 0 to 1. */
  readonly share: number;
  readonly handlerMs: number;
  /** Its worker's, as `limits` has those of the default one. */
  readonly numbers: Pick<
    Project["limits"],
    "maxConcurrency" | "batchSize" | "batchWindowSeconds" | "workerTimeoutSeconds" | "workerMemoryMb"
  >;
}

/** What the default lane has left of the events. */
export function defaultShare({ otherLanes = [] }: Pick<Place, "otherLanes">): number {
  return otherLanes.reduce((rest, { share }) => rest - share, 1);
}

/** A place as a lane's worker sees it. */
export function placeOf(place: Place, { numbers }: Lane): Place {
  const limits = { ...place.limits, ...numbers };
  const none = { minimumPollers: null, maximumPollers: null, workerReservedConcurrency: null };
  return { ...place, limits, optional: { ...place.optional, ...none }, times: timesOf(limits) };
}

/** How long the worker takes for a batch of so many records. */
export function batchSeconds({ times }: Place, { handlerMs }: Pick<Load, "handlerMs">, records: number): number {
  return times.batch + times.record * records + handlerMs / 1000;
}

export const tickSeconds = 0.1;
export const ticksPerSecond = 10;

/** A step of the simulation: from a tick on, for so many. */
export interface Step {
  readonly tick: number;
  readonly ticks: number;
  readonly seconds: number;
}
