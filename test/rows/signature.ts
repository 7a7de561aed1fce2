import assert from "node:assert/strict";
import { SQS } from "@aws-sdk/client-sqs";
import { authorization } from "../../lib/aws/signature.ts";
import { type Random, seeded } from "../support/random.ts";
import type { Row } from "./row.ts";

interface Session {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

/** The SDK's own signer, as one of its clients makes it. */
async function sdkSigner(session: Session) {
  const client = new SQS({ region: "us-east-1", credentials: session });
  const scheme = { name: "sigv4", signingName: "sqs", signingRegion: "us-east-1", properties: {} };
  const signer = await client.config.signer(scheme as unknown as Parameters<typeof client.config.signer>[0]);
  return { sign: (request: object, at: Date) => signer.sign(request as never, { signingDate: at }) as Promise<Signed> };
}
interface Signed {
  readonly headers: Readonly<Record<string, string>>;
}

/** What our signer makes of the headers that the SDK has signed. */
function signedAlike({ headers }: Signed, body: string, { accessKeyId, secretAccessKey }: Session): string {
  const [, names = ""] = /SignedHeaders=([^,]*)/.exec(headers["authorization"] ?? "") ?? [];
  const signed = names.split(";").map((name) => [name, headers[name] ?? ""] as const);
  const call = { path: "/", body, date: headers["x-amz-date"] ?? "", region: "us-east-1", service: "sqs" };
  return authorization(signed, { ...call, accessKeyId, secretAccessKey });
}

function randomText(random: Random): string {
  const ranges = [0x80, 0x800, 0xd800, 0x10000];
  return Array.from({ length: random.below(40) }, () => {
    const unit = random.below(ranges[random.below(ranges.length)] ?? 0x80);
    return String.fromCharCode(unit >= 0xd800 && unit < 0xe000 ? 0x4e00 : unit);
  }).join("");
}

export const signatureRows: readonly Row[] = [
  {
    id: "SIGV4",
    title: "a request is signed as the SDK signs it, byte by byte",
    full: 20_000,
    sample: 20,
    async run({ n, seed, progress }) {
      const random = seeded(seed);
      for (let done = 0; done < n; done++) {
        const session = {
          accessKeyId: `AKID${done}`,
          secretAccessKey: randomText(random) || "x",
          sessionToken: `${done}==`,
        };
        const host = `sqs${done}.amazonaws.com`;
        const headers = { host, "content-type": "application/x-amz-json-1.0", "x-amz-target": `A.${done}` };
        const body = randomText(random);
        const request = { method: "POST", protocol: "https:", hostname: host, path: "/", query: {}, headers, body };
        const signed = await (await sdkSigner(session)).sign(request, new Date(random.below(4e12)));
        assert.equal(signedAlike(signed, body, session), signed.headers["authorization"], `request ${done}`);
        progress(done + 1);
      }
    },
  },
];
