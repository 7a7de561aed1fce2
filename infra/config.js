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
 * A queue with a worker of its own: what waits in it delays no event of another lane.
 * @typedef {object} LaneConfig
 * @property {readonly string[]} types Event types, and patterns such as `contact.*`. A type is in one lane only. A lane
 *   without types gets nothing more, and its worker works off what is in it.
 * @property {string} [order] The member of an event, such as `message.chat_id`, whose equal values are run one after the
 *   other, in a FIFO queue. To set or remove it is another queue, so the lane needs another name.
 * @property {number} [timeoutSeconds] Of the worker's invocation, from 10 to 900; handlers get 5 s less. `workerTimeoutSeconds` unless set.
 * @property {number} [concurrency] Worker invocations at the same time. `maxConcurrency` unless set.
 * @property {number} [memoryMb] `workerMemoryMb` unless set.
 * @property {number} [attempts] Runs of an event's handler until the event is dead. `maxAttempts` unless set.
 * @property {number | null} [maxAgeSeconds] Older events are completed as `stale` and not run. That of `limits` unless set; `null` is none.
 * @property {number} [holdSeconds] The longest wait before a failed event is run again, and so for the events behind it: 60
 *   unless set. Only with `order`.
 * @property {number} [batchSize] Not with `order`, where it is 1.
 * @property {number} [batchWindowSeconds] Not with `order`, where it is 0.
 */

/**
 * A project's configuration, in `larkpost.config.js`. Every member is optional.
 * @typedef {object} Config
 * @property {keyof Defaults["presets"]} [preset] A named set of limits: `small` (the default), `busy` (1,000 events a second)
 *   or `large` (10,000).
 * @property {Partial<Defaults["limits"] & Defaults["optional"] & Defaults["alarmThresholds"]>} [limits]
 *   Numbers that replace those of `infra/limits.js` and of the preset, under the same rules.
 * @property {Readonly<Record<string, LaneConfig>>} [lanes] Queues with workers of their own, by their names. Types that none
 *   has go by the default lane, whose numbers are in `limits`.
 * @property {Readonly<Record<string, string | { readonly Ref: string }>>} [environment]
 *   Plain values in `process.env` of the functions that run handlers. `{ Ref: "OrdersTable" }` is the name of a table
 *   in `resources`. The template shows every value, so put secrets into `secrets`.
 * @property {readonly string[]} [secrets]
 *   Names of secrets that handlers read as `context.secrets.NAME`. Set their values with
 *   `npm run secrets -- set --extra NAME`, and locally in `.env`.
 * @property {readonly Statement[]} [statements] IAM rights of the functions that run handlers: worker and callback.
 * @property {Readonly<Record<string, Resource>>} [resources]
 *   Resources of the stack by their logical ids. `npm start` creates the DynamoDB tables among them locally.
 * @property {boolean} [logErrorMessages]
 *   Whether the messages of errors are logged and stored in dead letters. They may quote an event; by default only those
 *   are logged whose error declares `isMessageSafe`.
 * @property {number} [logSampleRate]
 *   Of the events that go well at once, the share whose lines `queued` and `handled` are logged: 1 (the default) for all,
 *   0.1 for a tenth. `started`, which is counted, and every line about anything else are always logged.
 * @property {boolean} [eventCountMetrics]
 *   Whether the worker's event source mapping counts what it polls, invokes, deletes and drops.
 * @property {Readonly<Record<string, string>>} [tags] Tags of all resources of the stack.
 */

/**
 * Types the default export of `larkpost.config.js`.
 * @param {Config} config
 */
export function defineConfig(config) {
  return config;
}
