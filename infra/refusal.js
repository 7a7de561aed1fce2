import { ConfigError } from "../lib/errors.ts";

/**
 * An error that osls, too, prints as its message alone, without a stack.
 * @param {string} message
 */
export function refusal(message) {
  const error = new ConfigError(message);
  error.stack = message;
  return error;
}
