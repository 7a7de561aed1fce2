/** @typedef {typeof import("./limits.js")} Defaults */

/**
 * A statement of IAM.
 * @typedef {object} Statement
 * @property {"Allow" | "Deny"} Effect
 * @property {string | readonly string[]} Action
 * @property {unknown} Resource ARNs, or functions of CloudFormation such as `{ "Fn::GetAtt": ["OrdersTable", "Arn"] }`.
 * @property {string} [Sid]
 * @property {object} [Condition]
 */

/**
 * A resource of CloudFormation.
 * @typedef {{ readonly Type: string, readonly Properties?: object, readonly [attribute: string]: unknown }} Resource
 */

/**
 * What a project says of itself, in `larkpost.config.js`. Every member may be left out.
 * @typedef {object} Config
 * @property {Partial<Defaults["limits"] & Defaults["optional"] & Defaults["alarmThresholds"]>} [limits]
 *   Numbers in place of those of `infra/limits.js`, held to the same rules.
 * @property {Readonly<Record<string, string | { readonly Ref: string }>>} [environment]
 *   Plain values in `process.env` of the functions that run handlers. `{ Ref: "OrdersTable" }` is the name of a table
 *   in `resources`. All of it is readable in the template, so it is no place for secrets.
 * @property {readonly string[]} [secrets]
 *   Names of secrets that handlers read as `context.secrets.NAME`. Values are set with
 *   `npm run secrets -- set --extra NAME`, locally in `.env`.
 * @property {readonly Statement[]} [statements] What handlers may do in AWS: rights of worker and callback.
 * @property {Readonly<Record<string, Resource>>} [resources]
 *   Resources of the stack by their logical ids. `npm start` creates the DynamoDB tables among them locally.
 * @property {Readonly<Record<string, string>>} [tags] Tags of the stack, which AWS puts on its resources.
 */

/**
 * Types the default export of `larkpost.config.js`.
 * @param {Config} config
 */
export function defineConfig(config) {
  return config;
}
