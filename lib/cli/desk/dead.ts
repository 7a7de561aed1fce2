import type { Command } from "commander";
import { subcommand } from "../command.ts";
import { addDrop } from "./drop-command.ts";
import { addList } from "./list-command.ts";
import { addRedrive } from "./redrive-command.ts";
import { addRun } from "./run-command.ts";
import { addShow } from "./show-command.ts";

export function deadCommand(): Command {
  const command = subcommand("dead").description(
    "list, read, redrive, try or drop the events that have failed for good",
  );
  for (const add of [addList, addShow, addRedrive, addRun, addDrop]) add(command);
  return command;
}
