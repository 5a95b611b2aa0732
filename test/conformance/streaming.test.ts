/**
 * What web servers must pass on while it happens: events with the settings of docs/frameworks.md,
 * uploads that are not buffered, responses before the end of a body, and long logs.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { startApache } from '../servers/apache.ts'
import { h2oServer } from '../servers/h2o.ts'
import { startHaproxy } from '../servers/haproxy.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import { replacing, startSites } from '../servers/mount.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from '../servers/process.ts'

const LINE =
  'a line of the log that is as long as those of a stack trace usually are, and then some more'
const LINES = Array.from({ length: 30 }, (_, n) => `${LINE} ${n};`)

let directory: string
let socket: string
let scgiSocket: string
const servers: WebServer[] = []
const applications: GatewayServer[] = []

/** Longer than what a socket or a pipe holds. */
const LONG = 1_000_000

/** Sends an event, and the second one only when the client has the first. */
const events: Application = async function* (environ, startResponse) {
  if (environ.PATH_INFO === '/early') {
    startResponse('413 Content Too Large', [['Content-Length', String(LONG)]])
    yield Buffer.alloc(LONG)
    return
  }
  if (environ.PATH_INFO === '/log') {
    for (const line of LINES) environ['wsgi.errors'].write(`${line}\n`)
  }
  if (environ.REQUEST_METHOD === 'POST') {
    let length = 0
    for await (const chunk of environ['wsgi.input'].chunks()) length += chunk.length
    startResponse('200 OK', [['Content-Type', 'text/plain']])
    yield String(length)
    return
  }
  startResponse('200 OK', [['Content-Type', 'text/event-stream']])
  yield 'data: 1\n\n'
  if (environ.PATH_INFO === '/log') return
  while (!existsSync(join(directory, environ.QUERY_STRING))) await sleep(20)
  yield 'data: 2\n\n'
}

beforeAll(async () => {
  directory = await makeDirectory()
  socket = join(directory, 'app.sock')
  scgiSocket = join(directory, 'scgi.sock')
  applications.push(await new FastCGIHandler({ listen: `unix:${socket}` }).run(events))
  applications.push(await new SCGIHandler({ listen: `unix:${scgiSocket}` }).run(events))
  await openSocket(socket)
  await openSocket(scgiSocket)
})
afterAll(async () => {
  for (const server of servers) await server.stop()
  for (const application of applications) await application.close()
  await rm(directory, { recursive: true, force: true })
})

async function started(starting: Promise<WebServer>): Promise<WebServer> {
  const server = await starting
  servers.push(server)
  return server
}

/** A program for mod_fcgid that responds with its events or its process id. */
async function writeProgram(): Promise<string> {
  const program = join(directory, 'events.mjs')
  await writeFile(
    program,
    `#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { FastCGIHandler } from '${resolve('dist/src/exports/fastcgi.js')}'
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time))
await new FastCGIHandler().run(async function* (environ, startResponse) {
  startResponse('200 OK', [['Content-Type', 'text/event-stream']])
  if (environ.PATH_INFO === '/pid') {
    await sleep(100)
    yield String(process.pid)
    return
  }
  yield 'data: 1\\n\\n'
  while (!existsSync('${directory}/' + environ.QUERY_STRING)) await sleep(20)
  yield 'data: 2\\n\\n'
})
`,
  )
  await chmod(program, 0o755)
  return program
}

/** A CGI script that echoes each chunk, or responds without reading the body. */
async function writeScript(): Promise<string> {
  const cgiBin = join(directory, 'cgi-bin')
  await mkdir(cgiBin, { recursive: true })
  await writeFile(
    join(cgiBin, 'early.mjs'),
    `#!/usr/bin/env node
import { CGIHandler } from '${resolve('dist/src/exports/cgi.js')}'
await new CGIHandler().run((environ, startResponse) => {
  startResponse('413 Content Too Large', [])
  if (environ.PATH_INFO === '/echo') return environ['wsgi.input'].chunks()
  return [Buffer.alloc(${LONG})]
})
`,
  )
  await chmod(join(cgiBin, 'early.mjs'), 0o755)
  return cgiBin
}

const unbuffered = () => ({ at: '/', to: `unix:${socket}` })
const mounts = (extra = '') => [{ at: '/', to: `unix:${socket}`, extra }]

