import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

const account = "<Arn>arn:aws:iam::111122223333:user/a</Arn><UserId>a</UserId><Account>111122223333</Account>";
const answers: ReadonlyMap<string, readonly [status: number, body: string]> = new Map([
  ["AmazonSSM.GetParameter", [400, '{"__type":"ParameterNotFound"}']],
  ["AmazonSSM.PutParameter", [200, '{"Version":1}']],
  ["GetCallerIdentity", [200, `<Response><GetCallerIdentityResult>${account}</GetCallerIdentityResult></Response>`]],
  ["DescribeStacks", [400, fault("ValidationError", "Stack with id x does not exist")]],
]);

function fault(code: string, message: string): string {
  return `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`;
}

/** An AWS on this machine that knows the user, stores a parameter, has no stack, and refuses to make one. */
export async function refusingAws() {
  /** The actions that were called, with the stack's name where there is one. */
  const calls: string[] = [];
  const server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request));
    const target = request.headers["x-amz-target"];
    const action = typeof target === "string" ? target : (form.get("Action") ?? "");
    calls.push([action, form.get("StackName")].filter((word) => word !== null).join(" "));
    const refusal = target === undefined ? fault("AccessDenied", "refused here") : '{"__type":"AccessDeniedException"}';
    const [status, body] = answers.get(action) ?? [400, refusal];
    response.writeHead(status).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    calls,
    env: {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
      AWS_SECRET_ACCESS_KEY: "a secret",
    },
    close: () => server.close(),
  };
}
