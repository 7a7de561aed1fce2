import { EventEmitter } from "node:events";
import type { CreateTableCommandInput, DynamoDB } from "@aws-sdk/client-dynamodb";
import { pause, systemClock } from "../clock.ts";
import { listenOnLoopback } from "../simulator/loopback.ts";
import type { Exchange } from "./exchange.ts";

/** DynamoDB in memory, on 127.0.0.1, for tests. `embedded.ts` runs one that keeps its data. */
export async function startDynamoDb(): Promise<{ endpoint: string; exchange: Exchange; stop: () => Promise<void> }> {
  // Loaded here, because `npm start` creates tables and runs its services in another process.
  const { default: dynalite } = await import("dynalite");
  const server = dynalite({ createTableMs: 0 });
  return {
    endpoint: `http://127.0.0.1:${await listenOnLoopback(server)}`,
    exchange: (headers, body) =>
      new Promise((resolve) => {
        // All that dynalite uses of a request and its response.
        const request = Object.assign(new EventEmitter(), { method: "POST", url: "/", headers });
        const answer: Record<string, string | number> = {};
        server.emit("request", request, {
          setHeader(name: string, value: string | number) {
            answer[name.toLowerCase()] = value;
          },
          end(this: { statusCode: number }, text: string) {
            resolve({ status: this.statusCode, headers: answer, body: Buffer.from(text) });
          },
        });
        request.emit("data", body);
        request.emit("end");
      }),
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** What tables are created with: the SDK's client, or one of `exchange.ts`. */
export type TableClient = Pick<DynamoDB, "createTable" | "describeTable">;

/** Creates the ledger's table as the deployed stack does, with one string key. */
export function createLedgerTable(client: TableClient, table: string): Promise<void> {
  return createTable(client, {
    TableName: table,
    KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
    AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
  });
}

/** Creates a table, unless there is one of that name. */
export async function createTable(client: TableClient, table: CreateTableCommandInput): Promise<void> {
  const { TableName } = table;
  try {
    await client.createTable({ ...table, BillingMode: "PAY_PER_REQUEST" });
  } catch (error) {
    if ((error as Error).name !== "ResourceInUseException") throw error;
  }
  while ((await client.describeTable({ TableName })).Table?.TableStatus !== "ACTIVE") {
    await pause(systemClock, 5);
  }
}
