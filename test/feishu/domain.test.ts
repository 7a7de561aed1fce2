import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConfigError } from "../../lib/errors.ts";
import { apiOrigin, isLoopback, isPlatformHost } from "../../lib/feishu/domain.ts";
import { apiConfig } from "../../lib/open-api/config.ts";

describe("LARK_DOMAIN", () => {
  const taken: [setting: string | undefined, origin: string][] = [
    [undefined, "https://open.feishu.cn"],
    ["", "https://open.feishu.cn"],
    ["feishu", "https://open.feishu.cn"],
    ["lark", "https://open.larksuite.com"],
    ["https://open.feishu.cn", "https://open.feishu.cn"],
    ["https://open.larksuite.com/", "https://open.larksuite.com"],
    ["https://internal-api.feishu.cn/open-apis", "https://internal-api.feishu.cn"],
    ["http://127.0.0.1:4000", "http://127.0.0.1:4000"],
    ["http://localhost:4000", "http://localhost:4000"],
    ["http://[::1]:4000", "http://[::1]:4000"],
  ];
  for (const [setting, origin] of taken) {
    test(`C-74: ${JSON.stringify(setting) ?? "not set"} is ${origin}`, () => assert.equal(apiOrigin(setting), origin));
  }

  const others = [
    "https://open.feishu.cn.example.com",
    "https://open-feishu.cn",
    "https://evilfeishu.cn",
    "https://open.feishu.cn@example.com",
    "https://example.com/open.feishu.cn",
    "https://example.com#open.feishu.cn",
    "https://xn--fishu-3oa.cn",
    "https://127.0.0.1",
    "https://169.254.169.254",
    "https://open.feishu.cn.",
  ];
  test(`C-74: a host that is not the platform's is refused unless it is allowed: ${others.length} of ${others.length}`, () => {
    for (const other of others) {
      assert.throws(() => apiOrigin(other), ConfigError, other);
      assert.equal(apiOrigin(other, { allowOther: true }), new URL(other).origin);
    }
  });

  test("C-74: what is not https is refused, allowed or not; so is what is no URL", () => {
    for (const setting of [
      ...["http://open.feishu.cn", "http://example.com", "http://127.0.0.1.example.com", "ftp://open.feishu.cn"],
      ...["Feishu", "open.feishu.cn", "https://", "file:///", "javascript:1"],
    ]) {
      for (const allowOther of [false, true])
        assert.throws(() => apiOrigin(setting, { allowOther }), ConfigError, setting);
    }
  });
});

test("C-74: the settings say it: ALLOW_OTHER_DOMAIN allows, and no other word does", () => {
  const env = { LARK_DOMAIN: "https://open.example.com" };
  const appId = "cli_00000000000000a1";
  assert.throws(() => apiConfig(env, appId), /LARK_DOMAIN is "open\.example\.com".*ALLOW_OTHER_DOMAIN=true allows it/);
  assert.throws(() => apiConfig({ ...env, ALLOW_OTHER_DOMAIN: "yes" }, appId), ConfigError);
  assert.deepEqual(apiConfig({ HTTPS_PROXY: "https://proxy.example:8080" }, appId).warnings, []);
  assert.deepEqual(apiConfig({ ...env, ALLOW_OTHER_DOMAIN: "true", MARKETPLACE_APP: "true" }, appId), {
    appId,
    origin: "https://open.example.com",
    isMarketplace: true,
    proxyEnv: {},
    warnings: [],
  });
  assert.equal(apiConfig({}, appId).isMarketplace, false);
  assert.throws(() => apiConfig({}, undefined), /APP_ID is not set/);
});

test("L13: a host is this machine's or the platform's by its whole name", () => {
  for (const host of ["127.0.0.1", "127.1.2.3", "localhost", "[::1]"]) assert.ok(isLoopback(host), host);
  for (const host of [
    "127.0.0.1.x",
    "x127.0.0.1",
    "127.0.0.1111",
    "127.0.0",
    "localhost.x",
    "0.0.0.0",
    "10.0.0.1",
    "::1",
    "",
  ]) {
    assert.ok(!isLoopback(host), host);
  }
  for (const host of ["feishu.cn", "a.b.feishu.cn", "larksuite.com"]) assert.ok(isPlatformHost(host), host);
  for (const host of ["xfeishu.cn", "feishu.cn.", "feishu.com", "cn", ""]) assert.ok(!isPlatformHost(host), host);
});
