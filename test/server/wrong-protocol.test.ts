/** What a server logs if its web server speaks another protocol. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { main } from '../../src/command/main.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed } from '../servers/process.ts'
import { temporaryDirectory } from './child.ts'

// Each copy of the modules listens for the exit of this process.
process.setMaxListeners(0)

let lines: string[]
beforeEach(() => {
  vi.resetModules() // The module remembers what it has logged.
  lines = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    lines.push(String(text))
    return true
  })
})

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closers.splice(0).toReversed()) await close()
})

type Gateway = 'FastCGI' | 'HTTP' | 'SCGI'

const HANDLERS = {
  FastCGI: async () => (await import('../../handlers/fastcgi.ts')).FastCGIHandler,
  HTTP: async () => (await import('../../handlers/http.ts')).HTTPHandler,
  SCGI: async () => (await import('../../handlers/scgi.ts')).SCGIHandler,
}

async function serve(gateway: Gateway): Promise<number> {
  const Handler = await HANDLERS[gateway]()
  const server = await new Handler({ listen: ':0', shutdownTimeout: 0 }).run(() => [])
  closers.push(() => server.close())
  return server.address.kind === 'tcp' ? server.address.port : 0
}

/** Sends bytes, and resolves to what comes before the server closes. */
async function send(port: number, bytes: string | Buffer): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.setEncoding('latin1').on('data', (text: string) => (received += text))
  socket.on('error', () => {})
  socket.write(bytes)
  await once(socket, 'close')
  return received
}

const fastcgi = Buffer.concat([begin(1), record(4, 1, Buffer.alloc(0))])
const scgi = encodeRequest(['REQUEST_METHOD', 'GET'], 0)
const hello = Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1')

const swap = (received: string, nginx: string, apache: string, gateway: string) =>
  `${received}. In nginx use ${nginx}, in Apache ${apache}; or start this program with ` +
  `PORTICO_GATEWAY=${gateway}, if it ends with run(). (Logged once.)\n`

const HTTP_TO_SCGI = swap(
  'Received HTTP, but this server speaks SCGI',
  'scgi_pass instead of proxy_pass',
  'scgi:// instead of http://',
  'http',
)
const HTTP_TO_FASTCGI = swap(
  'Received HTTP, but this server speaks FastCGI',
  'fastcgi_pass instead of proxy_pass',
  'fcgi:// instead of http://',
  'http',
)
const SCGI_TO_FASTCGI = swap(
  'Received SCGI, but this server speaks FastCGI',
  'fastcgi_pass instead of scgi_pass',
  'fcgi:// instead of scgi://',
  'scgi',
)
const SCGI_TO_HTTP = swap(
  'Received SCGI, but this server speaks HTTP',
  'proxy_pass instead of scgi_pass',
  'http:// instead of scgi://',
  'scgi',
)
const FASTCGI_TO_HTTP = swap(
  'Received FastCGI, but this server speaks HTTP',
  'proxy_pass instead of fastcgi_pass',
  'http:// instead of fcgi://',
  'fastcgi',
)
const FASTCGI_TO_SCGI = swap(
  'Received FastCGI, but this server speaks SCGI',
  'scgi_pass instead of fastcgi_pass',
  'scgi:// instead of fcgi://',
  'fastcgi',
)
const TLS_TO_HTTP =
  'Received TLS, but this server speaks HTTP without TLS. Use http:// instead of https://, or put ' +
  'a web server that terminates TLS in front of it. (Logged once.)\n'

