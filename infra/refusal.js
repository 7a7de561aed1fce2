import { ConfigError } from "../lib/errors.ts";

/**
 * An error that osls prints without its stack.
 * @param {string} message
 */
export function refusal(message) {
  const error = new ConfigError(message);
  error.stack = message;
  return error;
}
