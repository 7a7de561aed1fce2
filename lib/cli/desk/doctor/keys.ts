import { type Secret, unexpired } from "../../../feishu/keys.ts";
import { findExtra } from "../../deploy/extra-secrets.ts";
import { unusableKeys } from "../../deploy/parameter-store.ts";
import type { Check } from "./check.ts";
import { type Finding, found } from "./finding.ts";
import type { Stage } from "./stage.ts";

export const keyChecks: readonly Check<Stage>[] = [
  {
    id: "keys",
    about: "the app's keys",
    fine: "the keys are stored, current, and of this app",
    right: "ssm:GetParameter",
    async find(stage) {
      const { keys, deployed, parameter, region, args } = stage;
      const set = `npm run secrets -- set${args}`;
      const [{ secrets, problem }, stack] = await Promise.all([keys(), deployed().catch(() => undefined)]);
      if (problem !== undefined) {
        const { what, cure } = unusableKeys(problem, { parameter, region, set });
        return [found("keys-unusable", `${parameter} cannot be used: ${what}`, cure)];
      }
      if (secrets === undefined) return [found("keys-missing", `there is no ${parameter}`, `Run "${set}"`)];
      const app = stack?.outputs.get("AppId") ?? "none";
      const isOther = app !== "none" && app !== secrets.appId;
      const other = `${parameter} has the keys of "${secrets.appId}", and the stack is of "${app}": every request gets 503`;
      return [
        ...(isOther
          ? [found("keys-other-app", other, `Run "${set}" with that app's keys, or deploy with its APP_ID`)]
          : []),
        ...rotations("Encrypt Key", secrets.encryptKeys, stage),
        ...rotations("Verification Token", secrets.verificationTokens, stage),
        ...secrets.warnings.map((warning) => {
          const [what = "", cure = `Run "${set}"`] = warning.split(". ");
          return found("keys-short", what, cure);
        }),
        ...(secrets.appSecret === undefined
          ? [
              found(
                "secret-missing",
                `${parameter} has no App Secret: handlers cannot call the Open API, nor sign the values of cards`,
                `Run "${set}" with APP_SECRET`,
              ),
            ]
          : []),
      ];
    },
  },
  {
    id: "extra",
    about: "the project's own secrets",
    fine: "the project's own secrets are stored",
    right: "ssm:GetParameter",
    async find({ clients, stage, args }) {
      const extra = await findExtra(clients.ssm, stage);
      return extra?.missing.map((name) =>
        found(
          "extra-missing",
          `${extra.parameter} has no ${name}: a handler that reads it fails`,
          `Run "npm run secrets -- set --extra ${name}${args}"`,
        ),
      );
    },
  },
];

/** Keys that end: until then two are accepted. */
function rotations(label: string, list: readonly Secret[], { args }: Stage): Finding[] {
  const accepted = unexpired(list, Date.now());
  if (accepted.length === 0) {
    const what = `no stored ${label} is accepted any more: every request gets 401`;
    return [found("keys-ended", what, `Run "npm run secrets -- set${args}" with the developer console's`)];
  }
  return accepted.flatMap(({ notAfter }) => {
    if (notAfter === undefined) return [];
    const what = `an old ${label} is still accepted, until ${new Date(notAfter).toISOString()}`;
    const cure = `Nothing, if it is in use; else end it now: "npm run secrets -- finish${args}"`;
    return [found("keys-overlap", what, cure)];
  });
}
