import type { AwsClient, AwsError, CallOptions, Calls, Item } from "./client.ts";

/**
 * One kind of item in the table, which all kinds share: `pk` is the kind and the name. A write resolves with
 * `undefined`, or with the error when its condition failed.
 */
export function itemsOf(client: AwsClient, table: string, kind: "claim" | "answer" | "token") {
  const keyOf = (name: string) => ({ pk: { S: `${kind}#${name}` } });
  const unlessRefused = (written: Promise<unknown>): Promise<AwsError | undefined> =>
    written.then(
      () => undefined,
      (error: AwsError) => {
        if (error.name === "ConditionalCheckFailedException") return error;
        throw error;
      },
    );
  return {
    async read(name: string, options?: CallOptions): Promise<Item | undefined> {
      const input = { TableName: table, Key: keyOf(name), ConsistentRead: true };
      return (await client.call("GetItem", input, options)).Item;
    },
    put(name: string, item: Item, input: Omit<Calls["PutItem"][0], "TableName" | "Item">, options?: CallOptions) {
      const Item = { ...keyOf(name), ...item } as Calls["PutItem"][0]["Item"];
      return unlessRefused(client.call("PutItem", { TableName: table, Item, ...input }, options));
    },
    update(name: string, input: Omit<Calls["UpdateItem"][0], "TableName" | "Key">, options?: CallOptions) {
      return unlessRefused(client.call("UpdateItem", { TableName: table, Key: keyOf(name), ...input }, options));
    },
  };
}

/** Milliseconds in whole seconds, for DynamoDB's time to live. */
export function secondsOf(epochMs: number, later = 0): { N: string } {
  return { N: String(Math.floor(epochMs / 1000) + later) };
}