const streaming: [string, string, () => Promise<WebServer>][] = [
  ['nginx', 'nginx', async () => startNginx({ mounts: mounts('fastcgi_buffering off;') })],
  [
    'apache2',
    'mod_proxy_fcgi with flushpackets=on',
    async () =>
      startApache({
        extra: `ProxyPass "/" "unix:${socket}|fcgi://app/" flushpackets=on
          SetEnvIf Request_URI "^/" proxy-fcgi-pathinfo=unescape
          <Location "/">\nRequire all granted\n</Location>`,
      }),
  ],
  [
    'apache2',
    'mod_fcgid with FcgidOutputBufferSize 0',
    async () =>
      startApache({
        fcgid: [{ at: '/', script: await writeProgram() }],
        extra: 'FcgidOutputBufferSize 0',
      }),
  ],
  ...['1', '2'].map((value): [string, string, () => Promise<WebServer>] => [
    'lighttpd',
    `lighttpd with server.stream-response-body = ${value}`,
    async () =>
      startLighttpd({ mounts: mounts(), extra: `server.stream-response-body = ${value}` }),
  ]),
]

describe.each(streaming)('%s:', (program, setting, start) => {
  const { available, hint } = installed(program)

  it.skipIf(!available)(`${setting} passes on an event at once${hint}`, async () => {
    const server = await started(start())
    const released = `released-${server.port}`
    const connection = await openHttp({ port: server.port })
    const response = await connection.stream({ target: `/events?${released}` })
    let text = ''
    for await (const chunk of response.chunks()) {
      text += chunk.toString()
      if (text === 'data: 1\n\n') await writeFile(join(directory, released), '')
    }
    expect(text).toBe('data: 1\n\ndata: 2\n\n')
    connection.close()
  })
})

describe.skipIf(!installed('apache2').available)('mod_fcgid', () => {
  it('starts no more processes than FcgidMaxProcessesPerClass', async () => {
    const script = await writeProgram()
    const edit = replacing(['FcgidMaxProcessesPerClass 8', 'FcgidMaxProcessesPerClass 1'])
    const server = await started(startApache({ fcgid: [{ at: '/', script }], edit }))
    const pids = await Promise.all(
      Array.from({ length: 4 }, () => httpRequest({ port: server.port }, { target: '/pid' })),
    )
    expect(new Set(pids.map(({ body }) => String(body))).size).toBe(1)
  })
})

describe.skipIf(!installed('nginx').available)('nginx', () => {
  it('without scgi_request_buffering passes on every byte of an upload', async () => {
    const mount = { at: '/', to: `unix:${scgiSocket}`, protocol: 'scgi' as const }
    const extra = 'scgi_request_buffering off; client_max_body_size 0;'
    const server = await started(startNginx({ mounts: [{ ...mount, extra }] }))
    for (const length of [5, 100_000, 5_000_000]) {
      const body = Buffer.alloc(length, 'x')
      const response = await httpRequest({ port: server.port }, { method: 'POST', body })
      expect([response.status, String(response.body)]).toEqual([200, String(length)])
    }
  })

  it.each([0, 8])('with keepalive %i logs each line of a long log', async (keepalive) => {
    const server = await started(startNginx({ mounts: mounts(), keepalive }))
    const response = await httpRequest({ port: server.port }, { target: '/log' })
    expect(response.status).toBe(200)
    await expect
      .poll(async () => {
        const log = await server.errorLog()
        return LINES.filter((line) => !log.includes(line))
      })
      .toEqual([])
  })
})

const early: [string, string, string, () => Promise<WebServer>][] = [
  ['nginx', 'nginx', '/early', async () => startNginx({ mounts: [unbuffered()] })],
  ['apache2', 'mod_proxy_fcgi', '/early', async () => startApache({ mounts: [unbuffered()] })],
  ['lighttpd', 'lighttpd', '/early', async () => startLighttpd({ mounts: [unbuffered()] })],
  ['haproxy', 'HAProxy', '/early', async () => startHaproxy({ mounts: [unbuffered()] })],
  ['h2o', 'H2O', '/early', async () => startSites(h2oServer, { mounts: [unbuffered()] })],
  ...[false, true].flatMap((prefork): typeof early =>
    ['', '/echo'].map((path) => [
      'apache2',
      prefork ? 'mod_cgi' : 'mod_cgid',
      `/cgi-bin/early.mjs${path}`,
      async () => startApache({ cgiBin: await writeScript(), prefork }),
    ]),
  ),
]

describe.each(early)('%s:', (program, setting, target, start) => {
  const { available, hint } = installed(program)

  it.skipIf(!available)(
    `${setting} passes on a long response of ${target} that begins before the body is read${hint}`,
    async () => {
      const { port } = await started(start())
      const response = await httpRequest(
        { port },
        { method: 'POST', target, body: Buffer.alloc(LONG) },
      )
      expect([response.status, response.body.length]).toEqual([413, LONG])
    },
  )
})

it.skipIf(!installed('haproxy').available)(
  'HAProxy passes on the next request of a connection after an early response',
  async () => {
    const { port } = await started(startHaproxy({ mounts: [unbuffered()] }))
    const connection = await openHttp({ port })
    for (let count = 0; count < 2; count += 1) {
      const request = { method: 'POST', target: '/early', body: Buffer.alloc(LONG) }
      expect((await connection.request(request)).status).toBe(413)
    }
    connection.close()
  },
)
