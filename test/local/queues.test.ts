import assert from "node:assert/strict";
import { test } from "node:test";
import { GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { limits } from "../../infra/limits.js";
import { createQueues } from "../../lib/local/runtime.ts";
import { queueUrl, startSqs } from "../../lib/local/sqs.ts";

test("queues that are there from the last start take the numbers that were changed since", async (t) => {
  const server = await startSqs();
  const credentials = { accessKeyId: "local", secretAccessKey: "local" };
  const client = new SQSClient({ region: "us-east-1", credentials, endpoint: server.endpoint });
  t.after(async () => {
    client.destroy();
    await server.stop();
  });
  await createQueues(client, limits);
  await createQueues(client, {
    ...limits,
    workerTimeoutSeconds: 20,
    maxReceiveCount: 7,
    queueRetentionSeconds: 600,
    deadLetterRetentionSeconds: 900,
  });
  const attributesOf = async (name: string) => {
    const QueueUrl = queueUrl(server.endpoint, name);
    return (await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }))).Attributes ?? {};
  };
  const { VisibilityTimeout, MessageRetentionPeriod, RedrivePolicy = "{}" } = await attributesOf("events");
  assert.deepEqual([VisibilityTimeout, MessageRetentionPeriod], ["120", "600"]);
  assert.deepEqual(JSON.parse(RedrivePolicy), {
    deadLetterTargetArn: (await attributesOf("dead-letters")).QueueArn,
    maxReceiveCount: 7,
  });
  for (const name of ["dead-letters", "quarantine"]) {
    assert.equal((await attributesOf(name)).MessageRetentionPeriod, "900");
  }
});
