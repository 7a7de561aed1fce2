import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { systemClock } from "../clock.ts";
import { type MakeTools, toolMaker } from "../handling/tools.ts";
import type { ApiConfig } from "../open-api/config.ts";
import { ticketKeeper } from "../open-api/tickets.ts";
import type { Secrets } from "../secrets.ts";
import { appSigner, type Signer } from "../signed-value.ts";
import { publish } from "../trace/trace.ts";
import { dynamoTokens } from "./tokens.ts";

/** What handlers can call. Tokens are shared in the ledger's table. */
export function awsTools(options: {
  client: Pick<DynamoDBClient, "send">;
  table: string;
  appSecret: () => Promise<string>;
  api: ApiConfig;
  secrets: () => Promise<Secrets>;
}): { signer: Signer; tools: MakeTools; keepTicket: ReturnType<typeof ticketKeeper>["keep"] | undefined } {
  const { client, table, appSecret, secrets } = options;
  const { isMarketplace, warnings, ...platform } = options.api;
  for (const message of warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
  const store = dynamoTokens(client, table);
  const signer = appSigner(appSecret);
  const clock = systemClock;
  const tickets = isMarketplace ? ticketKeeper({ store, secret: appSecret, appId: platform.appId, clock }) : undefined;
  const marketplace = tickets && { ticket: tickets.latest };
  const api = { ...platform, appSecret, store, clock, random: Math.random, marketplace };
  return { signer, keepTicket: tickets?.keep, tools: toolMaker({ signer, api, secrets }) };
}
