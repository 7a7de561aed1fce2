import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { callbackConfig, longConnectionConfig, webhookConfig, workerConfig } from "../../lib/aws/config.ts";
import { laneQueueUrl, ownQueue, parseLanes } from "../../lib/aws/lanes.ts";
import { ConfigError } from "../../lib/errors.ts";
import { defaultApp } from "../../lib/feishu/keys.ts";
import { parseSecrets } from "../../lib/settings/app-secrets.ts";
import { chainLimits } from "../support/events.ts";

const webhook = {
  ENCRYPT_KEY: "an encrypt key of some length",
  VERIFICATION_TOKEN: "a verification token of some length",
  APP_ID: "cli_00000000000000a1",
  EVENTS_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/000000000000/events",
  QUARANTINE_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/000000000000/quarantine",
};
const callback = { ...webhook, LEDGER_TABLE: "ledger" };
const worker = {
  APP_ID: webhook.APP_ID,
  EVENTS_QUEUE_URL: webhook.EVENTS_QUEUE_URL,
  QUARANTINE_QUEUE_URL: webhook.QUARANTINE_QUEUE_URL,
  DEAD_LETTER_QUEUE_URL: "https://sqs.eu-west-1.amazonaws.com/000000000000/dead-letters",
  LEDGER_TABLE: "ledger",
};

