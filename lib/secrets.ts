/** A handler's further secrets, by name. */
export type Secrets = Readonly<Record<string, string>>;

/**
 * Secrets as handlers read them: none is listed, copied or printed with the object.
 * @param read Returns the value of a name, or throws: `undefined` must not get into a request.
 */
export function secretsFrom(read: (name: string) => string): Secrets {
  const isName = (member: string | symbol): member is string => typeof member === "string" && /^[A-Z]/.test(member);
  return new Proxy({}, { get: (target, member) => (isName(member) ? read(member) : Reflect.get(target, member)) });
}
