// The official SDK looks for its package.json beside itself, by a name that only CommonJS has.
Object.assign(globalThis, { __dirname: import.meta.dirname });
