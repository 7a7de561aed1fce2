import { fromApiGateway } from "../../../lib/aws/gateway.ts";
import { defaultApp } from "../../../lib/feishu/keys.ts";
import { open } from "../../../lib/feishu/open.ts";
import { ring } from "../../support/push.ts";

// Our webhook from the gateway's event to the envelope.

const keys = ring();

export async function handler(event: unknown) {
  const { headers, rawBody } = fromApiGateway(event);
  const { kind } = open({ app: defaultApp, headers, rawBody: rawBody() }, { keys, nowMs: Date.now() });
  return { statusCode: kind === "event" ? 200 : 401 };
}
