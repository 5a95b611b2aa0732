/** Signs values that a client keeps in a cookie, so that they come back unchanged, until they expire. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { ConfigurationError } from '../errors.ts'

/**
 * The minimum length of a secret: as many characters as HMAC-SHA256 has bytes. A shorter secret would
 * be easier to guess than a signature (RFC 2104, section 3).
 */
const SHORTEST_SECRET = 32

/**
 * Valid cookies of one name that are tried: a browser has one for each Path and Domain that an
 * application has ever set. Each may cost a command of the store.
 */
const MAX_VALID = 4

/** The signed value, and when it expires (in milliseconds since 1970). */
export interface Signed {
  readonly value: string
  readonly expires: number
  /** Whether it was not signed with the first secret, and should be signed again. */
  readonly old: boolean
}

function isSecret(secret: unknown): boolean {
  return typeof secret === 'string' && secret.length >= SHORTEST_SECRET
}

/** Signs and checks the values of one cookie: `value.expires.signature`, all base64url. */
export class Signer {
  readonly #name: string
  readonly #secrets: readonly string[]

  /**
   * @param name is part of the signature, so that a value is valid only in the cookie it was made for.
   * @param secrets the first one signs; signatures of all are accepted.
   * @throws {ConfigurationError} if there is no secret, or one has fewer than 32 characters.
   */
  constructor(name: string, secrets: readonly string[]) {
    if (!Array.isArray(secrets) || secrets.length === 0 || !secrets.every(isSecret)) {
      throw new ConfigurationError(
        `session: a secret must have at least ${SHORTEST_SECRET} characters; make one with ` +
          '`openssl rand -base64 32`',
      )
    }
    this.#name = name
    this.#secrets = secrets
  }

  /** @param value of letters, digits, '-' and '_'. */
  sign(value: string, expires: number): string {
    const text = `${value}.${Math.ceil(expires / 1000).toString(36)}`
    return `${text}.${this.#signature(this.#secrets[0]!, text).toString('base64url')}`
  }

  /** The valid ones, each once: a neighbouring host can add cookies of the same name. */
  readAll(cookies: readonly string[]): Signed[] {
    return [...new Set(cookies)]
      .map((cookie) => this.read(cookie))
      .filter((signed) => signed !== undefined)
      .slice(0, MAX_VALID)
  }

  /** Undefined if the signature is invalid or has expired. */
  read(cookie: string): Signed | undefined {
    const [, text, value, date, signature] =
      /^(([\w-]+)\.([\da-z]{1,10}))\.([\w-]{43})$/.exec(cookie) ?? []
    if (text === undefined || value === undefined || !date || !signature) return undefined
    const given = Buffer.from(signature, 'base64url')
    const index = this.#secrets.findIndex((secret) =>
      timingSafeEqual(this.#signature(secret, text), given),
    )
    const expires = Number.parseInt(date, 36) * 1000
    return index < 0 || expires <= Date.now() ? undefined : { value, expires, old: index > 0 }
  }

  #signature(secret: string, text: string): Buffer {
    return createHmac('sha256', secret).update(`${this.#name}=${text}`).digest()
  }
}

/** All values of a name in a Cookie header (RFC 6265, section 5.4), in their order. */
export function cookieValues(header: string, name: string): string[] {
  const values: string[] = []
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals >= 0 && pair.slice(0, equals).trim() === name) {
      values.push(pair.slice(equals + 1).trim())
    }
  }
  return values
}
