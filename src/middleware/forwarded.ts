/** Parses `Forwarded` (RFC 7239, section 4). */

/** The parameters of one hop, by name in lower case. */
export type Hop = ReadonlyMap<string, string>

/** `name=token`, `name="quoted"` or nothing, and the ';' after it. */
const PAIR =
  /[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~-]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?(?:;|$)/y

/**
 * Returns the hops in order, the nearest last; undefined if the nearest one is malformed.
 *
 * It reads from the right, because a proxy appends to what the client sent: an unterminated string
 * from the client must not swallow the proxy's part. Parsing stops at the first malformed hop.
 */
export function parseForwarded(value: string): Hop[] | undefined {
  const hops: Hop[] = []
  for (const element of elementsFromRight(value)) {
    const hop = parseHop(element)
    if (hop === undefined) break
    // Elements of a list may be empty (RFC 9110, section 5.6.1.2).
    if (hop.size > 0) hops.push(hop)
  }
  return hops.length > 0 ? hops.toReversed() : undefined
}

/** Splits at each comma that is not inside quotes. */
function* elementsFromRight(value: string): Generator<string, void, undefined> {
  let end = value.length
  let quoted = false
  for (let i = end - 1; i >= 0; i -= 1) {
    if (value[i] === '"' && !isEscaped(value, i)) quoted = !quoted
    else if (value[i] === ',' && !quoted) {
      yield value.slice(i + 1, end)
      end = i
    }
  }
  yield value.slice(0, end)
}

/** Whether an odd number of backslashes is before `at`. */
function isEscaped(value: string, at: number): boolean {
  let start = at
  while (value[start - 1] === '\\') start -= 1
  return (at - start) % 2 === 1
}

function parseHop(element: string): Hop | undefined {
  const hop = new Map<string, string>()
  PAIR.lastIndex = 0
  while (PAIR.lastIndex < element.length) {
    const pair = PAIR.exec(element)
    if (pair === null) return undefined
    const [, name, token, quoted = ''] = pair
    if (name !== undefined) hop.set(name.toLowerCase(), token ?? quoted.replace(/\\(.)/g, '$1'))
  }
  return hop
}
