import { systemClock } from "../clock.ts";
import { toolMaker } from "../handling/tools.ts";
import type { ApiConfig } from "../open-api/config.ts";
import { ticketKeeper } from "../open-api/tickets.ts";
import type { Env } from "../settings/environment.ts";
import { appSigner } from "../signed-value.ts";
import { publish } from "../trace/trace.ts";
import type { AwsClient } from "./client.ts";
import { extraSecrets } from "./extra-secrets.ts";
import { type KeySource, secretSource } from "./secrets.ts";
import { dynamoTokens } from "./tokens.ts";

/** What handlers can call, and the secrets behind it. Tokens are shared in the ledger's table. */
export function awsTools(options: {
  client: AwsClient;
  config: Parameters<typeof secretSource>[0] & { readonly ledgerTable: string };
  api: ApiConfig;
  env: Env;
}) {
  const { client, config, env } = options;
  const { isMarketplace, warnings, ...platform } = options.api;
  for (const message of warnings) publish({ stage: "misconfigured", level: "warn", facts: { message } });
  const { keys, appSecret } = secretSource(config, client);
  const extra = extraSecrets(env, client);
  const store = dynamoTokens(client, config.ledgerTable);
  const signer = appSigner(appSecret);
  const clock = systemClock;
  const tickets = isMarketplace ? ticketKeeper({ store, secret: appSecret, appId: platform.appId, clock }) : undefined;
  const marketplace = tickets && { ticket: tickets.latest };
  const api = { ...platform, appSecret, store, clock, random: Math.random, marketplace };
  return {
    signer,
    appSecret,
    keepTicket: tickets?.keep,
    tools: toolMaker({ signer, api, secrets: extra.current }),
    /** Reads the stored secrets, so that the first handler that needs one does not wait. */
    async load(): Promise<KeySource> {
      const [source] = await Promise.all([keys(), extra.load()]);
      return source;
    },
  };
}
