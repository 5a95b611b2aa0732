/**
 * The web servers that other tests use: they start, pass requests on and stop. What they send is
 * compared if Portico depends on it.
 */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import { startApache } from './apache.ts'
import { startHaproxy } from './haproxy.ts'
import { startLighttpd } from './lighttpd.ts'
import type { Mount } from './mount.ts'
import { startNginx } from './nginx.ts'
import { installed, makeDirectory, type ServerProgram, type WebServer } from './process.ts'
import { type Responder, startFastcgi, startScgi } from './responder.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

async function started<T extends WebServer>(starting: Promise<T>): Promise<T> {
  const server = await starting
  closers.push(() => server.stop())
  return server
}

async function responding(starting: Promise<Responder>): Promise<Responder> {
  const responder = await starting
  closers.push(() => responder.close())
  return responder
}

async function newDirectory(): Promise<string> {
  const directory = await makeDirectory()
  closers.push(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function script(directory: string, name: string, text: string): Promise<void> {
  await writeFile(join(directory, name), text)
  await chmod(join(directory, name), 0o755)
}

interface Shown {
  params: Record<string, string>
  size: number
}

async function ask(server: WebServer, target: string, body?: string): Promise<Shown> {
  const method = body === undefined ? 'GET' : 'POST'
  const request = { method, target, ...(body === undefined ? {} : { body }) }
  const response = await httpRequest({ port: server.port }, request)
  if (response.status !== 200) {
    throw new Error(`${response.status} ${String(response.body)}\n${await server.errorLog()}`)
  }
  const shown: Shown = JSON.parse(String(response.body))
  return shown
}

type Start = (options: { mounts?: Mount[]; extra?: string }) => Promise<WebServer>

const servers: [ServerProgram, Start][] = [
  ['apache2', startApache],
  ['nginx', startNginx],
  ['lighttpd', startLighttpd],
  ['haproxy', startHaproxy],
]

const listeners = { fastcgi: startFastcgi, scgi: startScgi }

describe.each(servers)('For the tests, %s', (program, start) => {
  const { available, hint } = installed(program)
  const protocols = program === 'haproxy' ? (['fastcgi'] as const) : (['fastcgi', 'scgi'] as const)

  describe.skipIf(!available)(`runs${hint}`, () => {
    it.each(
      protocols.flatMap((protocol) => [
        { protocol, at: '/', target: '/a.b?q=1', expected: ['', '/a.b', 'q=1'] },
        { protocol, at: '/app', target: '/app/a?q', expected: ['/app', '/a', 'q'] },
        { protocol, at: '/app', target: '/app/', expected: ['/app', '/', ''] },
        // mod_proxy knows no empty path.
        {
          protocol,
          at: '/app',
          target: '/app',
          expected: ['/app', program === 'apache2' ? '/' : '', ''],
        },
      ]),
    )(
      'an application over $protocol at $at for $target',
      async ({ protocol, at, target, expected }) => {
        for (const listen of [0, `unix:${await newDirectory()}/app.sock`]) {
          const { address } = await responding(listeners[protocol](listen))
          const server = await started(start({ mounts: [{ at, to: address, protocol }] }))
          const { params, size } = await ask(server, target, 'four')
          // HAProxy and lighttpd leave out what is empty.
          const { SCRIPT_NAME = '', PATH_INFO = '', QUERY_STRING = '' } = params
          const { CONTENT_LENGTH, REQUEST_METHOD } = params
          expect([SCRIPT_NAME, PATH_INFO, QUERY_STRING]).toEqual(expected)
          expect([REQUEST_METHOD, CONTENT_LENGTH, size]).toEqual(['POST', '4', 4])
        }
      },
    )

    it('an HTTP application at /', async () => {
      const backend = createServer((request, response) => response.end(request.url))
      backend.listen(0, '127.0.0.1')
      await once(backend, 'listening')
      closers.push(async () => backend.close())
      const address = backend.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      const mounts: Mount[] = [{ at: '/', to: `127.0.0.1:${port}`, protocol: 'http' }]
      const server = await started(start({ mounts }))
      const { body } = await httpRequest({ port: server.port }, { target: '/x?y' })
      expect(String(body)).toBe('/x?y')
    })

    it('until it is stopped, and then frees its port', async () => {
      const server = await start({})
      expect(await httpRequest({ port: server.port })).toMatchObject({ version: '1.1' })
      await server.stop()
      await expect(httpRequest({ port: server.port })).rejects.toThrow('ECONNREFUSED')
      expect(() => process.kill(server.pid, 0)).toThrow('ESRCH')
    })

    it('only with a valid configuration, and reports its error otherwise', async () => {
      const options = { extra: 'Nonsense = ( here' }
      await expect(start(options)).rejects.toThrow(/did not start: .*\n.*(nonsense|parser)/is)
    })
  })
})

describe.skipIf(!installed('nginx').available)('nginx', () => {
  it('keeps connections to an application only with keepalive', async () => {
    for (const [keepalive, connections] of [
      [8, 1],
      [0, 3],
    ] as const) {
      const responder = await responding(startFastcgi(0))
      const mounts = [{ at: '/', to: responder.address }]
      const server = await started(startNginx({ mounts, keepalive }))
      for (let count = 0; count < 3; count += 1) await ask(server, '/')
      expect(responder.connections).toBe(connections)
    }
  })

  it('without fastcgi_split_path_info sends the whole path as SCRIPT_NAME and no PATH_INFO', async () => {
    const { address } = await responding(startFastcgi(0))
    const mounts: Mount[] = [{ at: '/app', to: address, pathInfo: 'none' }]
    const { params } = await ask(await started(startNginx({ mounts })), '/app//x%2fy')
    expect(params['SCRIPT_NAME']).toBe('/app/x/y')
    expect(params).not.toHaveProperty('PATH_INFO')
    expect(params['CONTENT_LENGTH']).toBe('')
  })

  it('logs errors to its error log', async () => {
    const to = `unix:${await newDirectory()}/missing.sock`
    const server = await started(startNginx({ mounts: [{ at: '/', to }] }))
    expect((await httpRequest({ port: server.port })).status).toBe(502)
    expect(await server.errorLog()).toContain('missing.sock failed (2: No such file or directory)')
    await server.stop()
    expect(await server.errorLog()).toContain('missing.sock')
  })
})

const shellScript = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
cat
env
`

const nodeScript = `#!/usr/bin/env node
process.stdout.write('Content-Type: text/plain\\r\\n\\r\\n' +
  JSON.stringify([process.execPath, process.version, process.env.NODE_OPTIONS]))
`

/** Responds to any request on fd 0 with the bytes of its records. */
const fcgidScript = `#!/usr/bin/env node
const record = (type, content) =>
  Buffer.concat([Buffer.from([1, type, 0, 1, content.length >> 8, content.length, 0, 0]), content])
require('net').createServer((socket) => {
  let bytes = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
    if (bytes.indexOf(Buffer.from([1, 5, 0, 1, 0, 0])) === -1) return
    const head = Buffer.from('Content-Type: text/plain\\r\\n\\r\\n' + process.execPath + ' ')
    socket.write(Buffer.concat([record(6, head), record(6, bytes.subarray(0, 65000))]))
    socket.end(Buffer.concat([record(6, Buffer.alloc(0)), record(3, Buffer.alloc(8))]))
  })
}).listen({ fd: 0 })
`

describe.each([
  ['apache2', startApache],
  ['lighttpd', startLighttpd],
] as const)('CGI in %s', (program, start) => {
  const { available, hint } = installed(program)
  describe.skipIf(!available)(`runs${hint}`, () => {
    it('a shell script, with its request and without the environment of the test', async () => {
      const cgiBin = await newDirectory()
      await script(cgiBin, 'env', shellScript)
      const server = await started(start({ cgiBin }))
      process.env['PORTICO_TEST_SECRET'] = 'yes'
      const response = await httpRequest(
        { port: server.port },
        { method: 'POST', target: '/cgi-bin/env/a%2e?b', body: 'BODY=1\n' },
      )
      delete process.env['PORTICO_TEST_SECRET']
      const lines = String(response.body).split('\n')
      expect(lines).toEqual(
        expect.arrayContaining([
          'BODY=1',
          'SCRIPT_NAME=/cgi-bin/env',
          'PATH_INFO=/a.',
          'QUERY_STRING=b',
          'GATEWAY_INTERFACE=CGI/1.1',
        ]),
      )
      expect(String(response.body)).not.toMatch(/SECRET|NODE_/)
    })

    it('a node script with the node that runs this test', async () => {
      const cgiBin = await newDirectory()
      await script(cgiBin, 'app.cgi', nodeScript)
      const server = await started(start({ cgiBin }))
      const { body } = await httpRequest({ port: server.port }, { target: '/cgi-bin/app.cgi' })
      expect(JSON.parse(String(body))).toEqual([process.execPath, process.version, null])
    })
  })
})

describe.skipIf(!installed('apache2').available)('Apache', () => {
  it('runs a .cgi file among its documents, and shows other files', async () => {
    const documentRoot = await newDirectory()
    await script(documentRoot, 'app.cgi', nodeScript)
    await writeFile(join(documentRoot, 'page.txt'), 'a page')
    const server = await started(startApache({ documentRoot }))
    const result = await httpRequest({ port: server.port }, { target: '/app.cgi' })
    const page = await httpRequest({ port: server.port }, { target: '/page.txt' })
    expect(String(result.body)).toContain(process.version)
    expect(String(page.body)).toBe('a page')
  })

  it('passes Authorization on only with CGIPassAuth', async () => {
    const cgiBin = await newDirectory()
    await script(cgiBin, 'env', shellScript)
    for (const everywhere of ['', 'CGIPassAuth On']) {
      const server = await started(startApache({ cgiBin, everywhere }))
      const headers: [string, string][] = [['Authorization', 'Basic YTpi']]
      const { body } = await httpRequest({ port: server.port }, { target: '/cgi-bin/env', headers })
      expect(String(body).includes('HTTP_AUTHORIZATION=Basic YTpi')).toBe(everywhere !== '')
    }
  })

  it('percent-encodes PATH_INFO for SCGI, and then cannot compute SCRIPT_NAME', async () => {
    const { address } = await responding(startScgi(0))
    const mounts: Mount[] = [{ at: '/app', to: address, protocol: 'scgi' }]
    const { params } = await ask(await started(startApache({ mounts })), '/app/a%20b')
    expect([params['SCRIPT_NAME'], params['PATH_INFO']]).toEqual(['/app/a b', '/a%20b'])
  })

  it.each(['/', '/app'])('starts FastCGI programs through mod_fcgid at %s', async (at) => {
    const directory = await newDirectory()
    await script(directory, 'app.fcgi', fcgidScript)
    const fcgid = [{ at, script: join(directory, 'app.fcgi') }]
    const server = await started(startApache({ fcgid }))
    const target = `${at === '/' ? '' : at}/x`
    const connection = await openHttp({ port: server.port })
    closers.push(async () => connection.close())
    for (let count = 0; count < 2; count += 1) {
      const { body } = await connection.request({ target })
      const text = body.toString('latin1')
      expect(text).toContain(`${process.execPath} `)
      expect(text).toContain('PATH_INFO/x')
      expect(text).toContain(`SCRIPT_NAME${at === '/' ? '' : at}`)
    }
  })
})

it('installed() reports that a server is not installed, and throws on CI', () => {
  const ci = process.env['CI']
  try {
    delete process.env['CI']
    expect(installed('no-such-server')).toEqual({
      available: false,
      hint: ' (no-such-server is not installed: run scripts/install-servers.sh)',
    })
    process.env['CI'] = 'true'
    expect(() => installed('no-such-server')).toThrow('scripts/install-servers.sh')
  } finally {
    if (ci === undefined) delete process.env['CI']
    else process.env['CI'] = ci
  }
})