describe('A server logs once that it receives another protocol:', () => {
  test.each<[Gateway, string, string | Buffer, string]>([
    ['SCGI', 'HTTP', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', HTTP_TO_SCGI],
    ['SCGI', 'HTTP', 'POST /a?b HTTP/1.0\r\n\r\n', HTTP_TO_SCGI],
    ['SCGI', 'HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', HTTP_TO_SCGI],
    ['SCGI', 'HTTP to a proxy', 'GET http://a/ HTTP/1.1\r\n\r\n', HTTP_TO_SCGI],
    ['SCGI', 'FastCGI', fastcgi, FASTCGI_TO_SCGI],
    ['FastCGI', 'HTTP', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', HTTP_TO_FASTCGI],
    ['FastCGI', 'SCGI', scgi, SCGI_TO_FASTCGI],
    ['HTTP', 'FastCGI', fastcgi, FASTCGI_TO_HTTP],
    ['HTTP', 'GET_VALUES of FastCGI', record(9, 0, Buffer.alloc(0)), FASTCGI_TO_HTTP],
    ['HTTP', 'SCGI', scgi, SCGI_TO_HTTP],
    ['HTTP', 'TLS', hello, TLS_TO_HTTP],
  ])('a port of %s that is sent %s', async (gateway, _, bytes, line) => {
    const port = await serve(gateway)
    const refusal = gateway === 'HTTP' ? /^HTTP\/1\.1 400 / : /^$/
    for (let i = 0; i < 3; i++) expect(await send(port, bytes)).toMatch(refusal)
    expect(lines).toEqual([line])
  })
})

test('A malformed request is not reported as another protocol', async () => {
  await send(await serve('HTTP'), 'GET / HTTP/1.1\r\nHost\r\n\r\n')
  await send(await serve('HTTP'), 'hello\r\n')
  expect(lines).toEqual([])
  await send(await serve('SCGI'), '17:CONTENT_LENGTH\x000\0;')
  expect(lines).toEqual([expect.stringMatching(/^SCGI: The SCGI headers do not end/)])
  await send(await serve('FastCGI'), '\x02hello!!')
  expect(lines.slice(1)).toEqual(['FastCGI: FastCGI version 2 instead of 1\n'])
})

test('Bytes of another protocol after a valid request are not reported as such', async () => {
  const port = await serve('HTTP')
  const socket = connect(port, '127.0.0.1')
  socket.write('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(socket, 'data')
  lines = []
  socket.write(fastcgi)
  socket.resume()
  await once(socket, 'close')
  expect(lines).toEqual([])
})

test('Bytes of another protocol within a request are not reported as such', async () => {
  const socket = connect(await serve('SCGI'), '127.0.0.1')
  socket.setNoDelay(true)
  socket.write('40:CONTENT_LENGTH\x000\0HTTP_X\0')
  await sleep(50)
  socket.write('GET / HTTP/1.1\r\n;')
  await once(socket, 'close')
  expect(lines).toEqual([expect.stringMatching(/^SCGI: The SCGI headers do not end/)])
})

describe.each([
  ['nginx', startNginx],
  ['apache2', startApache],
] as const)('A connection of %s', (program, start) => {
  const { available, hint } = installed(program)

  test.skipIf(!available).each([
    ['fastcgi', 'HTTP', FASTCGI_TO_HTTP],
    ['scgi', 'HTTP', SCGI_TO_HTTP],
    ['fastcgi', 'SCGI', FASTCGI_TO_SCGI],
    ['http', 'SCGI', HTTP_TO_SCGI],
    ['http', 'FastCGI', HTTP_TO_FASTCGI],
    ['scgi', 'FastCGI', SCGI_TO_FASTCGI],
  ] as const)(
    `that speaks %s to a server of %s is reported${hint}`,
    async (protocol, gateway, line) => {
      const to = `127.0.0.1:${await serve(gateway)}`
      const web = await start({ mounts: [{ at: '/app', to, protocol }] })
      closers.push(() => web.stop())
      const { status } = await httpRequest({ port: web.port }, { target: '/app/' })
      expect(status).toBeGreaterThanOrEqual(400)
      expect(lines).toEqual([line])
    },
  )
})

test.each(['FastCGI', 'SCGI', 'HTTP'] as const)(
  '%s: commands for a control socket leave no line in the log of an application',
  async (gateway) => {
    const directory = temporaryDirectory()
    const path = join(directory.path, 'app.sock')
    const own = gateway === 'HTTP' ? 'http' : 'fastcgi'
    const Handler = await HANDLERS[gateway]()
    const server = await new Handler({ listen: `unix:${path}` }).run(() => [])
    closers.push(async () => {
      await server.close()
      directory.remove()
    })
    for (const command of ['ping', 'status', 'reload', 'stop']) {
      let err = ''
      expect(await main([command, path], { out: () => {}, err: (text) => (err += text) })).toBe(1)
      expect(err).toContain(`For an application's own socket: portico ping ${own}://unix:PATH`)
    }
    expect(lines).toEqual([])
  },
)
