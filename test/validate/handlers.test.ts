/** The validator between an application and a handler. */
import { expect, test } from 'vitest'
import { SimpleHandler } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import type { Application, HeaderList } from '../../src/types.ts'
import { setupTestingDefaults } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'
import { app, hello, helloLater } from './harness.ts'

async function serve(application: Application, body = ''): Promise<{ out: string; err: string }> {
  const result = { out: '', err: '' }
  const output = { write: (bytes: Buffer) => void (result.out += bytes.toString('latin1')) }
  const errors = new ErrorLog((text) => {
    result.err += text
  })
  const input = new Input(bytesSource(Buffer.from(body)), body.length)
  const environ = setupTestingDefaults({ CONTENT_LENGTH: String(body.length) })
  const variables = Object.entries(environ).filter(([key]) => !key.includes('.'))
  const handler = new SimpleHandler(input, output, errors, Object.fromEntries(variables))
  handler.originServer = false
  await handler.run(application)
  return result
}

test('A handler adds no Content-Length to a validated response, and the validator reports nothing', async () => {
  const plain = 'Status: 200 OK\r\nContent-Type: text/plain\r\n'
  expect(await serve(hello)).toEqual({ out: `${plain}Content-Length: 2\r\n\r\nab`, err: '' })
  expect(await serve(validator(hello))).toEqual({ out: `${plain}\r\nab`, err: '' })
  expect(await serve(validator(validator(helloLater)))).toEqual({ out: `${plain}\r\nab`, err: '' })
})

const respond = (status: string, headers: unknown): Application =>
  app((_environ, startResponse) => {
    startResponse(status, headers)
    return ['x']
  })
const PLAIN: HeaderList = [['Content-Type', 'text/plain']]

test.each<[string, Application, string]>([
  [
    'headers that are an object',
    respond('200 OK', { a: 'b' }),
    'Headers must be an array of arrays [name, value], not ',
  ],
  ['a status without a reason', respond('200', PLAIN), 'Status must be at least 4 characters'],
  [
    'a status code that is not a number',
    respond('20X OK', PLAIN),
    'Status message must begin w/3-digit code',
  ],
  [
    'a status without a space',
    respond('200OK', PLAIN),
    'Status message must have a space after code',
  ],
])(
  'For %s, the client gets the error page, and the log gets the reason',
  async (_fault, bad, why) => {
    const { out, err } = await serve(validator(bad))
    expect(out).toMatch(/^Status: 500 Internal Server Error\r\n/)
    expect(out).toMatch(/\r\n\r\nA server error occurred\. {2}Please contact the administrator\.$/)
    expect(err).toContain(why)
  },
)

const echo: Application = async (environ, startResponse) => {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', PLAIN)
  return [body]
}

test('the validator accepts read() without a size', async () => {
  expect(await serve(validator(echo), 'body')).toEqual({
    out: 'Status: 200 OK\r\nContent-Type: text/plain\r\n\r\nbody',
    err: '',
  })
})

test('a Date header of a validated application is kept, and not added twice', async () => {
  const date: HeaderList = [...PLAIN, ['Date', 'Wed, 24 Dec 2008 13:29:32 GMT']]
  expect(await serve(validator(respond('200 OK', date)))).toEqual({
    out:
      'Status: 200 OK\r\nContent-Type: text/plain\r\n' +
      'Date: Wed, 24 Dec 2008 13:29:32 GMT\r\n\r\nx',
    err: '',
  })
})
