// For `npm run cost`, `npm run scale` and the dashboard.

/**
 * List prices in US dollars, without the free tier, for the first units of each. For a million: requests and writes.
 * For a GB: arm64 a second, the table and its recovery a month, what is logged once, and stored a month.
 * @typedef {{ readonly [name in
 *   | "httpApiRequests"
 *   | "invocations"
 *   | "queueRequests"
 *   | "fifoRequests"
 *   | "tableWrites"
 *   | "functionSecond"
 *   | "tableMonth"
 *   | "recoveryMonth"
 *   | "alarmMetricMonth"
 *   | "logged"
 *   | "logMonth"]: number }} Prices
 */

/** When the prices were looked up. https://aws.amazon.com/pricing, of each service and region */
export const pricesOf = "2026-11-28";

/**
 * The regions in China have prices in CNY, and no Function URLs.
 * @type {Readonly<Record<string, Prices>>}
 */
export const regions = {
  "us-east-1": {
    httpApiRequests: 1,
    invocations: 0.2,
    queueRequests: 0.4,
    fifoRequests: 0.5,
    tableWrites: 0.625,
    functionSecond: 0.0000133334,
    tableMonth: 0.25,
    recoveryMonth: 0.2,
    alarmMetricMonth: 0.1,
    logged: 0.5,
    logMonth: 0.03,
  },
  "ap-southeast-1": {
    httpApiRequests: 1.25,
    invocations: 0.2,
    queueRequests: 0.4,
    fifoRequests: 0.5,
    tableWrites: 0.7115,
    functionSecond: 0.0000133334,
    tableMonth: 0.285,
    recoveryMonth: 0.228,
    alarmMetricMonth: 0.1,
    logged: 0.7,
    logMonth: 0.03,
  },
};

/**
 * What a month without events has: the receives of five pollers, each of 20 s; and a dashboard, with more metrics than a
 * free one.
 */
export const idle = { receivesMonth: (5 * 30.4 * 86_400) / 20, dashboardMetrics: 50, dashboardMonth: 3 };

/**
 * The prices of a region, or of us-east-1 where none are known.
 * @param {string} region
 */
export function pricesIn(region) {
  const [name, prices] =
    Object.entries(regions).find(([known]) => known === region) ?? Object.entries(regions)[0] ?? [];
  if (name === undefined || prices === undefined) throw new Error("There are no prices");
  return { name, prices };
}
