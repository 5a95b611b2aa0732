/** A cookie jar for tests (RFC 6265). */

interface Cookie {
  readonly name: string
  readonly value: string
  readonly path: string
}

/**
 * Keeps the cookies of one host. Max-Age and Expires only delete cookies: those that expire later are
 * kept. Names and values are byte strings.
 */
export class Cookies {
  readonly #cookies = new Map<string, Cookie>()
  readonly #host: string
  readonly #isSecure: boolean

  constructor(origin: URL) {
    this.#host = origin.hostname
    this.#isSecure = origin.protocol === 'https:' || LOCAL.test(origin.hostname)
  }

  /** @param path the path of the request whose response had the Set-Cookie `line`. */
  store(line: string, path: string): void {
    const [pair = '', ...attributes] = line.split(';')
    const equals = pair.indexOf('=')
    if (equals < 1) return
    const name = pair.slice(0, equals).trim()
    const known = new Map(attributes.map((attribute) => attributeOf(attribute)))
    if (!this.#isFor(known.get('domain') ?? '') || !this.#isAllowed(name, known)) return
    const own = known.get('path')
    const cookie = {
      name,
      value: pair.slice(equals + 1).trim(),
      path: own?.startsWith('/') ? own : path.replace(/\/[^/]*$/, '') || '/',
    }
    const key = `${name};${cookie.path}`
    if (isExpired(known)) this.#cookies.delete(key)
    else this.#cookies.set(key, cookie)
  }

  /** Whether a browser keeps a cookie with this Domain (sections 5.1.3 and 5.3). */
  #isFor(attribute: string): boolean {
    const domain = attribute.toLowerCase().replace(/^\./, '')
    const isAddress = /^[\d.]+$|:/.test(this.#host)
    return (
      domain === '' || domain === this.#host || (!isAddress && this.#host.endsWith(`.${domain}`))
    )
  }

  /** Whether a browser keeps a cookie with these attributes (RFC 6265bis, section 5.7). */
  #isAllowed(name: string, attributes: ReadonlyMap<string, string>): boolean {
    if (attributes.has('secure')) {
      const isForHost = attributes.get('path') === '/' && !attributes.get('domain')
      return this.#isSecure && (isForHost || !/^__Host-/i.test(name))
    }
    return !/^__(?:Host|Secure)-/i.test(name) && !/^none$/i.test(attributes.get('samesite') ?? '')
  }

  /** The Cookie header for a request to `path`, longest paths first; '' if there is no cookie. */
  header(path: string): string {
    return [...this.#cookies.values()]
      .filter((cookie) => isBelow(path, cookie.path))
      .toSorted((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
  }
}

/** Hosts that browsers trust without TLS (Secure Contexts, section 3.1). */
const LOCAL = /^(?:127(?:\.\d+){3}|\[::1\]|(?:.+\.)?localhost)$/

function attributeOf(attribute: string): [name: string, value: string] {
  const [name = '', ...value] = attribute.split('=')
  return [name.trim().toLowerCase(), value.join('=').trim()]
}

/** Max-Age has precedence over Expires (section 5.3). */
function isExpired(attributes: ReadonlyMap<string, string>): boolean {
  const age = attributes.get('max-age')
  if (age !== undefined && /^-?\d+$/.test(age)) return Number(age) <= 0
  return Date.parse(attributes.get('expires') ?? '') <= Date.now()
}

/** Section 5.1.4. */
function isBelow(path: string, mount: string): boolean {
  return path === mount || path.startsWith(mount.endsWith('/') ? mount : `${mount}/`)
}