/** The sentence that a person finds in the log. */
function problem(start: () => unknown): string {
  try {
    start();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  assert.fail("it started");
}

const unusable: [how: string, value: string | undefined][] = [
  ["missing", undefined],
  ["empty", ""],
  ["blank", " \t "],
  ["ended by a line break", "a value of some length\n"],
  ["preceded by a space", " a value of some length"],
  ["the text undefined", "undefined"],
  ["the text null", "null"],
  ["the text [object Object]", "[object Object]"],
  ["a template", "$" + "{ENCRYPT_KEY}"],
  ["another template", "{{ key }}"],
  ["a blank to fill in", "<your key here>"],
  ["a word of advice", "your-encrypt-key"],
  ["another word of advice", "CHANGE_ME"],
  ["crosses", "xxxxxxxxxxxxxxxx"],
  ["stars", "****************"],
  ["dots", "..."],
  ["an ellipsis", "…"],
];

describe("the settings of the webhook", () => {
  test("make the keys of one app, and no warning", () => {
    const { keys, warnings, eventsQueueUrl, quarantineQueueUrl, isMarketplace } = webhookConfig(webhook);
    assert.deepEqual(
      [isMarketplace, webhookConfig({ ...webhook, MARKETPLACE_APP: "true" }).isMarketplace],
      [false, true],
    );
    const app = keys.get(defaultApp);
    assert.deepEqual([...keys.keys()], [defaultApp]);
    assert.equal(app?.appId, webhook.APP_ID);
    assert.deepEqual(
      app?.encryptKeys.map(({ value }) => value),
      [webhook.ENCRYPT_KEY],
    );
    assert.deepEqual(
      app?.verificationTokens.map(({ value }) => value),
      [webhook.VERIFICATION_TOKEN],
    );
    assert.deepEqual([eventsQueueUrl, quarantineQueueUrl], [webhook.EVENTS_QUEUE_URL, webhook.QUARANTINE_QUEUE_URL]);
    assert.deepEqual(warnings, []);
  });

  for (const name of Object.keys(webhook)) {
    for (const [how, value] of unusable) {
      test(`C-44, C-32, R3: cannot be used while ${name} is ${how}, and the log names it but not its value`, () => {
        const message = problem(() => webhookConfig({ ...webhook, [name]: value }));
        assert.match(message, new RegExp(`^Cannot start: ${name} (is|begins) `));
        if (value !== undefined && value.length > 10) assert.ok(!message.includes(value.trim()));
      });
    }
  }

  for (const name of ["EVENTS_QUEUE_URL", "QUARANTINE_QUEUE_URL"]) {
    test(`cannot be used while ${name} is no address`, () => {
      for (const value of [
        "events",
        "arn:aws:sqs:eu-west-1:000000000000:events",
        "file:///tmp/x",
        "http://",
        "//host/x",
      ]) {
        assert.match(
          problem(() => webhookConfig({ ...webhook, [name]: value })),
          new RegExp(`^Cannot start: ${name} is not an`),
        );
      }
    });
  }

  test("warn of a secret that is short, without printing it", () => {
    const { warnings } = webhookConfig({ ...webhook, ENCRYPT_KEY: "short key", VERIFICATION_TOKEN: "short one" });
    assert.equal(warnings.length, 2);
    assert.match(warnings[0] ?? "", /^ENCRYPT_KEY is shorter than 16 characters/);
    assert.match(warnings[1] ?? "", /^VERIFICATION_TOKEN is shorter/);
    assert.ok(!warnings.join().includes("short key") && !warnings.join().includes("short one"));
  });

  test("C-45: refuse plain text unless it is allowed", () => {
    for (const ALLOW_UNENCRYPTED of [undefined, "", "false"]) {
      assert.match(
        problem(() => webhookConfig({ ...webhook, ENCRYPT_KEY: undefined, ALLOW_UNENCRYPTED })),
        /ENCRYPT_KEY is not set/,
      );
    }
    for (const ALLOW_UNENCRYPTED of ["yes", "1", "TRUE", " true", "on"]) {
      assert.match(
        problem(() => webhookConfig({ ...webhook, ALLOW_UNENCRYPTED })),
        /ALLOW_UNENCRYPTED is neither/,
      );
    }
  });

  test("C-46: take plain text when that is allowed, with a warning, and still ask for a token", () => {
    for (const ENCRYPT_KEY of [undefined, ""]) {
      const allowed = { ...webhook, ENCRYPT_KEY, ALLOW_UNENCRYPTED: "true" };
      const { keys, warnings } = webhookConfig(allowed);
      assert.deepEqual(keys.get(defaultApp)?.encryptKeys, []);
      assert.match(warnings.join(), /ALLOW_UNENCRYPTED is on/);
      assert.match(
        problem(() => webhookConfig({ ...allowed, VERIFICATION_TOKEN: undefined })),
        /VERIFICATION_TOKEN/,
      );
    }
  });

  test("C-45: do not take a broken key for no key, although plain text is allowed", () => {
    for (const ENCRYPT_KEY of [" ", "undefined", "key\n"]) {
      assert.match(
        problem(() => webhookConfig({ ...webhook, ENCRYPT_KEY, ALLOW_UNENCRYPTED: "true" })),
        /ENCRYPT_KEY/,
      );
    }
  });

  test("C-45: with a key, allowing plain text changes nothing", () => {
    const [without, with_] = [webhookConfig(webhook), webhookConfig({ ...webhook, ALLOW_UNENCRYPTED: "true" })];
    const values = ({ keys }: typeof without) => keys.get(defaultApp)?.encryptKeys.map(({ value }) => value);
    assert.deepEqual(values(with_), values(without));
    assert.deepEqual(with_.warnings, without.warnings);
  });

  test("take a key as it is, inner spaces and other alphabets included", () => {
    for (const ENCRYPT_KEY of [
      "test key",
      "\u94a5\u5319 of sixteen characters",
      "-".repeat(8).concat("x"),
      "example of a key",
    ]) {
      assert.equal(webhookConfig({ ...webhook, ENCRYPT_KEY }).keys.get(defaultApp)?.encryptKeys[0]?.value, ENCRYPT_KEY);
    }
  });
});

describe("the settings of the worker", () => {
  test("name its queues, its table and its app", () => {
    const { laneOf: _, ...settings } = workerConfig({ ...worker, MAX_DEFERRALS: "9", DEFER_FOR_SECONDS: "60" });
    assert.deepEqual(settings, {
      appId: worker.APP_ID,
      appSecret: undefined,
      stored: undefined,
      eventsQueueUrl: worker.EVENTS_QUEUE_URL,
      quarantineQueueUrl: worker.QUARANTINE_QUEUE_URL,
      isMarketplace: false,
      deadLetterQueueUrl: worker.DEAD_LETTER_QUEUE_URL,
      ledgerTable: worker.LEDGER_TABLE,
      ...{ maxDeferrals: 9, deferForSeconds: 60 },
    });
  });

  for (const name of Object.keys(worker)) {
    test(`R3: cannot be used while ${name} is missing, blank or a placeholder`, () => {
      for (const [, value] of unusable)
        assert.match(
          problem(() => workerConfig({ ...worker, [name]: value })),
          new RegExp(name),
        );
    });
  }
});

describe("the settings of the callback's function", () => {
  test("are those of the webhook, a table, a deadline and perhaps the app's secret", () => {
    const { keys, laneOf: _, ...settings } = callbackConfig({ ...callback, APP_SECRET: "the secret of an app" });
    assert.deepEqual(settings, {
      eventsQueueUrl: webhook.EVENTS_QUEUE_URL,
      quarantineQueueUrl: webhook.QUARANTINE_QUEUE_URL,
      isMarketplace: false,
      warnings: [],
      stored: undefined,
      appSecret: "the secret of an app",
      ledgerTable: "ledger",
      deadlineMs: 2_300,
      ...chainLimits,
    });
    assert.equal(keys.get(defaultApp)?.oldCards, false);
  });

  for (const name of Object.keys(callback)) {
    test(`C-44, R3: cannot be used while ${name} is missing, blank or a placeholder`, () => {
      for (const [, value] of unusable)
        assert.match(
          problem(() => callbackConfig({ ...callback, [name]: value })),
          new RegExp(`^Cannot start: ${name} `),
        );
    });
  }

  test("C-78: let old cards in with LEGACY_CARD_CALLBACK=true and nothing else, for this function only", () => {
    const oldCards = (LEGACY_CARD_CALLBACK: string | undefined) =>
      callbackConfig({ ...callback, LEGACY_CARD_CALLBACK }).keys.get(defaultApp)?.oldCards;
    for (const off of [undefined, "", "false"]) assert.equal(oldCards(off), false);
    assert.equal(oldCards("true"), true);
    for (const unclear of ["1", "yes", "on", "TRUE", "True", " true", "true\n", "null"]) {
      assert.match(
        problem(() => oldCards(unclear)),
        /^Cannot start: LEGACY_CARD_CALLBACK is neither "true" nor "false"$/,
      );
    }
    for (const LEGACY_CARD_CALLBACK of ["true", "nonsense"]) {
      assert.equal(webhookConfig({ ...webhook, LEGACY_CARD_CALLBACK }).keys.get(defaultApp)?.oldCards, false);
    }
  });

  test("C-78: say the same where the keys are stored", () => {
    const { ENCRYPT_KEY: _, VERIFICATION_TOKEN: __, ...rest } = callback;
    const stored = { ...rest, SECRETS_PARAMETER: "/app", LEGACY_CARD_CALLBACK: "true" };
    assert.deepEqual(callbackConfig(stored).stored, {
      parameter: "/app",
      appId: webhook.APP_ID,
      oldCards: true,
      staleMs: undefined,
    });
    assert.equal(callbackConfig({ ...stored, LEGACY_CARD_CALLBACK: "false" }).stored?.oldCards, false);
    assert.equal(webhookConfig(stored).stored?.oldCards, false);
    assert.equal(workerConfig({ ...worker, ...stored }).stored?.oldCards, false);
  });

  test("K1: say how long old keys are used while the store fails, and the same to each function", () => {
    const { ENCRYPT_KEY: _, VERIFICATION_TOKEN: __, ...rest } = callback;
    const staleMs = (STALE_KEYS_SECONDS: string) => {
      const env = { ...worker, ...rest, SECRETS_PARAMETER: "/app", STALE_KEYS_SECONDS };
      return [webhookConfig, callbackConfig, workerConfig].map((read) => read(env).stored?.staleMs);
    };
    assert.deepEqual(staleMs("7200"), [7_200_000, 7_200_000, 7_200_000]);
    assert.deepEqual(staleMs(""), [undefined, undefined, undefined]);
    for (const text of ["0", "-1", "1h", "1e3", "2.5", " 300"]) {
      assert.match(
        problem(() => staleMs(text)),
        /^Cannot start: STALE_KEYS_SECONDS is not a whole number above 0$/,
      );
    }
  });

  test("give a handler as long as the platform waits, and no longer", () => {
    const deadlineMs = (CALLBACK_DEADLINE_MS: string) =>
      callbackConfig({ ...callback, CALLBACK_DEADLINE_MS }).deadlineMs;
    assert.deepEqual(["", "100", "1500", "2500"].map(deadlineMs), [2_300, 100, 1_500, 2_500]);
    for (const ms of ["99", "2501", "3000", "0", "-1", "1e3", "2.5", "2300 ms", "Infinity"]) {
      assert.match(
        problem(() => deadlineMs(ms)),
        /^Cannot start: CALLBACK_DEADLINE_MS is not /,
      );
    }
  });

  test("C-46: take plain text when that is allowed, as the webhook does", () => {
    const allowed = { ...callback, ENCRYPT_KEY: undefined, ALLOW_UNENCRYPTED: "true" };
    assert.deepEqual(callbackConfig(allowed).keys.get(defaultApp)?.encryptKeys, []);
    assert.match(
      problem(() => callbackConfig({ ...allowed, ALLOW_UNENCRYPTED: "false" })),
      /ENCRYPT_KEY is not set/,
    );
  });
});

describe("the app's secret", () => {
  const starts: [who: string, start: (APP_SECRET: string | undefined) => string | undefined][] = [
    ["the callback's function", (APP_SECRET) => callbackConfig({ ...callback, APP_SECRET }).appSecret],
    ["the worker", (APP_SECRET) => workerConfig({ ...worker, APP_SECRET }).appSecret],
    [
      "the stored secrets",
      (appSecret) =>
        parseSecrets(
          JSON.stringify({
            appId: webhook.APP_ID,
            appSecret,
            encryptKeys: [{ value: webhook.ENCRYPT_KEY }],
            verificationTokens: [{ value: webhook.VERIFICATION_TOKEN }],
          }),
        ).appSecret,
    ],
  ];
  for (const [who, start] of starts) {
    test(`C-77: of ${who} may be missing, and is never a blank or a placeholder, which anyone could sign with`, () => {
      assert.equal(start("the secret of an app"), "the secret of an app");
      for (const none of [undefined, ""]) assert.equal(start(none), undefined);
      for (const [how, value] of unusable) {
        if (value === undefined || value === "") continue;
        const message = problem(() => start(value));
        assert.match(message, /^Cannot start: APP_SECRET (is|begins) /, how);
        if (value.length > 10) assert.ok(!message.includes(value.trim()), how);
      }
    });
  }

  test("is not looked at by the webhook, which has no use for it", () => {
    assert.ok(webhookConfig({ ...webhook, APP_SECRET: "undefined" }));
  });
});

describe("the lanes", () => {
  const LANES =
    '{"ai":{"types":["im.message.receive_v1"],"order":"message.chat_id"},"bulk":{"types":["contact.*","app_open"]}}';

  test("are found by the exact type or by its beginning, and none is the default one", () => {
    const connection = { ...worker, APP_SECRET: "an app secret of some length" };
    for (const { laneOf } of [
      ...[webhookConfig({ ...webhook, LANES }), callbackConfig({ ...callback, LANES })],
      ...[workerConfig({ ...worker, LANES }), longConnectionConfig({ ...connection, LANES })],
    ]) {
      const types = ["im.message.receive_v1", "contact.user.created_v3", "app_open", "app_opened", "contact", ""];
      const names = types.map((type) => laneOf(type)?.name);
      assert.deepEqual(names, ["ai", "bulk", "bulk", undefined, undefined, undefined]);
    }
    assert.equal(webhookConfig(webhook).laneOf("app_open"), undefined);
    assert.equal(webhookConfig({ ...webhook, LANES: '{"old":{"types":[]}}' }).laneOf("app_open"), undefined);
  });

  for (const LANES of [
    ...["ai", "[]", "5", "null", "{", '"{}"', '{"ai":{}}', '{"ai":null}', '{"ai":["app_open"]}'],
    ...['{"ai":{"types":"app_open"}}', '{"ai":{"types":[""]}}', '{"ai":{"types":[5]}}', '{"AI":{"types":[]}}'],
    ...['{"a-b":{"types":[]}}', '{"default2345678901":{"types":[]}}', '{"":{"types":[]}}'],
    ...['{"ai":{"types":[],"order":""}}', '{"ai":{"types":[],"order":5}}', '{"ai":{"types":[],"order":null}}'],
  ]) {
    test(`are refused while LANES is ${LANES}`, () => {
      for (const read of [() => webhookConfig({ ...webhook, LANES }), () => workerConfig({ ...worker, LANES })]) {
        assert.match(problem(read), /^Cannot start: LANES is not .*Copy it from the stack's output Lanes$/);
      }
    });
  }

  test("have queues of their own, by whose name a worker knows where a record came from", () => {
    const url = "https://sqs.eu-west-1.amazonaws.com/000000000000/app-prod-events";
    const own = (name: string) => ownQueue({ eventSourceARN: `arn:aws:sqs:eu-west-1:000000000000:${name}` }, url);
    const isFifo = false;
    for (const lane of parseLanes(LANES)) {
      const queue = laneQueueUrl(url, lane);
      assert.deepEqual(own(queue.slice(queue.lastIndexOf("/") + 1)), {
        ...{ url: queue, lane: lane.name, isFifo: lane.order !== undefined },
      });
    }
    assert.deepEqual(
      parseLanes(LANES).map((lane) => laneQueueUrl(url, lane).slice(url.length)),
      ["-ai.fifo", "-bulk"],
    );
    for (const name of ["app-prod-events", "other", "app-prod-eventsai", ""])
      assert.deepEqual(own(name), { url, isFifo });
    assert.deepEqual(ownQueue({} as { eventSourceARN: string }, url), { url, isFifo });
  });
});

test("C-75: nothing starts while certificates are not checked", () => {
  const unchecked = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
  assert.match(
    problem(() => webhookConfig({ ...webhook, ...unchecked })),
    /NODE_TLS_REJECT_UNAUTHORIZED is 0/,
  );
  assert.match(
    problem(() => workerConfig({ ...worker, ...unchecked })),
    /NODE_TLS_REJECT_UNAUTHORIZED is 0/,
  );
  assert.match(
    problem(() => callbackConfig({ ...callback, ...unchecked })),
    /NODE_TLS_REJECT_UNAUTHORIZED is 0/,
  );
  assert.ok(webhookConfig({ ...webhook, NODE_TLS_REJECT_UNAUTHORIZED: "1" }));
});

describe("the settings of the long connection", () => {
  const { DEAD_LETTER_QUEUE_URL: _, ...rest } = worker;
  const connection = { ...rest, APP_SECRET: "an app secret of some length" };

  test("are the app, its queues and where the platform is, and no Encrypt Key or Verification Token", () => {
    const { laneOf: _, ...config } = longConnectionConfig(connection);
    assert.deepEqual(config, {
      ...{ appId: connection.APP_ID, appSecret: connection.APP_SECRET, ledgerTable: "ledger" },
      ...{ eventsQueueUrl: connection.EVENTS_QUEUE_URL, quarantineQueueUrl: connection.QUARANTINE_QUEUE_URL },
      isMarketplace: false,
      api: {
        ...{ appId: connection.APP_ID, origin: "https://open.feishu.cn", isMarketplace: false },
        ...{ proxyEnv: {}, warnings: [] },
      },
      ...{ deadlineMs: 2_300, healthPort: undefined, stored: undefined, ...chainLimits },
    });
    const { api, deadlineMs, healthPort } = longConnectionConfig({
      ...connection,
      ...{ LARK_DOMAIN: "lark", CALLBACK_DEADLINE_MS: "1000", HEALTH_PORT: "8080" },
    });
    assert.deepEqual([api.origin, deadlineMs, healthPort], ["https://open.larksuite.com", 1_000, 8_080]);
    assert.equal(longConnectionConfig({ ...connection, HEALTH_PORT: "65535" }).healthPort, 65_535);
  });

  for (const name of Object.keys(connection)) {
    for (const [how, value] of unusable) {
      test(`L4: cannot be used while ${name} is ${how}`, () => {
        const message = problem(() => longConnectionConfig({ ...connection, [name]: value }));
        assert.match(message, new RegExp(`^Cannot start: ${name} (is|begins) `));
      });
    }
  }

  const wrong: [name: string, value: string][] = [
    ["APP_ID", "cli_short"],
    ["APP_ID", "cli_00000000000000a1x"],
    ["APP_ID", "app_00000000000000a1"],
    ["APP_ID", "xcli_00000000000000a1"],
    ["APP_ID", "cli_00000000000000\u00e1"],
    ["HEALTH_PORT", "0"],
    ["HEALTH_PORT", "65536"],
    ["HEALTH_PORT", "http"],
    ["CALLBACK_DEADLINE_MS", "9000"],
    ["LARK_DOMAIN", "https://example.com"],
    ["ALLOW_OTHER_DOMAIN", "yes"],
    ["MARKETPLACE_APP", "true"],
  ];
  for (const [name, value] of wrong) {
    test(`L4, L13: cannot be used while ${name} is ${value}, and no value is told`, () => {
      const message = problem(() => longConnectionConfig({ ...connection, [name]: value }));
      assert.match(message, new RegExp(`^Cannot start: .*${name}`));
      assert.ok(!message.includes(connection.APP_SECRET));
    });
  }

  test("may name another's host only where that is allowed, and stored secrets instead of the secret", () => {
    const other = { ...connection, LARK_DOMAIN: "https://feishu.example.com", ALLOW_OTHER_DOMAIN: "true" };
    assert.equal(longConnectionConfig(other).api.origin, "https://feishu.example.com");
    const stored = longConnectionConfig({ ...connection, APP_SECRET: undefined, SECRETS_PARAMETER: "/larkpost/app" });
    assert.equal(stored.appSecret, undefined);
    assert.equal(stored.stored?.parameter, "/larkpost/app");
  });
});
