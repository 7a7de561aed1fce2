/** A handler's further secrets, by name. */
export type Secrets = Readonly<Record<string, string>>;

/**
 * Secrets as handlers read them: none is listed, copied or printed with the object.
 * @param read The value of a name; throws where there is none, since a request with `undefined` in it helps nobody.
 */
export function secretsFrom(read: (name: string) => string): Secrets {
  const isName = (member: string | symbol): member is string => typeof member === "string" && /^[A-Z]/.test(member);
  return new Proxy({}, { get: (target, member) => (isName(member) ? read(member) : Reflect.get(target, member)) });
}
