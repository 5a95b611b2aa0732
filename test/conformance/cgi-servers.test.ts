/**
 * CGI scripts in web servers that treat them in their own ways: which signals they send, what they
 * do with stderr, and what they pass on of a chunked body.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { HttpRequest, HttpResponse } from '../../src/testing/http-message.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { startApache } from '../servers/apache.ts'
import { startCgiServer } from '../servers/cgi-server.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { freePort, installed, makeDirectory, type WebServer } from '../servers/process.ts'
import { bundleCGI } from '../support/cgi.ts'

/** Reads its body, throws at /throw, and leaves a file when its response body is closed. */
const SCRIPT = `#!/usr/bin/env node
const { CGIHandler } = require('./portico.cjs')
const { writeFileSync } = require('node:fs')
new CGIHandler().run(async (environ, startResponse) => {
  if (environ.PATH_INFO === '/throw') throw new Error('a secret in a stack trace')
  const { length } = await environ['wsgi.input'].read()
  const text = String(length)
  startResponse('200 OK', [['Content-Type', 'text/plain'], ['Content-Length', String(text.length)]])
  return Object.assign([text], {
    close() {
      if (environ.QUERY_STRING) writeFileSync(__dirname + '/' + environ.QUERY_STRING, '')
    },
  })
})
`

let directory: string
let cgiBin: string
const servers: { stop(): unknown }[] = []

beforeAll(async () => {
  directory = await makeDirectory()
  cgiBin = join(directory, 'cgi-bin')
  await mkdir(cgiBin)
  await chmod(cgiBin, 0o777)
  await bundleCGI(cgiBin)
  await writeFile(join(cgiBin, 'app.cgi'), SCRIPT)
  await writeFile(join(cgiBin, 'package.json'), '{ "type": "commonjs" }')
  await chmod(join(cgiBin, 'app.cgi'), 0o755)
})
afterAll(async () => {
  for (const server of servers) await server.stop()
  await rm(directory, { recursive: true, force: true })
})

async function started(starting: Promise<WebServer>): Promise<WebServer> {
  const server = await starting
  servers.push(server)
  return server
}

/** Starts a small web server; resolves to its port when it responds. */
async function startSmall(name: string): Promise<number> {
  const port = await freePort()
  const { child } = startCgiServer(name, directory, port)
  servers.push({ stop: () => child.kill('SIGKILL') })
  await vi.waitFor(() => httpRequest({ port }, { target: '/nothing' }), { timeout: 20_000 })
  return port
}

function ask(port: number, target: string, request: HttpRequest = {}): Promise<HttpResponse> {
  return httpRequest({ port }, { target: `/cgi-bin/app.cgi${target}`, ...request })
}

const CHUNKED: HttpRequest = {
  method: 'POST',
  headers: [['Transfer-Encoding', 'chunked']],
  body: ['a=1'],
}

describe.skipIf(!installed('lighttpd').available)('lighttpd mod_cgi', () => {
  it('sends SIGTERM after Content-Length bytes, and the body is closed nevertheless', async () => {
    const { port } = await started(startLighttpd({ cgiBin }))
    for (let n = 0; n < 5; n += 1) {
      expect(String((await ask(port, `?closed-${n}`)).body)).toBe('0')
    }
    const files = Array.from({ length: 5 }, (_, n) => join(cgiBin, `closed-${n}`))
    await expect.poll(() => files.filter((file) => !existsSync(file))).toEqual([])
  })
})

/** What a script gets, and what the client gets: see LIMITS for what a server does otherwise. */
const SHOW = `#!/usr/bin/env node
const { CGIHandler } = require('./portico.cjs')
new CGIHandler().run(async (environ, startResponse) => {
  const { length } = await environ['wsgi.input'].read()
  const names = ['SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'HTTP_COOKIE', 'HTTP_X_FOO', 'HTTP_AUTHORIZATION']
  const text = JSON.stringify([environ.REQUEST_METHOD, ...names.map((name) => environ[name] ?? null), length])
  startResponse(environ.QUERY_STRING === '404' ? '404 Not Found' : '200 OK', [['Content-Type', 'text/plain']])
  return [text]
})
`

