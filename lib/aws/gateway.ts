import { fieldsOf, type JsonObject, stringOf } from "../feishu/json.ts";
import { answerHttp, type HttpOptions, type HttpRequest } from "../receiving/http.ts";

/** The response that API Gateway takes from a function, for every shape of its events. */
export interface HttpResponse {
  statusCode: number;
  headers: Readonly<Record<string, string>>;
  body: string;
  isBase64Encoded: boolean;
  /** Set when the request had them: a load balancer with multi-value headers ignores `headers`. */
  multiValueHeaders?: Record<string, string[]>;
}

/** Answers an event of API Gateway, a Function URL or a load balancer in its own shape. Never throws. */
export async function answerGateway(event: unknown, options: HttpOptions): Promise<HttpResponse> {
  const { status, headers, body } = await answerHttp(fromApiGateway(event), options);
  const response = { statusCode: status, headers, body, isBase64Encoded: false };
  if (Object.keys(fieldsOf(fieldsOf(event)["multiValueHeaders"])).length === 0) return response;
  const lists = Object.entries(headers).map(([name, value]) => [name, [value]]);
  return { ...response, multiValueHeaders: Object.fromEntries(lists) };
}

/** Reads the events of HTTP APIs (payload 2.0), REST APIs (1.0), Function URLs and load balancers. Absent members read as empty. */
export function fromApiGateway(event: unknown): HttpRequest {
  const root = fieldsOf(event);
  const context = fieldsOf(root["requestContext"]);
  const http = fieldsOf(context["http"]);
  const { body } = root;
  const route = stringOf(root["routeKey"]) ?? stringOf(root["resource"]);
  const text = stringOf(body) ?? "";
  const isBase64 = root["isBase64Encoded"] === true;
  const stage = context["http"] === undefined ? undefined : stringOf(context["stage"]);
  return {
    method: stringOf(http["method"]) ?? stringOf(root["httpMethod"]) ?? "",
    path: isOwn(route) ? "/" : normalPath(stringOf(root["rawPath"]) ?? stringOf(root["path"]) ?? "", stage),
    headers: headersOf(root),
    bodyBytes: isBase64 ? base64Bytes(text) : Buffer.byteLength(text, "utf8"),
    rawBody: () => (isBase64 ? Buffer.from(text, "base64") : text),
    sourceIp: stringOf(http["sourceIp"]) ?? stringOf(fieldsOf(context["identity"])["sourceIp"]),
  };
}

/** Few of the headers are read, so each is looked for when it is asked for. */
function headersOf(root: JsonObject): HttpRequest["headers"] {
  const lists = fieldsOf(root["multiValueHeaders"]);
  const sent = Object.keys(lists).length > 0 ? lists : fieldsOf(root["headers"]);
  const names = Object.keys(sent);
  return {
    get(wanted) {
      let found: string | undefined;
      for (const name of names) {
        if (name.length !== wanted.length || name.toLowerCase() !== wanted) continue;
        const text = textOf(sent[name]);
        if (text !== undefined) found = found === undefined || found === text ? text : `${found},${text}`;
      }
      return found;
    },
  };
}

function textOf(value: unknown): string | undefined {
  if (!Array.isArray(value)) return stringOf(value);
  const texts = value.filter((item) => typeof item === "string");
  return texts.length === 0 ? undefined : texts.join(",");
}

/** Whether the gateway matched a path that was routed to this function by name: neither `$default` nor `/{proxy+}`. */
function isOwn(route: string | undefined): boolean {
  return route !== undefined && route !== "$default" && !route.includes("{");
}

/** HTTP APIs put the name of the stage in front of `rawPath`, except for `$default`. */
function normalPath(path: string, stage: string | undefined): string {
  const parts = path.split("/").filter((part) => part !== "");
  if (stage !== undefined && stage !== "$default" && parts[0] === stage) parts.shift();
  return `/${parts.join("/")}`;
}

function base64Bytes(text: string): number {
  const padding = Number(text.endsWith("=")) + Number(text.endsWith("=="));
  return Math.floor((text.length * 3) / 4) - padding;
}
