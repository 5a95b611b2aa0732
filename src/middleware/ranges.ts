/** Parts of files, for clients that resume or seek (RFC 9110, section 14). */
import { createReadStream, read, ReadStream } from 'node:fs'
import { asApplication } from '../application/detect.ts'
import { type FilePart, filePart, whenOpen } from '../response/file-part.ts'
import type { Headers } from '../response/headers.ts'
import type { Application, ApplicationClass, Environ } from '../types.ts'
import { FileWrapper, isFileWrapper } from '../wsgiref/util.ts'
import { chain } from './body-hooks.ts'
import { intercept, plain, type Response } from './response.ts'

/**
 * Answers a Range of a regular file with that part of it.
 *
 * @param app the application; it returns a FileWrapper over a FileHandle or an fs.ReadStream.
 * @returns the application, with Accept-Ranges, unless it says `none` itself. Only a 200 is changed:
 *   to a 206 for a single range, or a 416 for one outside of the file. Several ranges at once get
 *   the whole file, as does an If-Range that is neither its strong ETag nor its Last-Modified.
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
  return (environ, startResponse) => {
    const { REQUEST_METHOD: method } = environ
    if (method !== 'GET' && method !== 'HEAD') return application(environ, startResponse)
    const wanted = method === 'GET' ? environ['HTTP_RANGE'] : undefined
    const change = (response: Response) => {
      const { status, headers, body } = response
      if (!status.startsWith('200') || headers.get('Accept-Ranges') === 'none') return
      if (!isFileWrapper(body) || !(body.fd !== undefined || body.source instanceof ReadStream))
        return
      headers.set('Accept-Ranges', 'bytes')
      if (wanted === undefined) return
      return chain(whenOpen(body), () => cut(response, body, environ))
    }
    return intercept(application, environ, startResponse, change, wanted !== undefined)
  }
}

function cut(response: Response, file: FileWrapper, environ: Environ): Application | void {
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
  response.body = partOf(file, part, range)
  response.keepsBody = true
}

interface Range {
  readonly start: number
  /** The last byte of it. */
  readonly end: number
}

/** A stream that is destroyed closes its descriptor, but this one is the file's. */
const leaveOpen = (_fd: number, done: (error?: Error) => void) => done()

/** Read through the descriptor that is open: behind the path there may be another file by now. */
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
 * The range to send (RFC 9110, section 14.2). Several at once, and what is malformed, count as none:
 * the whole file is always a right answer.
 */
function requestedRange(
  environ: Environ,
  headers: Headers,
  size: number,
): Range | 'unsatisfiable' | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(environ['HTTP_RANGE'] ?? '') ?? []
  if (from === undefined || to === undefined || from + to === '') return undefined
  const condition = environ['HTTP_IF_RANGE']
  if (condition !== undefined && !isSame(condition, headers)) return undefined
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined
  const start = from === '' ? Math.max(size - Number(to), 0) : Number(from)
  const end = from === '' || to === '' ? size - 1 : Math.min(Number(to), size - 1)
  return start < size && start <= end && !(from === '' && Number(to) === 0)
    ? { start, end }
    : 'unsatisfiable'
}

/** If-Range takes a strong tag or a date, and compares it as it stands (section 13.1.5). */
function isSame(condition: string, headers: Headers): boolean {
  if (condition === headers.get('Last-Modified')) return true
  return condition.startsWith('"') && condition === headers.get('ETag')
}
