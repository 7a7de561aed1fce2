import type { SealedRequest } from "../../lib/feishu/envelope.ts";
import { sealEnvelope } from "../../lib/simulator/platform/push.ts";
import { ring } from "./push.ts";

/** An app's keys, as a developer has them in the environment. */
export interface AppEnv {
  readonly ENCRYPT_KEY: string;
  readonly VERIFICATION_TOKEN: string;
  readonly APP_ID: string;
}

/** An envelope's text as the platform would push it at this moment: the real time, for processes that read the real clock. */
export function sealNow(text: string, env: AppEnv): SealedRequest {
  const keys = ring({
    appId: env.APP_ID,
    encryptKeys: [env.ENCRYPT_KEY],
    verificationTokens: [env.VERIFICATION_TOKEN],
  });
  return sealEnvelope(text, { keys, nowMs: Date.now(), requestId: "log-1" });
}
