import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { generate } from "selfsigned";
import { DeadlineError, NonRetryableError } from "../lib/errors.ts";
import { fetchPublic, isPublic, type Network, publicFetch, UnsafeUrlError } from "../lib/public-fetch.ts";

const publicAddress = "93.184.215.14";
const names = new Map<string, string[]>([
  ["files.example.com", [publicAddress]],
  ["other.example.com", [publicAddress]],
  ["inside.example.com", ["10.0.0.7"]],
  ["both.example.com", [publicAddress, "169.254.169.254"]],
  ["mapped.example.com", ["::ffff:127.0.0.1"]],
  ["nowhere.example.com", []],
]);
const asked: string[] = [];
const got: IncomingMessage[] = [];
let network: Network;
let fetchIt: ReturnType<typeof publicFetch>;
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let connected: LookupAddress[] = [];
let server: ReturnType<typeof createServer>;

before(async () => {
  const pems = await generate([{ name: "commonName", value: "files.example.com" }], {
    keyType: "rsa",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      {
        name: "subjectAltName",
        altNames: [...names.keys()].map((value) => ({ type: 2 as const, value })),
      },
    ],
  });
  server = createServer({ key: pems.private, cert: pems.cert }, (request, response) => {
    got.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  network = {
    async resolve(hostname) {
      asked.push(hostname);
      return (names.get(hostname) ?? []).map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    },
    connect: {
      ca: pems.cert,
      to(address) {
        connected.push(address);
        return { address: "127.0.0.1", port };
      },
    },
  };
  fetchIt = publicFetch(network);
});
after(() => {
  server.close();
  server.closeAllConnections();
});

function start(how: typeof answer): void {
  answer = how;
  asked.length = 0;
  got.length = 0;
  connected = [];
}

describe("a URL from an event", () => {
  test("C-73: is fetched over https, from the address that was checked, without any credential", async () => {
    start((_request, response) => response.writeHead(200, { "content-type": "text/plain" }).end("the file"));
    const answer = await fetchIt("https://user:pass@files.example.com/a?b=c", {
      headers: { accept: "text/plain", Authorization: "Bearer x", cookie: "y", "x-api-key": "z" },
    });
    assert.equal(answer.body.toString(), "the file");
    assert.deepEqual([answer.status, answer.url], [200, "https://files.example.com/a?b=c"]);
    assert.equal(answer.headers.get("content-type"), "text/plain");
    assert.deepEqual(connected, [{ address: publicAddress, family: 4 }]);
    const { url, headers } = got[0] ?? assert.fail();
    assert.equal(url, "/a?b=c");
    assert.equal(headers.host, "files.example.com");
    assert.equal(headers.accept, "text/plain");
    assert.deepEqual([headers.authorization, headers.cookie, headers["x-api-key"]], [undefined, undefined, undefined]);
  });

  const refused = [
    "http://files.example.com/",
    "file:///etc/passwd",
    "ftp://files.example.com/",
    "data:text/plain,x",
    "gopher://files.example.com/",
    "//files.example.com/",
    "no url at all",
    "https://169.254.169.254/latest/meta-data/",
    "https://127.0.0.1/",
    "https://0x7f.1/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://127。0。0。1/",
    "https://10.1.2.3/",
    "https://100.100.100.200/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://0.0.0.0/",
    "https://255.255.255.255/",
    "https://224.0.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:8.8.8.8]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:1::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[ff02::1]/",
    "https://inside.example.com/",
    "https://both.example.com/",
    "https://mapped.example.com/",
    "https://files.example.com:8443/",
    "https://files.example.com:22/",
  ];
  test(`C-73: is refused when it leads inside, or is not https: ${refused.length} of ${refused.length}, and nothing is connected to`, async () => {
    start((_request, response) => response.end("inside"));
    for (const url of refused) await assert.rejects(fetchIt(url), UnsafeUrlError, url);
    assert.deepEqual(connected, []);
    assert.deepEqual(got, []);
  });

  test("C-73: is refused by the real resolver, too, where its name means this machine", async () => {
    await assert.rejects(fetchPublic("https://localhost/"), UnsafeUrlError);
  });

  test("C-73: each redirect is checked as the first was", async () => {
    for (const location of [
      "https://169.254.169.254/latest/meta-data/",
      "https://inside.example.com/",
      "http://files.example.com/plain",
      "file:///etc/passwd",
      "https://[::ffff:169.254.169.254]/",
      "https://files.example.com:8443/",
    ]) {
      start((_request, response) => response.writeHead(302, { location }).end());
      await assert.rejects(fetchIt("https://files.example.com/"), UnsafeUrlError, location);
      assert.equal(got.length, 1);
    }
  });

  test("C-73: redirects are followed three times, and not a fourth", async () => {
    const hops = (count: number) =>
      start(({ url }, response) => {
        const nth = Number(url?.slice(1) ?? 0);
        if (nth >= count) response.end("there");
        else response.writeHead(307, { location: `https://u:p@other.example.com/${nth + 1}` }).end();
      });
    hops(3);
    const answer = await fetchIt("https://files.example.com/0");
    assert.deepEqual([answer.url, answer.body.toString()], ["https://other.example.com/3", "there"]);
    assert.equal(
      got.some(({ headers }) => headers.authorization !== undefined),
      false,
    );
    hops(4);
    await assert.rejects(fetchIt("https://files.example.com/0"), NonRetryableError);
  });

  test("C-73: a name is resolved once a hop: it cannot mean another address after it was checked", async () => {
    let nth = 0;
    const rebinding = publicFetch({
      ...network,
      resolve: async () => [{ address: nth++ === 0 ? publicAddress : "127.0.0.1", family: 4 }],
    });
    start((_request, response) => response.end("outside"));
    assert.equal((await rebinding("https://files.example.com/")).body.toString(), "outside");
    assert.equal(nth, 1);
    assert.deepEqual(connected, [{ address: publicAddress, family: 4 }]);
    await assert.rejects(rebinding("https://files.example.com/"), UnsafeUrlError);
  });

  test("C-73: a certificate of another is refused", async () => {
    const { connect, resolve } = network;
    start((_request, response) => response.end());
    const wrongName = publicFetch({
      connect: connect ?? assert.fail(),
      resolve: async () => resolve("files.example.com"),
    });
    await assert.rejects(wrongName("https://stranger.example.com/"), { code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    assert.deepEqual(got, []);
  });

  test("is read up to its limit and no further", async () => {
    start((_request, response) => response.end(Buffer.alloc(1_001)));
    await assert.rejects(fetchIt("https://files.example.com/", { maxBytes: 1_000 }), NonRetryableError);
    assert.equal((await fetchIt("https://files.example.com/", { maxBytes: 1_001 })).body.length, 1_001);
    // One that never ends.
    start((_request, response) => {
      const more = () => {
        if (!response.destroyed) response.write(Buffer.alloc(10_000), () => setImmediate(more));
      };
      more();
    });
    await assert.rejects(fetchIt("https://files.example.com/", { maxBytes: 50_000 }), NonRetryableError);
  });

  test("is given up at its deadline, and at once when the run is over", async () => {
    start((_request, response) => void response.write("a beginning"));
    await assert.rejects(fetchIt("https://files.example.com/", { withinMs: 50 }), DeadlineError);
    const over = new AbortController();
    const waiting = fetchIt("https://files.example.com/", { signal: over.signal });
    over.abort(new Error("the run is over"));
    await assert.rejects(waiting, /the run is over/);
    const slow = publicFetch({ ...network, resolve: () => new Promise(() => {}) });
    await assert.rejects(slow("https://files.example.com/", { withinMs: 20 }), DeadlineError);
  });

  test("a name that leads nowhere is a failure that may pass", async () => {
    await assert.rejects(fetchIt("https://nowhere.example.com/"), (error: unknown) => {
      return error instanceof Error && !(error instanceof NonRetryableError);
    });
  });

  test("C-73: what is public is, and what is no address is not", () => {
    for (const address of ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"]) {
      assert.ok(isPublic(address), address);
    }
    for (const address of ["", "x", "fe80::1%eth0", "2606:4700::1111%eth0", "1.2.3", "168.63.129.16"]) {
      assert.ok(!isPublic(address), address);
    }
  });
});
