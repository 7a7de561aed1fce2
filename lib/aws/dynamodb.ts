import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  type PutItemCommandInput,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from "@aws-sdk/client-dynamodb";
import { limitConcurrency } from "./concurrency.ts";
import { JsonSigner, withoutUnusedMiddleware } from "./signer.ts";

/**
 * A client whose calls fail in time: `requestTimeout` alone only logs a warning.
 * @param options.tryMs The time of one try, of two. Between them it pauses for at most 100 ms.
 */
export function dynamoClient({ tryMs = 1_000 } = {}): DynamoDBClient {
  const client = new DynamoDBClient({
    maxAttempts: 2,
    signerConstructor: JsonSigner,
    // The middleware of a command is put together once, since the calls are alike.
    cacheMiddleware: true,
    requestHandler: {
      connectionTimeout: tryMs / 2,
      requestTimeout: tryMs,
      throwOnRequestTimeout: true,
      socketTimeout: tryMs,
    },
  });
  return limitConcurrency(withoutUnusedMiddleware(client));
}

type Item = Record<string, AttributeValue>;
type Options = { readonly abortSignal?: AbortSignal };

/**
 * One kind of item in the table, which all kinds share: `pk` is the kind and the name. A write resolves with
 * `undefined`, or with the exception when its condition failed.
 */
export function itemsOf(client: Pick<DynamoDBClient, "send">, table: string, kind: "claim" | "answer" | "token") {
  const keyOf = (name: string): Item => ({ pk: { S: `${kind}#${name}` } });
  const write = async (command: PutItemCommand | UpdateItemCommand, options: Options) => {
    try {
      await client.send(command as PutItemCommand, options);
      return undefined;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return error;
      throw error;
    }
  };
  return {
    async read(name: string, options: Options = {}): Promise<Item | undefined> {
      const command = new GetItemCommand({ TableName: table, Key: keyOf(name), ConsistentRead: true });
      return (await client.send(command, options)).Item;
    },
    put(name: string, item: Item, input: Omit<PutItemCommandInput, "TableName" | "Item">, options: Options = {}) {
      return write(new PutItemCommand({ TableName: table, Item: { ...keyOf(name), ...item }, ...input }), options);
    },
    update(name: string, input: Omit<UpdateItemCommandInput, "TableName" | "Key">, options: Options = {}) {
      return write(new UpdateItemCommand({ TableName: table, Key: keyOf(name), ...input }), options);
    },
  };
}

/** Milliseconds in whole seconds, for DynamoDB's time to live. */
export function secondsOf(epochMs: number, later = 0): { N: string } {
  return { N: String(Math.floor(epochMs / 1000) + later) };
}
