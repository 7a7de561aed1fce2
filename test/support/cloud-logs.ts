import { type Fields, Refusal } from "./cloudformation.ts";

export interface CloudLine {
  readonly group: string;
  readonly atMs: number;
  readonly message: string;
}

/** Of CloudWatch Logs, what is asked to read a log: filters page by page, and queries that take a while. */
export function cloudLogs() {
  const lines: CloudLine[] = [];
  /** Lines on a page, and how often a query is not done yet. */
  const pace = { page: 2, looks: 1 };
  const queries = new Map<string, { input: Fields; looks: number }>();
  const stopped: string[] = [];

  function answer(action: string, input: Fields): Fields {
    switch (action) {
      case "FilterLogEvents": {
        const { logGroupName, filterPattern, startTime, nextToken = "0" } = input;
        const wants = patternTest(String(filterPattern));
        const found = lines
          .map((line, index) => ({ ...line, eventId: String(index) }))
          .filter(({ group, atMs, message }) => group === logGroupName && atMs >= Number(startTime) && wants(message));
        const to = Number(nextToken) + pace.page;
        return {
          events: found
            .slice(Number(nextToken), to)
            .map(({ eventId, atMs, message }) => ({ eventId, timestamp: atMs, message })),
          ...(to < found.length ? { nextToken: String(to) } : {}),
        };
      }
      case "StartQuery": {
        const queryId = `query-${queries.size}`;
        queries.set(queryId, { input, looks: pace.looks });
        return { queryId };
      }
      case "GetQueryResults": {
        const query = queries.get(String(input["queryId"]));
        if (query === undefined) throw new Refusal("ResourceNotFoundException", "no such query");
        if (query.looks-- > 0) return { status: "Running", results: [], statistics: { bytesScanned: 5_000_000 } };
        return { status: "Complete", results: resultsOf(query.input) };
      }
      case "StopQuery":
        stopped.push(String(input["queryId"]));
        return { success: true };
      default:
        throw new Refusal("InvalidAction", `the stand-in has no ${action}`);
    }
  }

  function resultsOf({ queryString, logGroupNames, startTime, endTime }: Fields): Fields[][] {
    const [, filter = ""] = /\| filter (.*)\n/.exec(String(queryString)) ?? [];
    const wants = patternTest(filter.replaceAll(/(\w+) like "([^"]*)"/g, '$1 = "$2*"').replaceAll(" or ", " || "));
    return lines
      .filter(({ group, message }) => (logGroupNames as string[]).includes(group) && wants(message))
      .filter(({ atMs }) => atMs >= Number(startTime) * 1000 && atMs <= Number(endTime) * 1000)
      .sort((a, b) => a.atMs - b.atMs)
      .map(({ group, atMs, message }) => [
        { field: "@timestamp", value: new Date(atMs).toISOString().replace("T", " ").replace("Z", "") },
        { field: "@log", value: `123456789012:${group}` },
        { field: "@message", value: message },
        { field: "@ptr", value: "CmAKJQoh" },
      ]);
  }

  return { lines, pace, queries, stopped, answer };
}

/** A pattern of the kind `{ $.level = "warn" && ($.id = "a" || $.id = "a#*") }`, over lines of JSON. */
function patternTest(pattern: string): (message: string) => boolean {
  const text = pattern
    .replaceAll(/[{}]/g, "")
    .replaceAll(/(?:\$\.)?(\w+) = "([^"]*)"/g, (_, name: string, value: string) => {
      return `is(${JSON.stringify(name)}, ${JSON.stringify(value)})`;
    });
  const decide = new Function("is", `return ${text};`) as (is: (name: string, value: string) => boolean) => boolean;
  return (message) => {
    if (!message.startsWith("{")) return false;
    const line = JSON.parse(message) as Record<string, unknown>;
    return decide((name, value) => {
      const found = line[name];
      if (typeof found !== "string") return false;
      return value.endsWith("*") ? found.startsWith(value.slice(0, -1)) : found === value;
    });
  };
}
