import { type Hop, probe, type Sender } from "../../deploy/probe.ts";
import type { Check } from "./check.ts";
import { type Cause, type Finding, found } from "./finding.ts";

/** Where addresses are found, with the keys of whoever may push to them. */
export interface Addressed {
  /** @returns `undefined`: there is nothing to push with, which another check says. */
  addressed(kind: "Request" | "Callback"): Promise<Addresses | undefined>;
}

export interface Addresses {
  readonly addresses: readonly string[];
  readonly sender: Sender;
  /** When the keys were stored: what answers may have others for a while. */
  readonly keysAtMs: number;
}

/** Longer than a function keeps the keys that it has read. */
const readWithinMs = 600_000;

function addressCheck(id: string, about: string, kind: "Request" | "Callback"): Check<Addressed> {
  return {
    id,
    about,
    fine: `${about} answers a challenge, refuses a forged event and stores one`,
    async find(subject) {
      const addressed = await subject.addressed(kind);
      if (addressed === undefined || addressed.addresses.length === 0) return undefined;
      return (await Promise.all(addressed.addresses.map((url) => examineAddress(url, addressed)))).flat();
    },
  };
}

export const addressChecks: readonly Check<Addressed>[] = [
  addressCheck("webhook", "the address for events", "Request"),
  addressCheck("callback", "the address for callbacks", "Callback"),
];

async function examineAddress(url: string, { sender, keysAtMs }: Addresses): Promise<Finding[]> {
  const hops: Hop[] = [];
  const { isReached } = await probe(url, { ...sender, onHop: (hop) => hops.push(hop), waitsMs: [] });
  const failed = hops.find(({ isOk }) => !isOk);
  if (failed === undefined) return [];
  const [id, cure] = causeOf(failed, { isReached, areKeysRead: Date.now() - keysAtMs > readWithinMs });
  return [found(id, failed.text.includes(url) ? failed.text : `${url} ${failed.text}`, cure)];
}

/** @param facts.areKeysRead The functions have read the keys that are stored now. */
function causeOf(
  { hop, status = null, code = "" }: Hop,
  { isReached, areKeysRead }: { isReached: boolean; areKeysRead: boolean },
): [id: Cause, cure: string] {
  if (hop === "forged push" && status === 200) {
    return [
      "address-open",
      "Anybody may push there: look at what stands before the function, and at ALLOW_UNENCRYPTED",
    ];
  }
  if (status === null) {
    return /^(ENOTFOUND|EAI_AGAIN)$/.test(code)
      ? [
          "address-unknown",
          "The host has no record in DNS: set the CNAME of the stack's output DomainTarget, or correct it",
        ]
      : ["address-unreachable", "Check that it runs, its certificate, and what a firewall lets through to it"];
  }
  if (status === 404) {
    return ["address-not-found", 'Something else answers at that path: compare it with what "npm run status" prints'];
  }
  if (status >= 300 && status < 400) {
    return [
      "address-redirects",
      "Feishu follows no redirect: have this very address answer, without a login before it",
    ];
  }
  if (status >= 500) return ["address-unavailable", "The log's stages `unavailable` and `misconfigured` say why"];
  if (status === 401 && (isReached || areKeysRead)) {
    return [
      "address-changes-body",
      "What stands before the function drops or rewrites the body or the headers, or it is another app's: pass both on as they come",
    ];
  }
  if (status === 401) {
    return [
      "address-other-keys",
      "It has other keys than those stored: a function reads them within 5 minutes, npm start when it starts again",
    ];
  }
  return ["address-of-another", "Something else answers there: look at what stands before the function"];
}
