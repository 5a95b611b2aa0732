/** `Forwarded` (RFC 7239, section 4), as the proxy in front writes it. */

/** One hop: parameters by their names in lower case. */
export type Hop = ReadonlyMap<string, string>

/** `name=token` or `name="quoted"`, with what ends it. */
const PAIR =
  /[ \t]*([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|"((?:[^"\\]|\\.)*)")[ \t]*(;|,|$)/y

/** The hops in their order, the nearest last; undefined if the value is malformed. */
export function parseForwarded(value: string): Hop[] | undefined {
  let hop = new Map<string, string>()
  const hops = [hop]
  PAIR.lastIndex = 0
  while (PAIR.lastIndex < value.length) {
    const [, name, token, quoted = '', end] = PAIR.exec(value) ?? []
    if (name === undefined) return undefined
    hop.set(name.toLowerCase(), token ?? quoted.replace(/\\(.)/g, '$1'))
    if (end === ',') hops.push((hop = new Map()))
  }
  return hops
}
