/** `portico ping` as a health check: no application code runs. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { inDirectory, portico, type Served } from '../master/portico.ts'

/** It logs each request. */
const SOURCE = `
  export default async (environ, startResponse) => {
    console.error('application: ' + environ.PATH_INFO)
    if (environ.PATH_INFO === '/block') while (true);
    startResponse(environ.PATH_INFO === '/down' ? '503 Down' : '200 OK', [])
    return []
  }`

/** SIGQUIT, because its worker may be blocked. */
const here = inDirectory('SIGQUIT')

function ready(gateway: string): Promise<Served> {
  return here.ready([], { source: SOURCE, gateway, workers: 1 })
}

test.each(['fastcgi', 'http', 'scgi'])(
  'Over %s, ping responds without application code and without a line of the log, and notices a blocked worker',
  async (gateway) => {
    const server = await ready(gateway)
    const before = await server.printed('Serving')
    const target = `${gateway}://unix:${server.socket}`
    expect(await portico('ping', target)).toEqual({ code: 0, output: 'pong\n' })
    expect(await portico('ping', target, '--json')).toEqual({
      code: 0,
      output: '{"ok":true,"error":null}\n',
    })
    expect(await server.printed('')).toBe(before)
    await portico('request', `${target}:/block`, '-m', '0.5')
    await server.printed('application: /block')
    expect(await portico('ping', target, '--timeout', '300ms')).toEqual({
      code: 1,
      output: `${target} has not responded for 0.3 s: its workers are blocked, or it is stopped\n`,
    })
    server.process.kill('SIGQUIT')
    await server.ended
    expect(await portico('ping', target)).toEqual({
      code: 1,
      output: `${target} does not exist: the server is not running, or listens elsewhere\n`,
    })
  },
)

test.each([
  ['http', 'what listens there speaks HTTP', 'http'],
  ['fastcgi', 'what listens there has closed the connection without a response', 'fastcgi'],
  ['scgi', 'what listens there has closed the connection without a response', 'fastcgi'],
])('The socket of an application over %s is not a control socket', async (gateway, why, scheme) => {
  const { socket } = await ready(gateway)
  for (const command of ['ping', 'status', 'reload']) {
    expect(await portico(command, `unix:${socket}`)).toEqual({
      code: 1,
      output: `${socket} is not a control socket: ${why}. For an application's own socket: portico ping ${scheme}://unix:PATH\n`,
    })
  }
})

test('ping of an HTTP path asks the application, which must respond with 2xx or 3xx', async () => {
  const server = await ready('http')
  const target = `http://unix:${server.socket}:`
  expect((await portico('ping', `${target}/health`)).code).toBe(0)
  expect(await portico('ping', `${target}/down`)).toEqual({
    code: 1,
    output: `${target}/down responds with status 503\n`,
  })
})

test('ping of a server that speaks another protocol, and of what is not a server, fails in one line', async () => {
  const server = await ready('http')
  const target = `fastcgi://unix:${server.socket}`
  expect(await portico('ping', target)).toEqual({
    code: 1,
    output: `${target} does not speak FastCGI\n`,
  })
  expect(await portico('ping', 'ftp://example.com')).toMatchObject({ code: 2 })
})

test('ping of a port on which nothing listens, and of one where nothing responds, exits with 1', async () => {
  const silent = createServer((socket) => void socket.resume()).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as { port: number }
  const target = `fastcgi://127.0.0.1:${port}`
  const late = await portico('ping', target, '--timeout', '200ms')
  expect(late.output).toMatch(/has not responded for 0\.2 s/)
  expect(late.code).toBe(1)
  silent.close()
  await once(silent, 'close')
  expect(await portico('ping', target)).toEqual({
    code: 1,
    output: `${target} is not served: nothing listens there\n`,
  })
})
