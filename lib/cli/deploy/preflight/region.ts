import { didYouMean } from "../../../simulator/nearest.ts";
import type { Finding } from "../../check/finding.ts";
import { type Lack, regions, regionsAsOf } from "../regions.ts";
import { ofType } from "../stack.ts";
import { about, type Local, warning } from "./context.ts";

/** What the region lacks of what the stack needs. */
export function findLacks({ stack }: Local): Finding[] {
  const { region, stage } = stack;
  const lacks = regions.get(region);
  if (lacks === undefined) {
    const text = `"${region}" is no region that Larkpost knows (${regionsAsOf}).${didYouMean(region, [...regions.keys()])}`;
    return [warning("--region", text)];
  }
  const byLongConnection = `front=none and, after it, "npm run deploy -- --stage ${stage} --region ${region} --long-connection": docs/where-to-deploy.md`;
  const instead = lacks.includes("public-api") ? byLongConnection : "front=httpApi";
  const isMappedWith = (property: string) =>
    ofType(stack, "AWS::Lambda::EventSourceMapping").some(([, properties]) => properties[property] !== undefined);
  const needs: Readonly<Record<Lack, { readonly isNeeded: boolean; readonly finding: Finding }>> = {
    "function-urls": {
      isNeeded: ofType(stack, "AWS::Lambda::Url").length > 0,
      finding: about("--param front", `${region} has no Function URLs (${regionsAsOf}). Use ${instead}`),
    },
    "json-logs": {
      isNeeded: true,
      finding: about(
        "--region",
        `${region} has no log lines in JSON for Lambda (${regionsAsOf}), which every alarm reads. Use another region`,
      ),
    },
    "public-api": {
      isNeeded: ofType(stack, "AWS::ApiGatewayV2::Api").length > 0,
      finding: warning(
        "--region",
        `${region} serves an API without authentication only to accounts with an ICP filing (${regionsAsOf}), and Feishu would get 401. Without one, use ${byLongConnection}`,
      ),
    },
    "event-counts": {
      isNeeded: isMappedWith("MetricsConfig"),
      finding: about(
        "larkpost.config.js",
        `${region} has no metrics of event source mappings (${regionsAsOf}). Leave eventCountMetrics out`,
      ),
    },
    pollers: {
      isNeeded: isMappedWith("ProvisionedPollerConfig"),
      finding: about(
        "larkpost.config.js",
        `${region} has no provisioned pollers (${regionsAsOf}). Leave minimumPollers and maximumPollers out`,
      ),
    },
  };
  return lacks.map((lack) => needs[lack]).flatMap(({ isNeeded, finding }) => (isNeeded ? [finding] : []));
}
