import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { systemClock } from "../clock.ts";
import { type MakeServices, services } from "../handling/services.ts";
import type { ApiConfig } from "../open-api/config.ts";
import { ticketKeeper } from "../open-api/tickets.ts";
import type { Secrets } from "../secrets.ts";
import { appSigner, type Signer } from "../signed-value.ts";
import { dynamoTokens } from "./tokens.ts";

/** What handlers can call, on the table that the ledger is in. */
export function awsServices(options: {
  client: Pick<DynamoDBClient, "send">;
  table: string;
  appSecret: () => Promise<string>;
  api: ApiConfig;
  secrets: () => Promise<Secrets>;
}): { signer: Signer; services: MakeServices; keepTicket: ReturnType<typeof ticketKeeper>["keep"] | undefined } {
  const { appSecret, api } = options;
  const { appId, origin } = api;
  const store = dynamoTokens(options.client, options.table);
  const signer = appSigner(appSecret);
  const tickets = api.isMarketplace ? ticketKeeper({ store, secret: appSecret, appId, clock: systemClock }) : undefined;
  return {
    signer,
    keepTicket: tickets?.keep,
    services: services({
      signer,
      secrets: options.secrets,
      api: {
        ...{ origin, appId, appSecret, store, clock: systemClock, random: Math.random },
        marketplace: tickets === undefined ? undefined : { ticket: tickets.latest },
      },
    }),
  };
}
