/** The head of an answer whose body has a known length. */
export interface PlainHead {
  readonly status: number;
  /** Names are in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly bodyBytes: number;
}

/**
 * What comes before the empty line of an HTTP/1.1 answer, if nothing in it needs a whole HTTP parser: each header once, a
 * `content-length`, no coding of the body, a connection that stays open. `undefined` for everything else, also for what
 * is no HTTP. https://www.rfc-editor.org/rfc/rfc9112
 */
export function plainHead(text: string): PlainHead | undefined {
  const [first = "", ...lines] = text.split("\r\n");
  // They have no body, whatever their length.
  const [, status] = /^HTTP\/1\.1 (?!204|304)(\d{3}) /.exec(first) ?? [];
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines) {
    const [, name = "", value = ""] = /^([\w-]+):[ \t]*([ -~]*)$/.exec(line) ?? [];
    const key = name.toLowerCase();
    if (key === "" || key in headers) return;
    headers[key] = value.trimEnd();
  }
  const { "content-length": length = "", "transfer-encoding": coding, connection = "keep-alive" } = headers;
  const isPlain = coding === undefined && connection.toLowerCase() === "keep-alive" && /^\d{1,9}$/.test(length);
  if (status === undefined || !isPlain) return;
  return { status: Number(status), headers, bodyBytes: Number(length) };
}
