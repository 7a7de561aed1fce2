// in turn: they share a process of osls.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { inspect } from "node:util";
import { defineConfig } from "../../infra/config.js";
import { lanesOf, lanesText } from "../../infra/lanes.js";
import { alarmThresholds, limits, optional } from "../../infra/limits.js";
import { projectOf, readProject } from "../../infra/project.js";
import { ownResources } from "../../infra/resources.js";
import { checkConfig } from "../../lib/cli/check/settings.ts";
import * as samples from "../../lib/simulator/samples/samples.ts";
import { longConnection } from "./connected.ts";
import { deployment } from "./deployment.ts";
import { statementsOf } from "./rules.ts";
import { loadSpecification } from "./specification.ts";
import { type Compiled, compile, leaves, type Resource } from "./stack.ts";

const config = defineConfig({
  preset: "large",
  limits: {
    workerReservedConcurrency: 500,
    routeBurst: 9_000,
    webhookP99Ms: 900,
    workerDurationPercent: 50,
    failedRunsPerFiveMinutes: 40,
    failedRunsPercent: 30,
  },
  environment: { CRM_URL: "https://crm.example.com", ORDERS_TABLE: { Ref: "OrdersTable" } },
  secrets: ["CRM_TOKEN", "MAIL_PASSWORD"],
  statements: [{ Effect: "Allow", Action: ["dynamodb:PutItem"], Resource: [{ "Fn::GetAtt": ["OrdersTable", "Arn"] }] }],
  resources: {
    OrdersTable: {
      Type: "AWS::DynamoDB::Table",
      Properties: {
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      },
    },
  },
  logErrorMessages: true,
  tags: { team: "people" },
});
const canary = "canary-of-a-further-secret";

let bare: Compiled;
let own: Compiled;
before(async () => {
  [bare, own] = await Promise.all([
    compile("prod"),
    compile("prod", { config, env: { CRM_TOKEN: canary, MAIL_PASSWORD: canary } }),
  ]);
});

describe("larkpost.config.js in the template", () => {
  test("adds what it says, for worker and callback, and changes nothing else", async () => {
    const one = leaves(bare.template);
    const other = leaves(own.template);
    const differences = [...new Set([...one.keys(), ...other.keys()])]
      .filter((path) => one.get(path) !== other.get(path) && !/\.(S3Key|CodeSha256)$|\.Tags\b|Dashboard/.test(path))
      .map((path) => [path.replace(/^Resources\./, "").replace(".Properties.", " "), other.get(path)] as const);
    const variables = (name: string) => ({
      [`${name}LambdaFunction Environment.Variables.CRM_URL`]: "https://crm.example.com",
      [`${name}LambdaFunction Environment.Variables.EXTRA_SECRETS`]: "CRM_TOKEN,MAIL_PASSWORD",
      [`${name}LambdaFunction Environment.Variables.EXTRA_SECRETS_PARAMETER`]: "/larkpost/prod/extra",
      [`${name}LambdaFunction Environment.Variables.LOG_ERROR_MESSAGES`]: "true",
      [`${name}LambdaFunction Environment.Variables.ORDERS_TABLE.Ref`]: "OrdersTable",
    });
    const isOfRole = ([path]: readonly [string, unknown]) => /^(Callback|Worker)Role /.test(path);
    assert.deepEqual(Object.fromEntries(differences.filter((one) => !isOfRole(one)).sort()), {
      ...variables("Callback"),
      "HttpApiStage DefaultRouteSettings.ThrottlingBurstLimit": 9_000,
      "HttpApiStage DefaultRouteSettings.ThrottlingRateLimit": 20_000,
      "LedgerTable WarmThroughput.ReadUnitsPerSecond": 12_000,
      "LedgerTable WarmThroughput.WriteUnitsPerSecond": 40_000,
      "OrdersTable AttributeDefinitions.0.AttributeName": "id",
      "OrdersTable AttributeDefinitions.0.AttributeType": "S",
      "OrdersTable BillingMode": "PAY_PER_REQUEST",
      "OrdersTable KeySchema.0.AttributeName": "id",
      "OrdersTable KeySchema.0.KeyType": "HASH",
      "OrdersTable.Type": "AWS::DynamoDB::Table",
      "RunsFailedAlarm Metrics.4.Expression": "IF(part >= 40 AND part * 100 >= FILL(whole, 0) * 30, 1, 0)",
      "WebhookSlowAlarm Threshold": 900,
      "WorkerEventSourceMappingSQSEventsQueue ScalingConfig.MaximumConcurrency": 500,
      ...variables("Worker"),
      "WorkerLambdaFunction ReservedConcurrentExecutions": 500,
      "WorkerSlowAlarm Threshold": 30_000,
    });
    const parameter = `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:parameter/larkpost/prod/extra`;
    const read = { Effect: "Allow", Action: ["ssm:GetParameter"], Resource: [{ "Fn::Sub": parameter }] };
    for (const id of ["CallbackRole", "WorkerRole"]) {
      const [before, after] = [bare, own].map(({ template }) => statementsOf(template.Resources[id] as Resource));
      const added = after?.filter(
        (statement) => !before?.some((one) => JSON.stringify(one) === JSON.stringify(statement)),
      );
      assert.deepEqual(added, [read, ...(config.statements ?? [])]);
      assert.equal(after?.length, (before?.length ?? 0) + 2);
    }
    assert.deepEqual(own.provider["stackTags"], { SERVICE: "larkpost", STAGE: "prod", ...config.tags });
    assert.deepEqual(loadSpecification().problems(own.template), []);
  });

  test("C-67: holds the names of secrets, and no value, though it is in the environment that it is made in", () => {
    assert.ok(own.text.includes("CRM_TOKEN") && !own.text.includes(canary));
  });

  test("takes no resource's name that Larkpost uses", () => {
    const resource = config.resources?.["OrdersTable"];
    assert.ok(resource);
    const ids = [...Object.keys(bare.template.Resources), "WebhookLambdaFunctionUrl"];
    for (const id of ids) {
      const project = projectOf({ resources: { [id]: resource } });
      assert.throws(
        () => ownResources(deployment, project),
        new RegExp(`resources.${id} has a name that Larkpost uses`),
      );
    }
    const { resources } = projectOf({ resources: { ...config.resources, OrdersWebhook: resource } });
    assert.deepEqual(ownResources(deployment, projectOf({ resources })), resources);
  });
});

