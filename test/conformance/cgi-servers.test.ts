/**
 * CGI scripts in web servers that treat them in their own ways: which signals they send, what they
 * do with stderr, and what they pass on of a chunked body.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { HttpRequest, HttpResponse } from '../../src/testing/http-message.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { startApache } from '../servers/apache.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import {
  findProgram,
  installed,
  makeDirectory,
  type WebServer,
  workerUser,
} from '../servers/process.ts'
import { bundleCGI } from '../support/cgi.ts'

const ENV = { PATH: `${resolve(process.execPath, '..')}:/usr/bin:/bin`, LANG: 'C.UTF-8' }

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

/** Starts a small web server with a port of the system's choice; resolves when it responds. */
async function startSmall(program: string, args: (port: number) => string[]): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const child: ChildProcess = spawn(program, args(port), {
    cwd: directory,
    env: ENV,
    stdio: 'ignore',
  })
  servers.push({ stop: () => child.kill('SIGKILL') })
  await expect
    .poll(() =>
      httpRequest({ port }, { target: '/nothing' }).then(
        ({ status }) => status,
        () => 0,
      ),
    )
    .toBeGreaterThan(0)
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

const miniHttpd = findProgram('mini_httpd')

describe.skipIf(miniHttpd === undefined)('mini_httpd', () => {
  it('does not show a client the errors of a script', async () => {
    const user = workerUser === undefined ? [] : ['-u', workerUser]
    const port = await startSmall(miniHttpd!, (chosen) => [
      ...`-D -h 127.0.0.1 -p ${chosen} -d ${directory} -c cgi-bin/*`.split(' '),
      ...user,
    ])
    const response = await ask(port, '/throw')
    expect(response.status).toBe(500)
    expect(String(response.raw)).not.toContain('secret')
  })
})

const small: [string, (port: number) => string[]][] = [
  ['busybox', (port) => ['httpd', '-f', '-p', `127.0.0.1:${port}`, '-h', directory]],
  [
    'uwsgi',
    (port) =>
      (
        `--plugins http,cgi --http-socket 127.0.0.1:${port} --http-socket-modifier1 9 ` +
        `--cgi /cgi-bin=${cgiBin} --cgi-allowed-ext .cgi`
      ).split(' '),
  ],
]

describe.each(small)('%s', (name, args) => {
  const program = findProgram(name)

  it.skipIf(program === undefined)(
    'does not decode a chunked body, and the script responds with a 411 at once',
    async () => {
      const port = await startSmall(program!, args)
      expect((await ask(port, '', CHUNKED)).status).toBe(411)
      const whole = await ask(port, '', { method: 'POST', body: 'a=1' })
      expect([whole.status, String(whole.body)]).toEqual([200, '3'])
    },
  )
})

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