interface Seen {
  foo?: string | null
  authorization?: string | null
  /** The status of a response with a 404. */
  missing?: number
  /** The status of a path that ends in a slash. */
  slash?: number
  /** The status of a request with a chunked body. */
  chunked?: number
}

/** What is not as with other servers. docs/servers/cgi-elsewhere.md has the same in words. */
const LIMITS: Readonly<Record<string, Seen>> = {
  uwsgi: {},
  busybox: { authorization: null, slash: 404 },
  mini_httpd: { foo: null, authorization: null },
  python: { foo: null, authorization: null, missing: 200, chunked: 200 },
}

/** Those that lose a small body that arrives together with its head, and reset the connection. */
const LOSE_BODIES = new Set(['mini_httpd'])

describe.each(Object.entries(LIMITS))(
  '%s, as docs/servers/cgi-elsewhere.md starts it,',
  (name, limits) => {
    const program = name === 'python' ? 'python3' : name
    const { available, hint } = installed(program)
    const expected = {
      foo: 'bar',
      authorization: 'Basic YTpi',
      missing: 404,
      chunked: 411,
      slash: 200,
      ...limits,
    }

    describe.skipIf(!available)(`serves a script${hint}`, () => {
      let port: number
      beforeAll(async () => {
        await writeFile(join(cgiBin, 'show.cgi'), SHOW)
        await chmod(join(cgiBin, 'show.cgi'), 0o755)
        port = await startSmall(name)
      })

      it('with its path, its query and the headers that the page lists', async () => {
        const headers: [string, string][] = [
          ['Cookie', 'a=1'],
          ['X-Foo', 'bar'],
          ['Authorization', 'Basic YTpi'],
        ]
        const target = '/cgi-bin/show.cgi/a%20b/c?x=%31'
        const { body } = await httpRequest({ port }, { target, headers })
        expect(JSON.parse(String(body))).toEqual([
          'GET',
          '/cgi-bin/show.cgi',
          '/a b/c',
          'x=%31',
          'a=1',
          expected.foo,
          expected.authorization,
          0,
        ])
      })

      it('whose status the client gets as the page says', async () => {
        for (const [target, status] of [
          ['/cgi-bin/show.cgi/x?404', expected.missing],
          ['/cgi-bin/show.cgi/', expected.slash],
        ] as const) {
          expect([target, (await httpRequest({ port }, { target })).status]).toEqual([
            target,
            status,
          ])
        }
      })

      it.each(LOSE_BODIES.has(name) ? [] : [expected.chunked])(
        'that reads a body with a length, and responds to a chunked one with a %s',
        async (status) => {
          expect((await ask(port, '', CHUNKED)).status).toBe(status)
          const whole = await ask(port, '', { method: 'POST', body: 'a=1' })
          expect([whole.status, String(whole.body)]).toEqual([200, '3'])
        },
      )

      it('without showing a client its errors', async () => {
        const response = await ask(port, '/throw')
        expect(response.status).toBe(name === 'python' ? 200 : 500)
        expect(String(response.raw)).not.toContain('secret')
      })
    })
  },
)

describe.skipIf(!installed('apache2').available)('mod_cgid', () => {
  it('runs an application of Fastify that logs to stdout', async () => {
    const script = join(cgiBin, 'fastify.cgi')
    await writeFile(
      script,
      `#!/usr/bin/env node
import('${resolve('node_modules/fastify/fastify.js')}').then(async ({ fastify }) => {
  const { run } = await import('${resolve('dist/src/exports/auto.js')}')
  const app = fastify({ logger: true })
  app.get('/hello', async (request) => {
    request.log.info('a line of the log')
    return { hello: 'world' }
  })
  await run(app)
})
`,
    )
    await chmod(script, 0o755)
    const server = await started(startApache({ cgiBin }))
    const target = '/cgi-bin/fastify.cgi/hello'
    const response = await httpRequest({ port: server.port }, { target })
    expect([response.status, String(response.body)]).toEqual([200, '{"hello":"world"}'])
    await expect.poll(() => server.errorLog()).toContain('a line of the log')
  })
})