test("without the file, or with an empty one, everything is as infra/limits.js says", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const none = {
    ...{ lanes: {}, environment: {}, secrets: [], statements: [], resources: {}, tags: {} },
    ...{ logErrorMessages: false, logSampleRate: 1, eventCountMetrics: false },
  };
  assert.deepEqual(await readProject(folder), { limits, optional, alarmThresholds, ...none });
  writeFileSync(join(folder, "larkpost.config.js"), "export default {};");
  assert.deepEqual(await readProject(folder), { limits, optional, alarmThresholds, ...none });
});

test("by another ending it is refused, and not passed over", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "larkpost.config.ts"), "export default {};\n");
  const message = "Cannot read larkpost.config.ts: the file is larkpost.config.js, which is JavaScript. Rename it";
  await assert.rejects(readProject(folder), { name: "ConfigError", message });
  assert.equal((await checkConfig(folder)).findings[0]?.file, "larkpost.config.ts");
});

for (const [what, source, says] of [
  [
    "a syntax error",
    "export default {\n  limits: {{\n",
    /^Cannot read larkpost\.config\.js: .*larkpost\.config\.js:2\n {2}limits: \{\{\n +\^\n\nSyntaxError: [^\n]*$/,
  ],
  [
    "an error that it throws",
    "export default {};\nthrow new TypeError('no URL');",
    /^Cannot read larkpost\.config\.js: TypeError: no URL\n {4}at file:[^\n]*larkpost\.config\.js:2:7$/,
  ],
  [
    "no default export",
    "export const config = {};",
    /^Cannot use larkpost\.config\.js: its default export is not an o/,
  ],
] as const) {
  test(`is refused with ${what}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, "larkpost.config.js"), source);
    await assert.rejects(readProject(folder), ({ name, message }: Error) => {
      assert.equal(name, "ConfigError");
      assert.match(message, says);
      return true;
    });
  });
}

const ai = { types: ["im.message.receive_v1"], order: "message.chat_id" };
const lane = (member: object) => ({ lanes: { ai: { types: [], ...member } } });
const many = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`l${index}`, { types: [] }]));
const keys = {
  AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
  KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
};
const table = { Type: "AWS::DynamoDB::Table", Properties: keys };
const tableOf = (properties: object) => ({ resources: { Orders: { ...table, Properties: properties } } });
const [hash] = keys.KeySchema;
const range = { AttributeName: "at", KeyType: "RANGE" };
const sorted = {
  AttributeDefinitions: [...keys.AttributeDefinitions, { AttributeName: "at", AttributeType: "N" }],
  KeySchema: [hash, range],
};
const index = { IndexName: "byId", KeySchema: keys.KeySchema, Projection: { ProjectionType: "ALL" } };
const statement = { Effect: "Allow", Action: ["ses:SendEmail"], Resource: ["*"] };
const mistakes: readonly (readonly [config: object, says: string])[] = [
  [{ limitz: {} }, '"limitz" is not a member. Did you mean "limits"?'],
  [{ preset: "medium" }, '"medium" is not a preset. There are small, busy, large\n'],
  [
    { preset: "large", limits: { workerReservedConcurrency: 499 } },
    "workerReservedConcurrency is below maxConcurrency (500)",
  ],
  [{ limits: { workerTimeout: 60 } }, '"workerTimeout" is not a limit. Did you mean "workerTimeoutSeconds"?'],
  [{ limits: { maxConcurrency: "10" } }, 'limits.maxConcurrency is "10", not a whole number'],
  [{ limits: { maxConcurrency: 2.5 } }, "limits.maxConcurrency is 2.5, not a whole number"],
  [{ limits: { batchSize: -1 } }, "limits.batchSize is -1, not a whole number"],
  [{ limits: { batchSize: null } }, "limits.batchSize is null, not a whole number"],
  [{ limits: [] }, "limits is not an object of numbers"],
  [{ limits: { maxAttempts: 51 } }, "maxReceiveCount is below 10 × maxAttempts: SQS would take events that the worker"],
  [{ limits: { workerReservedConcurrency: 9 } }, "workerReservedConcurrency is below maxConcurrency (10)"],
  [
    { limits: { callbackReservedConcurrency: 1, callbackProvisionedConcurrency: 2 } },
    "callbackProvisionedConcurrency is",
  ],
  [{ lanes: [] }, "lanes is not an object of lanes"],
  [{ lanes: { ai: [] } }, "lanes.ai is not an object"],
  [{ lanes: many(10) }, "lanes has 10 lanes, over 9"],
  [{ lanes: { default: ai } }, "lanes.default is the lane of all other types. Its numbers are in limits"],
  ...["AI", "1ai", "a-i", "", "a".repeat(17)].map(
    (name) => [{ lanes: { [name]: ai } }, `lanes.${name}: a name has up to 16 small letters and digits`] as const,
  ),
  [lane({ timeOutSeconds: 60 }), '"timeOutSeconds" is not a member of lanes.ai. Did you mean "timeoutSeconds"?'],
  [lane({ maxConcurrency: 5 }), '"maxConcurrency" is not a member of lanes.ai. Did you mean "concurrency"?'],
  [
    lane({ oldestEventSeconds: 900 }),
    '"oldestEventSeconds" is not a member of lanes.ai. It is in limits, for all lanes\n',
  ],
  [lane({ colour: "red" }), '"colour" is not a member of lanes.ai\n'],
  [lane({ types: "contact.*" }), "lanes.ai.types is not a list of event types"],
  [lane({ types: [5] }), "lanes.ai.types has 5, not a text"],
  [
    lane({ types: ["contcat.user.*"] }),
    'lanes.ai.types: "contcat.user.*" is not an event type, nor a pattern of any. Did you mean "contact.user.*"?',
  ],
  [
    lane({ types: ["im.message.recieve_v1"] }),
    'lanes.ai.types: "im.message.recieve_v1" is not an event type, nor a pattern of any. Did you mean "im.message.receive_v1"?',
  ],
  ...["contacts.*", "*", "im.message*", "contact.user.created_v3.*"].map(
    (type) => [lane({ types: [type] }), `"${type}" is not an event type, nor a pattern of any`] as const,
  ),
  ...["card.action.trigger", "card.action.*"].map(
    (type) => [lane({ types: [type] }), `lanes.ai.types has "${type}", a callback, which is answered in its`] as const,
  ),
  ...(
    [
      ["im.message.receive_v1", "im.message.receive_v1", '"im.message.receive_v1"'],
      ["contact.*", "contact.user.created_v3", '"contact.*" and "contact.user.created_v3", which overlap'],
      ["contact.user.created_v3", "contact.user.*", '"contact.user.created_v3" and "contact.user.*", which overlap'],
      ["contact.*", "contact.user.*", '"contact.*" and "contact.user.*", which overlap'],
    ] as const
  ).map(
    ([one, other, both]) =>
      [
        { lanes: { a: { types: [one] }, b: { types: [other] } } },
        `lanes.a and lanes.b have ${both}. A type is in one lane only`,
      ] as const,
  ),
  ...["message chat", "message.", 5].map(
    (order) => [lane({ order }), `lanes.ai.order is ${JSON.stringify(order)}, no path like`] as const,
  ),
  ...(
    [
      ["message.chatid", "message.chat_id"],
      ["message.caht_id", "message.chat_id"],
      ["mesage.chatId", "message.chat_id"],
      ["event.message.chat_id", "message.chat_id"],
      ["chat_id", "message.chat_id"],
      ["sender.sender_id", "sender.sender_id.open_id"],
    ] as const
  ).map(
    ([order, likely]) =>
      [
        lane({ ...ai, order }),
        `lanes.ai.order: its types have no text or number at "${order}". Did you mean "${likely}"?\n`,
      ] as const,
  ),
  [lane({ types: ["contact.*"], order: "object.opne_id" }), 'at "object.opne_id". Did you mean "object.open_id"?'],
  [lane({ ...ai, batchSize: 1 }), "lanes.ai.batchSize is not for a lane with order"],
  [lane({ ...ai, batchWindowSeconds: 0 }), "lanes.ai.batchWindowSeconds is not for a lane with order"],
  [lane({ holdSeconds: 60 }), "lanes.ai.holdSeconds is only for a lane with order"],
  [lane({ concurrency: "5" }), 'lanes.ai.concurrency is "5", not a whole number'],
  [lane({ attempts: null }), "lanes.ai.attempts is null, not a whole number"],
  [{ environment: { LANES: "x" } }, "environment.LANES is a setting of Larkpost"],
  [
    { lanes: { ai }, environment: { TEXT: "x".repeat(2_484) } },
    "lanes and environment have 2561 bytes, over 2560: Lambda takes 4 KB",
  ],
  [{ environment: { TEXT: "x".repeat(2_552) } }, "lanes and environment have 2561 bytes, over 2560: Lambda takes 4 KB"],
  [{ environment: { A: "x" } }, '"A" cannot be the name of a variable'],
  [{ environment: { "CRM-URL": "x" } }, '"CRM-URL" cannot be the name of a variable'],
  [{ environment: { "1CRM": "x" } }, '"1CRM" cannot be the name of a variable'],
  [{ environment: { AWS_REGION: "x" } }, "environment.AWS_REGION is a setting of AWS. Choose another name"],
  [{ environment: { LEDGER_TABLE: "x" } }, "environment.LEDGER_TABLE is a setting of Larkpost. Choose another name"],
  [{ environment: { LARKPOST_X: "x" } }, "environment.LARKPOST_X is a setting of Larkpost. Choose another name"],
  [{ environment: { RETRIES: 5 } }, "environment.RETRIES is 5, not a text. Put it in quotes"],
  [{ environment: { IS_ON: true } }, "environment.IS_ON is true, not a text. Put it in quotes"],
  [{ environment: { TABLE: { Ref: "Nowhere" } } }, 'environment.TABLE.Ref: "Nowhere" is not a table in resources'],
  [
    { environment: { TABLE: { Ref: "Order" } }, resources: { Order: { Type: "AWS::SNS::Topic" }, Orders: table } },
    'environment.TABLE.Ref: "Order" is not a table in resources. Did you mean "Orders"?',
  ],
  [
    { environment: { TABLE: { ref: "Orders" } }, resources: { Orders: table } },
    '"ref" is not a member of environment.TABLE. Did you mean "Ref"?',
  ],
  [{ environment: { CRM_URL: undefined } }, "environment.CRM_URL is undefined, not a text\n"],
  [{ environment: "x" }, "environment is not an object of texts"],
  // Nothing in them would hold.
  [Promise.resolve({}), "its default export is not an object"],
  [{ limits: new Map([["maxAttempts", 5]]) }, "limits is not an object of numbers"],
  [{ limits: { maxAttempts: 5n } }, "limits.maxAttempts is 5n, not a whole number"],
  [{ environment: { TOKEN: "x" }, secrets: ["TOKEN"] }, "TOKEN is in environment and in secrets"],
  [{ secrets: "CRM_TOKEN" }, 'secrets is not a list of names, like ["CRM_TOKEN"]'],
  ...["crm-token", "CRM-TOKEN", "xCRM", "1CRM"].map(
    (name) => [{ secrets: [name] }, `secrets has "${name}". A name has capital letters, digits and "_"`] as const,
  ),
  [{ secrets: ["APP_SECRET"] }, "secrets has APP_SECRET, a setting of Larkpost. Choose another name"],
  [{ secrets: ["A", "B", "A"] }, "secrets has A twice"],
  [{ statements: {} }, "statements is not a list"],
  [{ statements: [1] }, "statements[0] is not an object"],
  [{ statements: [{ ...statement, effect: 1 }] }, '"effect" is not a member of statements[0]. Did you mean "Effect"?'],
  [
    { statements: [statement, { ...statement, Effect: "allow" }] },
    'statements[1].Effect is neither "Allow" nor "Deny"',
  ],
  [{ statements: [{ ...statement, Action: [] }] }, "statements[0].Action is no list of actions"],
  ...["SendEmail", "ses: SendEmail", "a ses:SendEmail", "ses:SendEmail,sns:Publish", "**"].map(
    (Action) => [{ statements: [{ ...statement, Action }] }, "statements[0].Action is no list of actions"] as const,
  ),
  ...[undefined, [], "orders", [["*"]]].map(
    (Resource) => [{ statements: [{ ...statement, Resource }] }, "statements[0].Resource is no list of ARNs"] as const,
  ),
  [{ statements: [{ ...statement, Sid: "send mail" }] }, 'statements[0].Sid is "send mail". It has letters and digits'],
  [{ statements: [{ ...statement, Condition: "x" }] }, "statements[0].Condition is not an object"],
  [{ resources: [] }, "resources is not an object of CloudFormation resources"],
  [{ resources: { "Orders-Table": table } }, "resources.Orders-Table: a logical id has letters and digits only"],
  [{ resources: { "-Orders": table } }, "resources.-Orders: a logical id has letters and digits only"],
  [{ resources: { ["x".repeat(256)]: table } }, "a logical id has letters and digits only"],
  [{ resources: { Orders: 1 } }, "resources.Orders is not an object"],
  ...["Tabel", "table"].map(
    (name) =>
      [
        { resources: { Orders: { Type: `AWS::DynamoDB::${name}` } } },
        `resources.Orders.Type: "AWS::DynamoDB::${name}" is not a type. Did you mean "AWS::DynamoDB::Table"?`,
      ] as const,
  ),
  [
    { resources: { Orders: { Type: "AWS::DynamoDB::GlobalTabel" } } },
    'resources.Orders.Type: "AWS::DynamoDB::GlobalTabel" is not a type. Did you mean "AWS::DynamoDB::GlobalTable"?',
  ],
  [{ resources: { Orders: { Type: "Table" } } }, 'resources.Orders.Type is no type, like "AWS::DynamoDB::Table"'],
  [
    { resources: { Orders: { ...table, Propertis: {} } } },
    'an attribute of resources.Orders. Did you mean "Properties"',
  ],
  [{ resources: { Orders: { ...table, Properties: [] } } }, "resources.Orders.Properties is not an object"],
  [
    tableOf({ ...keys, BilingMode: "PAY_PER_REQUEST" }),
    'resources.Orders.Properties: "BilingMode" is not a property of a table. Did you mean "BillingMode"?\n',
  ],
  [
    { resources: { Topic: { Type: "AWS::SNS::Topic", Properties: { TopicName: { "Fn::Jion": ["", ["a"]] } } } } },
    'resources.Topic.Properties: "Fn::Jion" is not a function of CloudFormation. Did you mean "Fn::Join"?\n',
  ],
  [
    { statements: [{ ...statement, Resource: [{ "Fn::GetAt": ["Orders", "Arn"] }] }] },
    'statements[0].Resource: "Fn::GetAt" is not a function of CloudFormation. Did you mean "Fn::GetAtt"?\n',
  ],
  ...(
    [
      [{}, ".KeySchema is undefined, not a list"],
      [{ KeySchema: keys.KeySchema }, ".AttributeDefinitions is undefined, not a list"],
      [{ ...keys, GlobalSecondaryIndexes: index }, ".GlobalSecondaryIndexes is { IndexName: "],
      [
        { ...keys, GlobalSecondaryIndexes: [{ ...index, Projection: undefined }] },
        " has an index without Projection\n",
      ],
      [{ ...keys, LocalSecondaryIndexes: [{ ...index, KeySchema: undefined }] }, " has an index without KeySchema\n"],
      [
        { ...keys, GlobalSecondaryIndexes: [{ ...index, KeySchema: [{ AttributeName: "by", KeyType: "HASH" }] }] },
        '.AttributeDefinitions lacks "by", which a KeySchema has\n',
      ],
      [
        { ...keys, TableName: `orders-\${param:name}`, AttributeDefinitions: [] },
        '.AttributeDefinitions lacks "id", which a KeySchema has\n',
      ],
      [
        { ...keys, AttributeDefinitions: [...keys.AttributeDefinitions, { AttributeName: "at", AttributeType: "S" }] },
        '.AttributeDefinitions has "at", which no KeySchema has\n',
      ],
      ...["KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"].map(
        (name) => [{ ...keys, [name]: [] }, `.${name} is empty. Fill it or remove it\n`] as const,
      ),
      ...["ab", "by id"].map(
        (IndexName) =>
          [
            { ...keys, GlobalSecondaryIndexes: [{ ...index, IndexName }] },
            ` has the index "${IndexName}". A name`,
          ] as const,
      ),
      ...[
        { ProjectionType: "all" },
        { ProjectionType: "INCLUDE" },
        { ProjectionType: "ALL", NonKeyAttributes: ["at"] },
      ].map(
        (Projection) =>
          [
            { ...keys, GlobalSecondaryIndexes: [{ ...index, Projection }] },
            ` has the Projection ${inspect(Projection, { breakLength: Infinity })}, not ALL, KEYS_ONLY, or INCLUDE with`,
          ] as const,
      ),
      [{ ...keys, GlobalSecondaryIndexes: [index, index] }, ' has two indexes "byId"\n'],
      [
        { ...keys, AttributeDefinitions: [{ AttributeName: "id", AttributeType: "string" }] },
        '.AttributeDefinitions has the AttributeType "string". There are S, N, B\n',
      ],
      [{ ...sorted, KeySchema: [range, hash] }, '.KeySchema has keys of the types "RANGE,HASH", not HASH, or HASH'],
      [
        { ...sorted, GlobalSecondaryIndexes: [{ ...index, KeySchema: [] }] },
        '.GlobalSecondaryIndexes has keys of the types "", not HASH, or HASH before RANGE\n',
      ],
      [{ ...sorted, LocalSecondaryIndexes: [index] }, '.LocalSecondaryIndexes has keys of the types "HASH", not HASH'],
      [
        { ...keys, LocalSecondaryIndexes: [{ ...index, KeySchema: sorted.KeySchema }] },
        '.KeySchema has keys of the types "HASH", not HASH before RANGE\n',
      ],
      [
        { ...sorted, LocalSecondaryIndexes: [{ ...index, KeySchema: [{ ...range, KeyType: "HASH" }, range] }] },
        '.LocalSecondaryIndexes has "at" twice in one key\n',
      ],
      [
        {
          ...sorted,
          LocalSecondaryIndexes: [
            {
              ...index,
              KeySchema: [
                { ...range, KeyType: "HASH" },
                { ...hash, KeyType: "RANGE" },
              ],
            },
          ],
        },
        '.LocalSecondaryIndexes has the hash key "at", and the table has "id"\n',
      ],
    ] as const
  ).map(([properties, says]) => [tableOf(properties), `resources.Orders.Properties${says}`] as const),
  [{ logErrorMessages: "true" }, 'logErrorMessages is "true", neither true nor false'],
  [{ eventCountMetrics: 1 }, "eventCountMetrics is 1, neither true nor false"],
  ...[1.1, -0.1, "0.25", Number.NaN].map((rate) => [{ logSampleRate: rate }, "not a number from 0 to 1"] as const),
  [{ tags: { Stage: "x" } }, "tags has Stage and STAGE, which IAM takes for one. Choose another name"],
  [{ tags: { team: "x", Team: "y" } }, "tags has team and Team, which IAM takes for one"],
  [{ tags: [] }, "tags is not an object of texts"],
  [{ tags: { "aws:x": "y" } }, '"aws:x" cannot be the name of a tag'],
  ...["", "team;", ";team", "x".repeat(129)].map(
    (name) => [{ tags: { [name]: "y" } }, `"${name}" cannot be the name of a tag`] as const,
  ),
  [{ tags: { team: 5 } }, "tags.team is 5, not a text of at most 256 characters"],
  [{ tags: { team: "a&b" } }, 'tags.team is "a&b", not a text of at most 256 characters: letters, digits, spaces and'],
  [{ tags: { team: "x".repeat(257) } }, "not a text of at most 256 characters"],
];
for (const [given, says] of mistakes) {
  // The test runner gives a promise symbols with other numbers in each run.
  const name = inspect(given, { breakLength: Infinity }).replace(/, Symbol\(\w+\): \d+/g, "");
  test(`refuses ${name.slice(0, 120)}`, () => {
    assert.throws(
      () => projectOf(given, { handled: [], samples }),
      ({ message }: Error) => {
        assert.ok(message.startsWith("Cannot use larkpost.config.js: ") && `${message}\n`.includes(says), message);
        return true;
      },
    );
  });
}

test("does not call an attribute unused while an index lacks its keys", () => {
  const AttributeDefinitions = [...keys.AttributeDefinitions, { AttributeName: "at", AttributeType: "S" }];
  const lacking = { ...keys, AttributeDefinitions, GlobalSecondaryIndexes: [{ ...index, KeySchema: undefined }] };
  const message = "Cannot use larkpost.config.js: resources.Orders.Properties has an index without KeySchema";
  assert.throws(() => projectOf(tableOf(lacking)), { message });
});

test("takes variables of osls, and what CloudFormation has besides tables", () => {
  const variable = `\${param:value}`;
  const config = {
    environment: { CRM_URL: variable, TABLE: { Ref: "Global" } },
    statements: [
      { ...statement, Sid: `Read${variable}`, Resource: variable },
      { ...statement, Resource: ["*", "arn:aws:s3:::orders/*", `arn:aws:s3:::${variable}`, { Ref: "Topic" }] },
    ],
    resources: {
      Global: { Type: "AWS::DynamoDB::GlobalTable", Properties: { ...keys, GlobalSecondaryIndexes: [index] } },
      Sorted: {
        ...table,
        Properties: { ...sorted, LocalSecondaryIndexes: [{ ...index, KeySchema: sorted.KeySchema }] },
      },
      Several: {
        ...table,
        Properties: {
          ...sorted,
          GlobalSecondaryIndexes: [
            {
              ...index,
              Projection: { ProjectionType: "INCLUDE", NonKeyAttributes: ["by"] },
              KeySchema: [hash, { ...hash, AttributeName: "at" }],
            },
          ],
        },
      },
      Chosen: { ...table, Properties: { ...keys, AttributeDefinitions: { "Fn::If": ["IsOld", [], []] } } },
      Given: { ...table, Properties: { ...keys, KeySchema: variable } },
      Either: { ...table, Properties: { "Fn::If": ["IsOld", keys, keys] } },
      Newer: { Type: "AWS::DynamoDB::ResourcePolicy" },
    },
    tags: { team: `of ${variable}`, place: "杭州 1" },
  };
  assert.partialDeepStrictEqual(projectOf(config), config);
});

test("a lane's numbers are those of the project's limits unless it has its own, and a FIFO queue's runs are one by one", () => {
  const project = projectOf({
    limits: { workerTimeoutSeconds: 90, maxReceiveCount: 400, maxAgeSeconds: 3_600 },
    lanes: {
      ai: { ...ai, timeoutSeconds: 600, memoryMb: 1_024, concurrency: 200, attempts: 3, maxAgeSeconds: 900 },
      bulk: { types: ["contact.*"], concurrency: 5, timeoutSeconds: 900, batchSize: 20, batchWindowSeconds: 5 },
      old: { types: [], maxAgeSeconds: null },
    },
  });
  const shared = { types: [], order: null, memoryMb: 512, concurrency: 10, attempts: 10, maxAgeSeconds: 3_600 };
  const batch = { batchSize: 10, batchWindowSeconds: 0, holdSeconds: null };
  const standard = { ...shared, ...batch, timeoutSeconds: 90, maxReceiveCount: 400, visibilityTimeoutSeconds: 540 };
  assert.deepEqual(lanesOf(project), [
    {
      ...{ name: "default", ...standard, id: "", queueId: "EventsQueue", queueName: "events" },
      ...{ deadLetterQueueId: "DeadLetterQueue", mappingId: "WorkerEventSourceMappingSQSEventsQueue" },
    },
    {
      ...{ name: "ai", ...ai, timeoutSeconds: 600, memoryMb: 1_024, concurrency: 200, attempts: 3, maxAgeSeconds: 900 },
      ...{ batchSize: 1, batchWindowSeconds: 0, holdSeconds: 60, maxReceiveCount: 400, visibilityTimeoutSeconds: 630 },
      ...{ id: "Ai", queueId: "LaneAiFifoQueue", queueName: "events-ai.fifo" },
      ...{ deadLetterQueueId: "DeadLetterFifoQueue", mappingId: "WorkerAiEventSourceMappingSQSLaneAiFifoQueue" },
    },
    {
      ...{ name: "bulk", ...standard, types: ["contact.*"], timeoutSeconds: 900, concurrency: 5 },
      // Six timeouts and the window: 111 of them in seven days.
      ...{ batchSize: 20, batchWindowSeconds: 5, maxReceiveCount: 111, visibilityTimeoutSeconds: 5_405 },
      ...{ id: "Bulk", queueId: "LaneBulkQueue", queueName: "events-bulk" },
      ...{ deadLetterQueueId: "DeadLetterQueue", mappingId: "WorkerBulkEventSourceMappingSQSLaneBulkQueue" },
    },
    {
      ...{ name: "old", ...standard, maxAgeSeconds: null, id: "Old", queueId: "LaneOldQueue", queueName: "events-old" },
      ...{ deadLetterQueueId: "DeadLetterQueue", mappingId: "WorkerOldEventSourceMappingSQSLaneOldQueue" },
    },
  ]);
  assert.equal(
    lanesText(project),
    '{"ai":{"types":["im.message.receive_v1"],"order":"message.chat_id"},"bulk":{"types":["contact.*"]},"old":{"types":[]}}',
  );
  assert.equal(lanesText(projectOf({})), undefined);
});

/** Each with the nearest numbers that are deployed. */
const broken: readonly (readonly [refused: object, allowed: object])[] = [
  [{ timeoutSeconds: 9 }, { timeoutSeconds: 10 }],
  [{ timeoutSeconds: 901 }, { timeoutSeconds: 900 }],
  [{ memoryMb: 127 }, { memoryMb: 128 }],
  [{ memoryMb: 10_241 }, { memoryMb: 10_240 }],
  [{ concurrency: 1 }, { concurrency: 2 }],
  [
    { concurrency: 1_001, batchSize: 1 },
    { concurrency: 1_000, batchSize: 1 },
  ],
  [{ batchSize: 0 }, { batchSize: 1 }],
  [{ batchSize: 11 }, { batchSize: 11, batchWindowSeconds: 1 }],
  [{ batchWindowSeconds: 301 }, { batchWindowSeconds: 300 }],
  [
    { concurrency: 2, batchSize: 6_001, batchWindowSeconds: 1 },
    { concurrency: 2, batchSize: 6_000, batchWindowSeconds: 1 },
  ],
  [{ attempts: 0 }, { attempts: 1 }],
  [{ attempts: 51 }, { attempts: 50 }],
  // 604,800 s hold 112 waits of 5,400 s.
  [
    { timeoutSeconds: 900, attempts: 12 },
    { timeoutSeconds: 900, attempts: 11 },
  ],
  [{ maxAgeSeconds: 0 }, { maxAgeSeconds: 1 }],
  [{ maxAgeSeconds: 7 * 86_400 }, { maxAgeSeconds: 7 * 86_400 - 1 }],
  [
    { ...ai, holdSeconds: 0 },
    { ...ai, holdSeconds: 1 },
  ],
  [
    { ...ai, holdSeconds: 901 },
    { ...ai, holdSeconds: 900 },
  ],
];
for (const [refused, allowed] of broken) {
  test(`D.2: no lane is deployed with ${JSON.stringify(refused)}`, () => {
    assert.throws(
      () => projectOf(lane(refused)),
      ({ message }: Error) => /^Cannot use larkpost\.config\.js: lanes\.ai\.\w+ [^\n]*$/.test(message),
    );
    projectOf(lane(allowed));
  });
}

for (const [what, types, order] of [
  ["is optional", ["im.message.receive_v1"], "message.thread_id"],
  ["is that of an item", ["im.message.receive_v1"], "message.mentions.0.key"],
  ["only some types of a pattern have", ["contact.*"], "object.open_id"],
  ["only a type without a sample has", ["application.*"], "operator_id.open_id"],
  ["only schema 1.0 has in the event", ["approval_instance"], "tenant_key"],
  ["only a type of the project has", ["im.message.receive_v1", "erp.order.paid"], "message.chatid"],
  ["is of a lane that gets nothing more", [], "message.chatid"],
] as const) {
  test(`a lane's order may be a member that ${what}`, () => {
    assert.deepEqual(projectOf({ lanes: { a: { types, order } } }, { handled: ["erp.order.paid"], samples }).lanes, {
      a: { types, order },
    });
  });
}

test("a slip in a lane's order is refused where the file is read", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const lanes = { ai: { ...ai, order: "message.chatid" } };
  writeFileSync(join(folder, "larkpost.config.js"), `export default ${JSON.stringify({ lanes })};`);
  await assert.rejects(readProject(folder), /lanes\.ai\.order: .* Did you mean "message\.chat_id"\?/);
});

