/**
 * Node's module `http`, as an object. An import reads all that it exports, and with that loads `fetch` and WebSockets:
 * up to a tenth of a second of CPU in each process that starts.
 */
export const http = process.getBuiltinModule("node:http");
