/** Rows about `wsgi.input`: what an application can do with the body of a request. */
import { Buffer } from 'node:buffer'
import type { Application, Environ, InputStream } from '../../types.ts'
import { text, type Row } from '../row.ts'

/** Every byte value many times over; the same size as in Plack's test. */
export const BINARY = Buffer.alloc(
  96_000,
  Uint8Array.from({ length: 256 }, (_, i) => (i * 7) & 0xff),
)

/** The SHA-256 of BINARY. */
const BINARY_HASH = '6b8737dbad008d2a318a3912ccb73f4602e229ac24af0dae5e92a17ec9579ceb'

const LINES = 'first\nsecond\r\n\nlast'

/** An application that responds with the result of `use` for the input. */
function reading(
  use: (input: InputStream, environ: Environ) => Promise<string | Uint8Array>,
): Application {
  return async (environ, startResponse) => {
    const result = await use(environ['wsgi.input'], environ)
    startResponse('200 OK', text())
    return [result]
  }
}

const post = (body: string | Uint8Array) => ({ method: 'POST', target: '/', body })

/** Its body is much more than pipes and sockets hold. A CGI script, which loads this file, never makes it. */
const POST_LARGE = {
  method: 'POST',
  target: '/',
  get body() {
    return Buffer.alloc(1024 * 1024, 'unread ')
  },
}

export const inputRows: readonly Row[] = [
  {
    name: 'a small request body is read at once',
    request: post('name=tatsuhiko'),
    application: reading((input) => input.read()),
    expect: { body: 'name=tatsuhiko' },
  },
  {
    name: 'a request body of 96,000 bytes is read in a loop, and echoed',
    request: post(BINARY),
    application: reading(async (input) => {
      const parts: Buffer[] = []
      for (let part; (part = await input.read(4096)).length > 0;) parts.push(part)
      return Buffer.concat(parts)
    }),
    expect: { body: BINARY, headers: { 'Content-Length': ['96000'] } },
  },
  {
    name: 'a request body is echoed chunk by chunk while it arrives',
    request: post(BINARY),
    application: async function* (environ, startResponse) {
      startResponse('200 OK', text())
      for await (const chunk of environ['wsgi.input'].chunks()) yield chunk
    } as Application,
    expect: { body: BINARY },
  },
  {
    name: 'a request body can be read as a Node stream',
    request: post(BINARY),
    application: reading(async (input) => {
      const { createHash } = await import('node:crypto')
      const digest = createHash('sha256')
      for await (const chunk of input.stream()) digest.update(chunk as Buffer)
      return digest.digest('hex')
    }),
    expect: { body: BINARY_HASH },
  },
  {
    name: 'lines are read one by one',
    request: post(LINES),
    application: reading(async (input) => {
      const lines: string[] = []
      for await (const line of input) lines.push(line.toString())
      return JSON.stringify(lines)
    }),
    expect: { body: JSON.stringify(['first\n', 'second\r\n', '\n', 'last']) },
  },
  {
    name: 'a long line is read in parts, and lines with a hint',
    request: post('ab\ncd\nef\n'),
    application: reading(async (input) => {
      const parts = [
        await input.readline(1),
        await input.readline(5),
        ...(await input.readlines(1)),
      ]
      return JSON.stringify([...parts.map(String), String(await input.read())])
    }),
    expect: { body: JSON.stringify(['a', 'b\n', 'cd\n', 'ef\n']) },
  },
  {
    name: 'reads after the end of the input return nothing',
    request: post('123456'),
    application: reading(async (input) => {
      const sizes = [
        await input.read(4),
        await input.read(4),
        await input.read(4),
        await input.read(),
      ]
      return sizes.map(({ length }) => length).join()
    }),
    expect: { body: '4,2,0,0' },
  },
  {
    name: 'reading the body of a GET request does not wait',
    request: { target: '/' },
    application: reading(async (input) => `${(await input.read()).length} bytes`),
    expect: { body: '0 bytes' },
  },
  {
    name: 'an empty request body is empty',
    request: post(''),
    application: reading(async (input) => `${(await input.readline()).length} bytes`),
    expect: { body: '0 bytes' },
  },
  {
    name: 'a request body that is not read does not prevent the response',
    request: POST_LARGE,
    application: (_environ, startResponse) => {
      startResponse('200 OK', text())
      return ['not read']
    },
    expect: { body: 'not read' },
  },
  {
    name: 'a request body that is partly read does not prevent the response',
    request: POST_LARGE,
    application: reading(async (input) => String(await input.read(6))),
    expect: { body: 'unread' },
  },
]
