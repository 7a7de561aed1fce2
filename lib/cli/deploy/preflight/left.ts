import type { Finding } from "../../check/finding.ts";
import { findLeft } from "../kept.ts";
import { about, type Context, unlessRefused } from "./context.ts";

/** Queues and a table of a removed stack or lane: a new one cannot have their names, and they may hold events. */
export async function findUnadopted({ adopt, ...context }: Context): Promise<Finding[]> {
  const { stack } = context;
  if (adopt) return [];
  return unlessRefused(stack.name, async () => {
    const left = await findLeft(context);
    if (left.length === 0) return [];
    const names = left.map(({ name }) => name).join(", ");
    const text =
      context.deployed === undefined
        ? `a stack that was removed has left ${names}, with what is in them. Run it again with --adopt to go on with them, or delete them: docs/deploy.md`
        : `a lane that was removed has left ${names}. Look whether it is empty and delete it, or give the lane another name: docs/deploy.md`;
    return [about(stack.name, text)];
  });
}
