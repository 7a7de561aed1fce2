/** The day on which {@link regions} was read from AWS's pages. */
export const regionsAsOf = "2026-11-28";

/**
 * What a region lacks: Function URLs; Lambda's log lines in JSON; an API without authentication, for which the account
 * must be registered with the authorities (an ICP filing); provisioned pollers of a queue; what its mapping counts.
 */
export type Lack = "function-urls" | "json-logs" | "public-api" | "pollers" | "event-counts";

const complete = `us-east-1 us-east-2 us-west-1 us-west-2 af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2
  ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 ap-southeast-3 ca-central-1 eu-central-1 eu-north-1 eu-south-1
  eu-west-1 eu-west-2 eu-west-3 me-south-1 mx-central-1 sa-east-1`;
// https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html
const withoutUrls = `ap-east-2 ap-south-2 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-west-1
  eu-central-2 eu-south-2 il-central-1 me-central-1`;
// https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-lambda.html
const government = "us-gov-east-1 us-gov-west-1";
// https://docs.amazonaws.cn/en_us/aws/latest/userguide/api-gateway.html
// https://docs.amazonaws.cn/en_us/aws/latest/userguide/lambda.html
const china = "cn-north-1 cn-northwest-1";

const lacking = (names: string, ...lacks: Lack[]) => names.split(/\s+/).map((name) => [name, lacks] as const);

export const regions: ReadonlyMap<string, readonly Lack[]> = new Map([
  ...lacking(complete),
  ...lacking(withoutUrls, "function-urls"),
  ...lacking(government, "function-urls", "json-logs"),
  ...lacking(china, "function-urls", "public-api", "pollers", "event-counts"),
]);