test("a type that only a handler file of the project names may be in a lane", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "larkpost-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "functions/events"), { recursive: true });
  const files = ["erp.order.paid", "erp.order.lost.test", "_default"];
  for (const file of files) writeFileSync(join(folder, `functions/events/${file}.ts`), "");
  const write = (types: string[]) =>
    writeFileSync(
      join(folder, "larkpost.config.js"),
      `export default { lanes: { a: { types: ${JSON.stringify(types)} } } };`,
    );
  write(["erp.order.paid", "_default", "erp.order.lost.test"]);
  await assert.rejects(readProject(folder), ({ message }: Error) => {
    assert.deepEqual(message.match(/types: "[^"]+"/g), ['types: "_default"', 'types: "erp.order.lost.test"']);
    return true;
  });
  const known = projectOf({ lanes: { a: { types: ["erp.*"] } } }, { handled: ["erp.order.paid"] });
  assert.deepEqual(known.lanes, { a: { types: ["erp.*"] } });
  projectOf({ lanes: many(9), environment: {} });
  projectOf({ lanes: { ai }, environment: { TEXT: "x".repeat(2_483) } });
});

test("lists all mistakes at once, and takes a member that is undefined for one that is left out", () => {
  const given = { limitz: {}, secrets: ["a", "B"], tags: undefined };
  assert.throws(
    () => projectOf(given),
    ({ message }: Error) => message.split("\n").length === 2,
  );
  assert.deepEqual(projectOf({ tags: undefined }).tags, {});
  const longest = { [`a${"b".repeat(127)}`]: "x".repeat(256) };
  assert.deepEqual(projectOf({ tags: longest }).tags, longest);
});

test("a variable that only holds a name of AWS's or Larkpost's is the project's", () => {
  const environment = { MY_AWS_REGION: "x", MY_LARKPOST_X: "x" };
  assert.deepEqual(projectOf({ environment }).environment, environment);
});

test("every variable that the functions have of Larkpost's is refused as one of the project's", () => {
  const task = longConnection().Resources["LongConnectionTask"]?.Properties;
  const container = task?.["ContainerDefinitions"][0].Environment as { Name: string }[];
  for (const { Name } of container) {
    assert.throws(() => projectOf({ environment: { [Name]: "x" } }), /is a setting of (Larkpost|AWS)/, Name);
  }
});
