/** Basic authentication (RFC 7617), where no web server does it. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { asApplication } from '../application/detect.ts'
import { decodeText, encodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { chain, type MaybePromise } from './body-hooks.ts'
import { plain } from './response.ts'

/** What `basicAuth` can be told; `users` or `verify` is needed. */
export interface BasicAuthOptions {
  /** What the client shows beside its question. Default: 'Restricted'. */
  readonly realm?: string | undefined
  /** Passwords by user. They are compared in a time that tells nothing of either. */
  readonly users?: Readonly<Record<string, string>> | undefined
  /** Decides instead of `users`: against hashes, or somewhere else. */
  readonly verify?:
    | ((user: string, password: string, environ: Environ) => MaybePromise<boolean>)
    | undefined
}

/**
 * Lets only users with a password through.
 *
 * Credentials go over the line as they are: only with https. Apache keeps them from CGI and FastCGI
 * unless told `CGIPassAuth On`.
 *
 * @param app the application; it finds the user in REMOTE_USER, and 'Basic' in AUTH_TYPE.
 * @param options `users` or `verify`, and `realm`.
 * @returns the application; without good credentials it answers 401.
 * @throws {ConfigurationError} for a realm that no header can hold, or neither or both of the two.
 * @example
 * import { basicAuth } from 'portico/middleware'
 *
 * const application = basicAuth(
 *   (environ, startResponse) => {
 *     startResponse('200 OK', [['Content-Type', 'text/plain']])
 *     return [`Hello, ${environ.REMOTE_USER}`]
 *   },
 *   { users: { ada: 'lovelace' } },
 * )
 * // GET / → 401 Unauthorized
 * // GET / with Authorization: Basic YWRhOmxvdmVsYWNl → 200 Hello, ada
 * // GET / with Authorization: Basic YWRhOmJhYmJhZ2U= → 401 Unauthorized
 */
export function basicAuth(
  app: Application | ApplicationClass,
  options: BasicAuthOptions,
): Application {
  const application = asApplication(app)
  const { realm = 'Restricted', users } = options
  if (!/^[\x20-\x7e]*$/.test(realm)) {
    throw new ConfigurationError(`basicAuth: the realm ${JSON.stringify(realm)} is not plain ASCII`)
  }
  if ((users === undefined) === (options.verify === undefined)) {
    throw new ConfigurationError('basicAuth: either users or verify is needed')
  }
  const verify = options.verify ?? verifier(users ?? {})
  const challenge = `Basic realm="${realm.replace(/["\\]/g, '\\$&')}", charset="UTF-8"`
  const unauthorized = plain('401 Unauthorized', [['WWW-Authenticate', challenge]])
  return (environ, startResponse) => {
    const credentials = readCredentials(environ['HTTP_AUTHORIZATION'])
    if (credentials === undefined) return unauthorized(environ, startResponse)
    const [user, password] = credentials
    return chain(verify(user, password, environ), (good) => {
      if (!good) return unauthorized(environ, startResponse)
      environ['REMOTE_USER'] = encodeText(user)
      environ['AUTH_TYPE'] = 'Basic'
      return application(environ, startResponse)
    })
  }
}

/** Section 2: no control character, and no colon in the user's name. Both are UTF-8. */
function readCredentials(header = ''): [user: string, password: string] | undefined {
  const [, token] = /^basic +([a-z\d+/]+={0,2})$/i.exec(header) ?? []
  if (token === undefined) return undefined
  const text = decodeText(Buffer.from(token, 'base64').toString('latin1'))
  const colon = text.indexOf(':')
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (colon < 0 || /[\0-\x1f\x7f]/.test(text)) return undefined
  return [text.slice(0, colon), text.slice(colon + 1)]
}

/**
 * Compares digests under a key of this process: they have one length, and what the time of their
 * comparison tells is of no use. Nobody learns from it whether a user exists either.
 */
function verifier(users: Readonly<Record<string, string>>) {
  const key = randomBytes(32)
  const digest = (text: string) => createHmac('sha256', key).update(text).digest()
  const digests = new Map(Object.entries(users).map(([user, word]) => [user, digest(word)]))
  const nobody = randomBytes(32)
  return (user: string, password: string) =>
    timingSafeEqual(digest(password), digests.get(user) ?? nobody)
}
