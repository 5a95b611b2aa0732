/**
 * nginx.conf.example, which portico init nginx writes: nginx accepts it, and applications at / and at
 * a prefix see what its comments promise.
 */
import { execFile } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { httpRequest, type HttpRequest, openHttp } from '../../src/exports/testing.ts'
import { replacing } from '../servers/mount.ts'
import { startNginx } from '../servers/nginx.ts'
import {
  findProgram,
  freePort,
  installed,
  makeDirectory,
  type WebServer,
} from '../servers/process.ts'
import {
  type Respond,
  type Responder,
  startFastcgi as startApplication,
} from '../servers/responder.ts'

const { available, hint } = installed('nginx')

/** The response of the applications; each test may put its own here. */
let respond: Respond

const show = (name: string): Respond =>
  async function* (params, input) {
    let size = 0
    for await (const bytes of input) size += bytes.length
    yield JSON.stringify({ name, params, size })
  }

interface Shown {
  name: string
  params: Record<string, string>
  size: number
}

describe.skipIf(!available)(`nginx.conf.example${hint}`, () => {
  let sockets: string
  let site: Responder
  let app: Responder
  let nginx: WebServer

  beforeAll(async () => {
    sockets = await makeDirectory()
    site = await startApplication(`unix:${sockets}/app.sock`, (...request) => respond(...request))
    app = await startApplication(0, show('app'))
    nginx = await startNginx({
      mounts: [
        { at: '/app', to: app.address },
        { at: '/', to: site.address },
      ],
    })
  })
  beforeEach(() => {
    respond = show('site')
  })
  afterEach(async () => {
    expect(await nginx.errorLog()).not.toMatch(/\[(emerg|alert|crit|warn)\]/)
  })
  afterAll(async () => {
    await nginx?.stop()
    await Promise.all([site?.close(), app?.close()])
    await rm(sockets, { recursive: true, force: true })
  })

  async function ask(request: HttpRequest): Promise<Shown> {
    const response = await httpRequest({ port: nginx.port }, request)
    const shown: Shown = JSON.parse(String(response.body))
    return shown
  }

  it('passes nginx -t without a warning, in the http block of a complete nginx.conf', async () => {
    const example = replacing(
      ['listen 80;', `listen 127.0.0.1:${await freePort()};`],
      ['listen [::]:80;', ''],
    )(await readFile('nginx.conf.example', 'utf8'))
    const config = join(sockets, 'checked.conf')
    await writeFile(config, `pid ${sockets}/pid;\nevents {}\nhttp {\n${example}}\n`)
    const log = ['-e', join(sockets, 'checked.log')]
    const program = findProgram('nginx')!
    const { stderr } = await promisify(execFile)(program, ['-t', '-c', config, ...log])
    expect(stderr).toContain('test is successful')
    expect(stderr).not.toContain('warn')
  })

  it.each([
    ['/', 'site', '', '/'],
    ['/a%20b/c?q', 'site', '', '/a b/c'],
    ['//a//b', 'site', '', '//a//b'],
    ['/a%2Fb', 'site', '', '/a/b'],
    ['/a%0Ab%0A', 'site', '', '/a\nb\n'],
    ['/%C3%A9', 'site', '', '/\xc3\xa9'],
    ['/apple', 'site', '', '/apple'],
    ['/app%0A', 'site', '', '/app\n'],
    ['/app', 'app', '/app', ''],
    ['/app/', 'app', '/app', '/'],
    ['/app/a%20b/c?q', 'app', '/app', '/a b/c'],
    ['/app//a%0A', 'app', '/app', '//a\n'],
  ])('splits the path %s correctly', async (target, name, scriptName, pathInfo) => {
    const shown = await ask({ target })
    const { SCRIPT_NAME, PATH_INFO, REQUEST_URI } = shown.params
    expect([shown.name, SCRIPT_NAME, PATH_INFO]).toEqual([name, scriptName, pathInfo])
    expect(REQUEST_URI).toBe(target)
  })

  it('sends each parameter once, and an empty one only if it is required', async () => {
    const { params } = await ask({ headers: [['X-Mine', 'a']] })
    const { REMOTE_PORT, SERVER_SOFTWARE, ...rest } = params
    expect(REMOTE_PORT).toMatch(/^\d+$/)
    expect(SERVER_SOFTWARE).toMatch(/^nginx\/[\d.]+$/)
    expect(rest).toEqual({
      GATEWAY_INTERFACE: 'CGI/1.1',
      HTTP_HOST: `127.0.0.1:${nginx.port}`,
      HTTP_X_MINE: 'a',
      PATH_INFO: '/',
      QUERY_STRING: '',
      REMOTE_ADDR: '127.0.0.1',
      REQUEST_METHOD: 'GET',
      REQUEST_URI: '/',
      SCRIPT_NAME: '',
      SERVER_ADDR: '127.0.0.1',
      SERVER_NAME: '127.0.0.1',
      SERVER_PORT: String(nginx.port),
      SERVER_PROTOCOL: 'HTTP/1.1',
    })
  })

  it.each([
    ['/', 'a.example', 'a.example'],
    ['/', 'A.example:8080', 'a.example:8080'],
    ['/', '[::1]:8080', '[::1]:8080'],
    ['http://a.example/', 'b.example', 'a.example'],
  ])('passes the host that nginx uses, for %s with Host %s', async (target, host, expected) => {
    const { params } = await ask({ target, headers: [['Host', host]] })
    expect(params['HTTP_HOST']).toBe(expected)
  })

  it('does not pass the unverified name in an Authorization header as REMOTE_USER', async () => {
    const credentials = `Basic ${Buffer.from('admin:nonsense').toString('base64')}`
    for (const target of ['/', '/app']) {
      const { params } = await ask({ target, headers: [['Authorization', credentials]] })
      expect(params).not.toHaveProperty('REMOTE_USER')
    }
  })

  it('reuses its connection to the application', async () => {
    const connection = await openHttp({ port: nginx.port })
    await connection.request()
    // One client connection stays with one worker; the first request may have been its first.
    const before = site.connections
    for (let count = 0; count < 5; count += 1) await connection.request()
    connection.close()
    expect(site.connections).toBe(before)
  })

  it('passes on an upload while it arrives, with a length only if the client sends one', async () => {
    let arrived: (() => void) | undefined
    const firstByte = new Promise<void>((resolve) => (arrived = resolve))
    respond = async function* (params, input) {
      let size = 0
      for await (const bytes of input) {
        size += bytes.length
        arrived?.()
      }
      yield JSON.stringify({ name: 'site', params, size })
    }
    async function* body() {
      yield 'first'
      await firstByte
      yield 'second'
    }
    const shown = await ask({ method: 'POST', body: body() })
    expect(shown.size).toBe(11)
    expect(shown.params).not.toHaveProperty('CONTENT_LENGTH')
    respond = show('site')
    expect((await ask({ method: 'POST', body: 'four' })).params).toHaveProperty(
      'CONTENT_LENGTH',
      '4',
    )
  })

  it('passes on a response while the application produces it', async () => {
    let goOn: (() => void) | undefined
    const seen = new Promise<void>((resolve) => (goOn = resolve))
    respond = async function* () {
      yield 'first'
      await seen
      yield 'second'
    }
    const connection = await openHttp({ port: nginx.port })
    const parts: string[] = []
    for await (const part of (await connection.stream()).chunks()) {
      parts.push(String(part))
      goOn?.()
    }
    connection.close()
    expect(parts).toEqual(['first', 'second'])
  })

  it('reads a response no faster than the client does, and writes none of it to a file', async () => {
    const part = 'x'.repeat(1024 * 1024)
    let finished = false
    respond = async function* () {
      for (let count = 0; count < 64; count += 1) yield part
      finished = true
    }
    const connection = await openHttp({ port: nginx.port })
    const { chunks } = await connection.stream()
    // Time enough to gather all of it, if nginx did.
    await sleep(500)
    expect(finished).toBe(false)
    let size = 0
    for await (const chunk of chunks()) size += chunk.length
    connection.close()
    expect(size).toBe(64 * part.length)
  })

  it('refuses an upload over its limit', async () => {
    const headers: [string, string][] = [['Content-Length', String(64 * 1024 * 1024 + 1)]]
    const response = await httpRequest({ port: nginx.port }, { method: 'POST', headers })
    expect(response.status).toBe(413)
  })
})
