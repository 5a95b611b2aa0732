/** A limit on request bodies. */
import { asApplication } from '../application/detect.ts'
import { isInteger, refuse } from '../options/values.ts'
import { contentLength } from '../environ/environ.ts'
import { PeerError } from '../errors.ts'
import { type ByteSource, Input } from '../request/input.ts'
import { wrapInput } from '../environ/wrapped-input.ts'
import type { Application, ApplicationClass, InputStream } from '../types.ts'
import { plain } from './plain-response.ts'

/**
 * Refuses request bodies over a number of bytes with a 413.
 *
 * @param app the application. It does not run for a request whose CONTENT_LENGTH is over the limit.
 *   If there is no CONTENT_LENGTH, a read past the limit rejects with a PeerError
 *   (`PORTICO_TOO_LARGE`), which becomes a 413 as well unless the application catches it.
 * @param limit in bytes.
 * @returns the application with the limit.
 * @throws {ConfigurationError} if `limit` is not a whole number from 0.
 * @example
 * import { bodyLimit } from 'portico/middleware'
 *
 * const application = bodyLimit(async (environ, startResponse) => {
 *   const body = await environ['wsgi.input'].read()
 *   startResponse('200 OK', [['Content-Type', 'text/plain']])
 *   return [`${body.length} bytes`]
 * }, 10)
 * // POST / of 10 bytes → 200 10 bytes
 * // POST / of 11 bytes → 413 Content Too Large
 */
export function bodyLimit(app: Application | ApplicationClass, limit: number): Application {
  const application = asApplication(app)
  if (!isInteger(limit, 0)) {
    refuse('bodyLimit', 'limit', limit, 'a whole number of bytes, 0 or more')
  }
  return (environ, startResponse) => {
    const length = contentLength(environ)
    if (length !== undefined && length > limit) return tooLarge(environ, startResponse)
    if (length === undefined) {
      const input = environ['wsgi.input']
      environ['wsgi.input'] = wrapInput(new Input(limitedSource(input, limit)), input)
    }
    return application(environ, startResponse)
  }
}

const TOO_LARGE = '413 Content Too Large'
const tooLarge = plain(TOO_LARGE)

/** The chunks of `input` as they come; `input.read(size)` would wait for `size` bytes. */
function limitedSource(input: InputStream, limit: number): ByteSource {
  let chunks: AsyncIterator<Buffer> | null = null
  let rest: Buffer | null = null
  let left = limit
  return {
    async read(size) {
      chunks ??= input.chunks()
      if (left < 0) throw overLimit(limit)
      if (rest === null) {
        const { done, value } = await chunks.next()
        if (done) return null
        left -= value.length
        if (left < 0) throw overLimit(limit)
        rest = value
      }
      const chunk = rest.subarray(0, size)
      rest = rest.length > size ? rest.subarray(size) : null
      return chunk
    },
  }
}

function overLimit(limit: number): PeerError {
  return new PeerError(
    'PORTICO_TOO_LARGE',
    `The request body is larger than the limit of ${limit} bytes`,
    TOO_LARGE,
  )
}
