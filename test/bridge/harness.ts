/** Runs an application for one request in this process and keeps every byte of the response. */
import { SimpleHandler, type Output } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { bytesSource, Input, type ByteSource } from '../../src/request/input.ts'
import type { Application } from '../../src/types.ts'

export interface Result {
  /** The response as a byte string, with the status. */
  out: string
  /** What was logged. */
  err: string
}

export interface Request {
  readonly variables?: Readonly<Record<string, string>>
  readonly body?: string | ByteSource
  /** Where the response is written; by default to `out`. */
  readonly output?: Output
}

const REQUEST = {
  REQUEST_METHOD: 'GET',
  SCRIPT_NAME: '',
  PATH_INFO: '/',
  QUERY_STRING: '',
  SERVER_NAME: 'localhost',
  SERVER_PORT: '80',
  SERVER_PROTOCOL: 'HTTP/1.1',
}

/** A request under way. */
export interface Running extends Result {
  readonly handler: SimpleHandler
  readonly done: Promise<Result>
}

export function start(application: Application, request: Request = {}): Running {
  const { body = '', variables = {} } = request
  const length = typeof body === 'string' ? Buffer.byteLength(body) : undefined
  const environ = {
    ...REQUEST,
    ...(length ? { CONTENT_LENGTH: String(length) } : {}),
    ...variables,
  }
  const result: Result = { out: '', err: '' }
  const output = request.output ?? {
    write: (bytes: Buffer) => void (result.out += bytes.toString('latin1')),
  }
  const errors = new ErrorLog((text) => {
    result.err += text
  })
  const source = typeof body === 'string' ? bytesSource(Buffer.from(body)) : body
  const owed = Number((environ as Record<string, string>)['CONTENT_LENGTH'] || Infinity)
  const handler = new SimpleHandler(new Input(source, owed), output, errors, environ)
  handler.originServer = false
  const done = handler.run(application).then(() => result)
  return Object.assign(result, { handler, done })
}

export async function respond(application: Application, request: Request = {}): Promise<Result> {
  const { out, err } = await start(application, request).done
  return { out, err }
}

/** Waits for pending callbacks. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve))
}

export const ERROR_PAGE = [
  'Status: 500 Internal Server Error\r\n',
  'Content-Type: text/plain\r\n',
  'Content-Length: 59\r\n\r\n',
  'A server error occurred.  Please contact the administrator.',
].join('')
