import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { type Client, drive, startSimulate } from "./drive.ts";

// `npm run clients`: the official SDKs for Python, Go and Java against `larkpost simulate`, as the Feishu documents use
// them (seeds 000 to 003). A client runs where its language and its SDK are; of the others it is said what they need.

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "larkpost-clients-"));
const source = (name: string) => join(import.meta.dirname, name);
const answers = { printsApproval: true, toast: "卡片回传成功 button", title: "链接预览测试 https://example.com/17" };

interface Candidate {
  readonly name: string;
  readonly needs: string;
  /** Rejects where the language or the SDK is missing. */
  readonly prepare: () => Promise<Pick<Client, "command" | "args" | "env">>;
}

const candidates: readonly Candidate[] = [
  {
    name: "the official Python SDK (seeds 000, 001, 003)",
    needs: "python3 and lark-oapi (pip install lark-oapi)",
    async prepare() {
      const { PYTHONPATH } = process.env;
      await run("python3", ["-c", "import lark_oapi"]);
      return { command: "python3", args: [source("python_sdk.py")], env: { PYTHONPATH } };
    },
  },
  {
    name: "the official Go SDK (seeds 000, 001, 002)",
    needs: "go and github.com/larksuite/oapi-sdk-go/v3 in its module cache (go mod download, in test/clients/go)",
    async prepare() {
      const cwd = join(folder, "go");
      cpSync(source("go"), cwd, { recursive: true });
      // Only what has been downloaded: a build must not wait for a network.
      const env = { ...process.env, GOPROXY: "off", GOSUMDB: "off", GOFLAGS: "-mod=mod" };
      await run("go", ["build", "-o", "client", "."], { cwd, env });
      return { command: join(cwd, "client"), args: [] };
    },
  },
  {
    name: "the official Java SDK (seeds 000, 001)",
    needs: "javac and com.larksuite.oapi:oapi-sdk with its dependencies in CLASSPATH",
    async prepare() {
      const { CLASSPATH = "" } = process.env;
      if (CLASSPATH === "") throw new Error("CLASSPATH is not set");
      await run("javac", ["-d", folder, source("Sample.java")]);
      return { command: "java", args: ["-cp", [folder, CLASSPATH].join(delimiter), "Sample"] };
    },
  },
];

const simulate = await startSimulate();
let ran = 0;
try {
  for (const { name, needs, prepare } of candidates) {
    const prepared = await prepare().catch((error: Error) => error);
    if (prepared instanceof Error) {
      console.log(`- ${name} has not run: it needs ${needs}`);
      if (process.argv.includes("--verbose")) console.log(prepared.message);
      continue;
    }
    ran++;
    try {
      await drive({ ...prepared, ...answers }, simulate);
      console.log(`✔ ${name} connects, receives events and callbacks, answers and sends`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`✖ ${name}`, error);
    }
  }
} finally {
  await simulate.stop();
  rmSync(folder, { recursive: true });
}
console.log(`${ran} of ${candidates.length} clients have run.`);
