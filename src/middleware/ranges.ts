/** Range requests for files (RFC 9110, section 14). */
import { createReadStream, read, ReadStream } from 'node:fs'
import { asApplication } from '../application/detect.ts'
import { type FilePart, filePart, whenOpen } from '../response/file-part.ts'
import type { Headers } from '../response/headers.ts'
import type { Application, ApplicationClass, Environ, MaybePromise } from '../types.ts'
import { FileWrapper, isFileWrapper } from '../wsgiref/util.ts'
import { PRECONDITION_FAILED } from './conditional-get.ts'
import { parseHttpDate } from './http-date.ts'
import { intercept, type InterceptedResponse } from './intercept.ts'
import { chain } from './maybe-promise.ts'
import { plain } from './plain-response.ts'
import { isIntended } from './preconditions.ts'

/**
 * Responds to Range with the part of the file that the client asks for.
 *
 * @param app the application. It returns a FileWrapper over a FileHandle or an fs.ReadStream.
 * @returns the application. It adds Accept-Ranges, unless the application sends `none`. Only a 200 is
 *   changed: to a 206 for a single range, to a 416 for a range outside the file, and to a 412 if
 *   If-Match or If-Unmodified-Since asks for another version. A request for several ranges gets the
 *   whole file, and so does an If-Range that is neither the strong ETag nor the Last-Modified.
 * @example
 * import { createReadStream } from 'node:fs'
 * import { FileWrapper } from 'portico'
 * import { ranges } from 'portico/middleware'
 *
 * const application = ranges((environ, startResponse) => {
 *   startResponse('200 OK', [['Content-Type', 'application/json']])
 *   return new FileWrapper(createReadStream('package.json'))
 * })
 * // GET / with Range: bytes=4-9 → 206 "name"
 * // Accept-Ranges: bytes
 * // GET / with Range: bytes=1000000-  → 416
 */
export function ranges(app: Application | ApplicationClass): Application {
  const application = asApplication(app)
  const intercepted = intercept(application, { onResponse })
  return (environ, startResponse) => {
    const { REQUEST_METHOD: method } = environ
    const reads = method === 'GET' || method === 'HEAD'
    return (reads ? intercepted : application)(environ, startResponse)
  }
}

function onResponse(
  response: InterceptedResponse,
  environ: Environ,
): MaybePromise<Application | void> {
  const { status, headers, body } = response
  if (!status.startsWith('200') || headers.get('Accept-Ranges') === 'none') return
  if (!isFileWrapper(body) || !(body.fd !== undefined || body.source instanceof ReadStream)) return
  headers.set('Accept-Ranges', 'bytes')
  if (environ.REQUEST_METHOD !== 'GET' || environ['HTTP_RANGE'] === undefined) return
  // A part of another version would not fit the part that the client has.
  if (!isIntended(environ, headers)) return PRECONDITION_FAILED
  return chain(whenOpen(body), () => cut(response, body, environ))
}

function cut(
  response: InterceptedResponse,
  file: FileWrapper,
  environ: Environ,
): Application | void {
  const { headers } = response
  const part = filePart(file)
  if (part === undefined) return
  const { length } = part
  if ((headers.get('Content-Length') ?? `${length}`) !== `${length}`) return
  const range = requestedRange(environ, headers, length)
  if (range === undefined) return
  if (range === 'unsatisfiable') {
    return plain('416 Range Not Satisfiable', [['Content-Range', `bytes */${length}`]])
  }
  const { start, end } = range
  response.status = '206 Partial Content'
  headers.set('Content-Range', `bytes ${start}-${end}/${length}`)
  headers.set('Content-Length', `${end - start + 1}`)
  response.wrapBody(partOf(file, part, range))
}

interface Range {
  readonly start: number
  /** The last byte of the range. */
  readonly end: number
}

/** A destroyed stream closes its descriptor, but this descriptor belongs to the file. */
const leaveOpen = (_fd: number, done: (error?: Error) => void) => done()

/** Reads through the open descriptor, because the path may lead to another file by now. */
function partOf(file: FileWrapper, { fd, start: begin }: FilePart, range: Range): FileWrapper {
  const [start, end] = [begin + range.start, begin + range.end]
  const stream = createReadStream('', { fd, start, end, fs: { read, close: leaveOpen } })
  const close = () => {
    stream.destroy()
    return file.close?.()
  }
  return Object.assign(new FileWrapper(stream), { close })
}

/**
 * The range to send (RFC 9110, section 14.2). Several ranges, and malformed ones, are ignored: the
 * whole file is always a correct response.
 */
function requestedRange(
  environ: Environ,
  headers: Headers,
  size: number,
): Range | 'unsatisfiable' | undefined {
  const [, from, to] = /^bytes=(\d*)-(\d*)$/i.exec(environ['HTTP_RANGE'] ?? '') ?? []
  if (from === undefined || to === undefined || from + to === '') return undefined
  const condition = environ['HTTP_IF_RANGE']
  if (condition !== undefined && !isSame(condition, headers)) return undefined
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined
  // The last bytes of an empty file are all of it, but no Content-Range could describe them.
  if (from === '' && Number(to) > 0 && size === 0) return undefined
  const start = from === '' ? Math.max(size - Number(to), 0) : Number(from)
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return start < size && start <= end && !(from === '' && Number(to) === 0)
    ? { start, end }
    : 'unsatisfiable'
}

/** If-Range is a strong tag or a date, and must be exactly that of the file (section 13.1.5). */
function isSame(condition: string, headers: Headers): boolean {
  const date = parseHttpDate(condition)
  if (date !== undefined) return date === parseHttpDate(headers.get('Last-Modified'))
  return condition.startsWith('"') && condition === headers.get('ETag')
}
