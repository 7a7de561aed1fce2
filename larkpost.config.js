// @ts-check
import { defineConfig } from "larkpost/config";

// Yours. The stack, `npm start` and the other commands read this file, and nothing writes it. docs/settings.md has
// every member; a misspelt one is refused.
export default defineConfig({
  // Numbers in place of those in infra/limits.js.
  // limits: { workerTimeoutSeconds: 120 },
  //
  // Plain values in process.env of your handlers. `Ref` is the name of a table below.
  // environment: { CRM_URL: "https://crm.example.com", ORDERS_TABLE: { Ref: "OrdersTable" } },
  //
  // Names of secrets: `npm run secrets -- set --extra CRM_TOKEN` stores one, handlers read context.secrets.CRM_TOKEN.
  // secrets: ["CRM_TOKEN"],
  //
  // What handlers may do in AWS.
  // statements: [
  //   { Effect: "Allow", Action: ["dynamodb:PutItem"], Resource: [{ "Fn::GetAtt": ["OrdersTable", "Arn"] }] },
  // ],
  //
  // CloudFormation resources of your own. `npm start` creates the DynamoDB tables among them locally.
  // resources: {
  //   OrdersTable: {
  //     Type: "AWS::DynamoDB::Table",
  //     Properties: {
  //       BillingMode: "PAY_PER_REQUEST",
  //       AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
  //       KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
  //     },
  //   },
  // },
  //
  // Log the messages of errors, which may quote an event.
  // logErrorMessages: true,
  //
  // Log `queued` and `handled` of a tenth of the events that go well.
  // logSampleRate: 0.1,
  //
  // tags: { team: "people" },
});
