/** A cookie jar for tests (RFC 6265). */
import { parseCookieDate } from './cookie-date.ts'

/** Bytes of a name and a value together: browsers drop larger cookies (RFC 6265bis, section 5.6). */
const MAX_SIZE = 4096

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
    const value = pair.slice(equals + 1).trim()
    if (name.length + value.length > MAX_SIZE) return
    const known = new Map(attributes.map((attribute) => attributeOf(attribute)).filter(isValid))
    const domain = (known.get('domain') ?? '').toLowerCase().replace(/^\./, '')
    if (!this.#isFor(domain) || !this.#isAllowed(name, known)) return
    const own = known.get('path')
    const cookie = {
      name,
      value,
      path: own?.startsWith('/') ? own : path.replace(/\/[^/]*$/, '') || '/',
    }
    // With a Domain it is another cookie than without one, even for the same host.
    const key = `${name};${domain};${cookie.path}`
    if (isExpired(known)) this.#cookies.delete(key)
    else this.#cookies.set(key, cookie)
  }

  /** Whether a browser keeps a cookie with this Domain (sections 5.1.3 and 5.3). */
  #isFor(domain: string): boolean {
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

/** An attribute that is invalid does not replace an earlier one (sections 5.2.1 to 5.2.3). */
function isValid([name, value]: [name: string, value: string]): boolean {
  if (name === 'max-age') return /^-?\d+$/.test(value)
  if (name === 'expires') return parseCookieDate(value) !== undefined
  return name !== 'domain' || value !== ''
}

/** Max-Age has precedence over Expires (section 5.3). */
function isExpired(attributes: ReadonlyMap<string, string>): boolean {
  const age = attributes.get('max-age')
  if (age !== undefined) return Number(age) <= 0
  return (parseCookieDate(attributes.get('expires') ?? '') ?? Infinity) <= Date.now()
}

/** Section 5.1.4. */
function isBelow(path: string, mount: string): boolean {
  return path === mount || path.startsWith(mount.endsWith('/') ? mount : `${mount}/`)
}
