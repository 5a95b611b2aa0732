/** Runs an application for one request in this process and keeps every byte of the answer. */
import { SimpleHandler, type Output } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { bytesSource, Input, type ByteSource } from '../../src/request/input.ts'
import type { Application } from '../../src/types.ts'

export interface Answered {
  /** The answer as a byte string, `Status:` and all. */
  out: string
  /** What was logged. */
  err: string
}

export interface Request {
  readonly variables?: Readonly<Record<string, string>>
  readonly body?: string | ByteSource
  /** Where the answer goes; into `out` without. */
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
export interface Running extends Answered {
  readonly handler: SimpleHandler
  readonly done: Promise<Answered>
}

export function start(application: Application, request: Request = {}): Running {
  const { body = '', variables = {} } = request
  const length = typeof body === 'string' ? Buffer.byteLength(body) : undefined
  const environ = {
    ...REQUEST,
    ...(length ? { CONTENT_LENGTH: String(length) } : {}),
    ...variables,
  }
  const answered: Answered = { out: '', err: '' }
  const output = request.output ?? {
    write: (bytes: Buffer) => void (answered.out += bytes.toString('latin1')),
  }
  const errors = new ErrorLog((text) => {
    answered.err += text
  })
  const source = typeof body === 'string' ? bytesSource(Buffer.from(body)) : body
  const owed = Number((environ as Record<string, string>)['CONTENT_LENGTH'] || Infinity)
  const handler = new SimpleHandler(new Input(source, owed), output, errors, environ)
  handler.originServer = false
  const done = handler.run(application).then(() => answered)
  return Object.assign(answered, { handler, done })
}

export async function answer(application: Application, request: Request = {}): Promise<Answered> {
  const { out, err } = await start(application, request).done
  return { out, err }
}

/** Lets everything that is due happen. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve))
}

export const ERROR_PAGE = [
  'Status: 500 Internal Server Error\r\n',
  'Content-Type: text/plain\r\n',
  'Content-Length: 59\r\n\r\n',
  'A server error occurred.  Please contact the administrator.',
].join('')
