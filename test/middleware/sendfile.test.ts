/** `sendfile`: which files are passed to the web server, and what real servers send for them. */
import { createReadStream, mkdirSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { ConfigurationError } from '../../src/errors.ts'
import {
  cascade,
  sendfile,
  type SendfileOptions,
  staticFiles,
} from '../../src/exports/middleware.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import type { Application, Body, HeaderList } from '../../src/types.ts'
import { FileWrapper, type FileWrapperOptions } from '../../src/wsgiref/util.ts'
import { startApache } from '../servers/apache.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, type WebServer } from '../servers/process.ts'
import { OK } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const FILE = import.meta.filename
const accel: SendfileOptions = {
  header: 'X-Accel-Redirect',
  map: { '/srv/files': '/files', '/srv/files/deep/': '/deep', '/srv/100%': '/a%b' },
}
const xSendfile: SendfileOptions = { header: 'X-Sendfile' }
const unescaped: SendfileOptions = { header: 'X-Sendfile', escape: false }

/** A file that need not exist, because it is never opened. */
function fileAt(path: string, options: FileWrapperOptions = {}, close = () => {}): Body {
  const content = ['body']
  return new FileWrapper({ read: () => content.shift(), close }, { path, ...options })
}

const respondingWith =
  (body: () => Body | Promise<Body>, headers: HeaderList = [], status = OK): Application =>
  (_environ, startResponse) => {
    startResponse(status, [['Content-Type', 'text/plain'], ...headers])
    return body()
  }

it.each<[path: string, options: SendfileOptions, value: string | undefined]>([
  ['/srv/files/a.txt', accel, '/files/a.txt'],
  ['/srv/files/deep/a.txt', accel, '/deep/a.txt'],
  ['/srv/files/deeper/a.txt', accel, '/files/deeper/a.txt'],
  ['/srv/files/../files/a.txt', accel, '/files/a.txt'],
  ['/srv/files/../secret', accel, undefined],
  ['/srv/filesystem/a.txt', accel, undefined],
  ['/elsewhere/a.txt', accel, undefined],
  ['/srv/files/a b%2f?#\n.txt', accel, '/files/a%20b%252f%3F%23%0A.txt'],
  ['/srv/files/grün', accel, '/files/gr%C3%BCn'],
  ['/srv/100%/x', accel, '/a%25b/x'],
  ['/srv/files/a.txt', xSendfile, '/srv/files/a.txt'],
  ['/srv/files/./a b.txt', xSendfile, '/srv/files/a%20b.txt'],
  ['/srv/files/./a b%2f.txt', unescaped, '/srv/files/a b%2f.txt'],
  ['/srv/files/grün', unescaped, '/srv/files/gr\xc3\xbcn'],
  ['/srv/files/a\nb', unescaped, undefined],
  ['/srv/files/a\x7fb', unescaped, undefined],
  ['/srv/files/a ', unescaped, undefined],
  ['/srv/files/a\nb', { ...accel, escape: false }, undefined],
])('sendfile of %j with %j sends %j', async (path, options, value) => {
  const response = await runCgi(
    sendfile(
      respondingWith(() => fileAt(path)),
      options,
    ),
    '/',
  )
  expect(valueOf(response, options.header)).toBe(value)
  expect(response.body.toString()).toBe(value === undefined ? 'body' : '')
})

describe.each(GATEWAYS)('over %s', (gateway) => {
  it('sendfile sends no body, and closes the file', async () => {
    let closed = 0
    const app = respondingWith(
      () => fileAt('/srv/files/a', {}, () => void (closed += 1)),
      [
        ['Content-Length', '4'],
        ['ETag', '"x"'],
      ],
    )
    for (const method of ['GET', 'HEAD']) {
      closed = 0
      const response = await through(gateway, sendfile(app, accel), (ask) =>
        ask({ method, target: '/' }),
      )
      expect([response.status, response.body.length, response.broken, closed]).toEqual([
        OK,
        0,
        false,
        1,
      ])
      expect(valueOf(response, 'Content-Length')).toBe('0')
      expect(valueOf(response, 'Content-Type')).toBe('text/plain')
      expect(valueOf(response, 'ETag')).toBe('"x"')
    }
  })

  it('sendfile ignores headers of the client', async () => {
    const headers: HeaderList = [
      ['X-Sendfile-Type', 'X-Accel-Redirect'],
      ['X-Accel-Mapping', '/=/secret/'],
      ['X-Accel-Redirect', '/secret'],
      ['X-Sendfile', '/etc/passwd'],
    ]
    const plain = await through(
      gateway,
      respondingWith(() => fileAt('/a')),
      (ask) => ask({ target: '/', headers }),
    )
    expect([plain.body.toString(), plain.headers.some(([name]) => /^x-/i.test(name))]).toEqual([
      'body',
      false,
    ])
    const switchedOn = await through(
      gateway,
      sendfile(
        respondingWith(() => fileAt('/a')),
        accel,
      ),
      (ask) => ask({ target: '/', headers }),
    )
    expect([
      switchedOn.body.toString(),
      switchedOn.headers.some(([name]) => /^x-/i.test(name)),
    ]).toEqual(['body', false])
  })
})

it.each<[what: string, app: Application, method?: string]>([
  ['a part of a file', respondingWith(() => fileAt('/a', { start: 1, length: 4 }))],
  ['a file up to a length', respondingWith(() => fileAt('/a', { length: 4 }))],
  ['a file without a path', respondingWith(() => new FileWrapper(Readable.from(['body'])))],
  ['an array', respondingWith(() => ['body'])],
  ['another status', respondingWith(() => fileAt('/a'), [], '404 Not Found')],
  [
    'a part as the application sends it',
    respondingWith(() => fileAt('/a'), [], '206 Partial Content'),
  ],
  ['a compressed file', respondingWith(() => fileAt('/a'), [['Content-Encoding', 'gzip']])],
  ['a response to POST', respondingWith(() => fileAt('/a')), 'POST'],
  [
    'the chunks of write()',
    async (_environ, startResponse) => {
      await startResponse(OK, [])('body')
      return []
    },
  ],
])('sendfile does not change %s', async (_what, app, method = 'GET') => {
  const response = await runCgi(sendfile(app, xSendfile), { method, target: '/' })
  expect(valueOf(response, 'X-Sendfile')).toBeUndefined()
  expect(response.body.toString()).toMatch(/body$|^ody/)
})

it('sendfile passes on the header of the application', async () => {
  const app = respondingWith(() => fileAt('/a'), [['X-Sendfile', '/b']])
  expect(valueOf(await runCgi(sendfile(app, xSendfile), '/'), 'X-Sendfile')).toBe('/b')
})

it.each<[what: string, body: () => Body | Promise<Body>]>([
  ['a stream', () => new FileWrapper(createReadStream(FILE))],
  ['a FileHandle with its path', async () => new FileWrapper(await open(FILE), { path: FILE })],
])('sendfile passes on %s', async (_what, body) => {
  expect(valueOf(await runCgi(sendfile(respondingWith(body), xSendfile), '/'), 'X-Sendfile')).toBe(
    FILE,
  )
})

it.each<unknown>([
  {},
  { header: 'X-Other' },
  { header: 'X-Accel-Redirect' },
  { header: 'X-Accel-Redirect', map: {} },
  { header: 'X-Accel-Redirect', map: { 'srv/files': '/files' } },
  { header: 'X-Accel-Redirect', map: { '/srv/files': 'files' } },
  { header: 'X-Sendfile', map: { '/a': '/b' } },
])('sendfile refuses the options %j', (options) => {
  expect(() =>
    sendfile(
      respondingWith(() => []),
      options as SendfileOptions,
    ),
  ).toThrow(ConfigurationError)
})

const servers = [
  {
    program: 'nginx',
    options: (directory: string): SendfileOptions => ({
      header: 'X-Accel-Redirect',
      map: { [directory]: '/protected files' },
    }),
    start: (to: string, directory: string) =>
      startNginx({
        mounts: [{ at: '/app', to }],
        extra: `location "/protected files/" { internal; alias ${directory}/; }`,
      }),
  },
  {
    program: 'lighttpd',
    options: (): SendfileOptions => ({ header: 'X-Sendfile' }),
    start: (to: string, directory: string) =>
      startLighttpd({
        mounts: [
          {
            at: '/app',
            to,
            extra: `"x-sendfile" => "enable", "x-sendfile-docroot" => ("${directory}"),`,
          },
        ],
      }),
  },
  {
    program: 'apache2',
    options: (): SendfileOptions => unescaped,
    start: (to: string, directory: string) =>
      startApache({
        mounts: [{ at: '/app', to }],
        modules: ['xsendfile'],
        extra: `XSendFile On\nXSendFilePath "${directory}"`,
      }),
  },
] as const

describe.each(servers)('sendfile with $program', ({ program, options, start }) => {
  const { available, hint } = installed(program)
  describe.skipIf(!available)(`passes files on${hint}`, () => {
    const names = ['plain.txt', 'a b%2f+?#.txt', 'grün.bin']
    const content = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))
    let directory: string
    let app: GatewayServer
    let server: WebServer
    let log = ''

    beforeAll(async () => {
      directory = await makeDirectory()
      mkdirSync(join(directory, 'files'))
      for (const name of names) writeFileSync(join(directory, 'files', name), content)
      const files: Application = (environ, startResponse) => {
        const name = names[Number(environ.QUERY_STRING)]
        if (name === undefined) {
          startResponse('404 Not Found', [])
          return []
        }
        log += 'asked '
        startResponse(OK, [
          ['Content-Type', 'application/x-mine'],
          ['Content-Disposition', 'inline'],
        ])
        const path = join(directory, 'files', name)
        return new FileWrapper(
          { read: () => ((log += 'read '), ''), close: () => (log += 'closed ') },
          { path },
        )
      }
      const application = sendfile(
        cascade([files, staticFiles(join(directory, 'files'))]),
        options(join(directory, 'files')),
      )
      app = await new FastCGIHandler({ listen: '127.0.0.1:0' }).run(application)
      const { address } = app
      const port = address.kind === 'tcp' ? address.port : 0
      server = await start(`127.0.0.1:${port}`, join(directory, 'files'))
    })
    afterAll(async () => {
      await server?.stop()
      await app?.close()
      await rm(directory, { recursive: true, force: true })
    })

    it.each(names.map((name, index) => [name, index] as const))(
      'and the server sends %s',
      async (_name, index) => {
        log = ''
        const response = await httpRequest({ port: server.port }, { target: `/app?${index}` })
        expect([response.status, response.body.equals(content)]).toEqual([200, true])
        expect([response.header('content-type'), response.header('content-disposition')]).toEqual([
          'application/x-mine',
          'inline',
        ])
        expect(response.header('content-length')).toBe('100000')
        expect(response.headers.some(([name]) => /^x-(?:accel|sendfile)/i.test(name))).toBe(false)
        expect(log).toBe('asked closed ')
      },
    )

    it('and leaves ranges to the server', async () => {
      const headers: HeaderList = [['Range', 'bytes=10-19']]
      const response = await httpRequest({ port: server.port }, { target: '/app?0', headers })
      expect([response.status, response.body.equals(content.subarray(10, 20))]).toEqual([206, true])
    })

    it('from staticFiles, which sends ranges itself', async () => {
      const target = '/app/plain.txt?x'
      const whole = await httpRequest({ port: server.port }, { target })
      expect([whole.status, whole.body.equals(content)]).toEqual([200, true])
      const part = await httpRequest(
        { port: server.port },
        { target, headers: [['Range', 'bytes=10-19']] },
      )
      expect([part.status, part.body.equals(content.subarray(10, 20))]).toEqual([206, true])
      const ranges = whole.headers.filter(([name]) => /^accept-ranges$/i.test(name))
      expect(ranges.map(([, value]) => value)).toEqual(['bytes'])
    })

    it('with the length of the file for HEAD', async () => {
      const response = await httpRequest(
        { port: server.port },
        { method: 'HEAD', target: '/app?0' },
      )
      expect([response.status, response.header('content-length')]).toEqual([200, '100000'])
    })
  })
})
