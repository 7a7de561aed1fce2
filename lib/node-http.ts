/**
 * Node's module `http`, as an object. An import reads all that it exports, and with that loads `fetch` and WebSockets:
 * up to a tenth of a second of CPU in each process that starts.
 */
export const http = process.getBuiltinModule("node:http");

/** Loaded where it is used: TLS takes a fifth of a function's start, and this machine's own endpoints need none. */
export const https = () => process.getBuiltinModule("node:https");
export const tls = () => process.getBuiltinModule("node:tls");
