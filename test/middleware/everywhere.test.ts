/**
 * All middleware, and one stack of most of it, through every gateway and at two mount points. Over CGI
 * each request runs a script.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import * as middleware from '../../src/exports/middleware.ts'
import { TestApp, type TestSession } from '../../src/exports/testing.ts'
import { gateways, type Served } from '../fixtures/gateways.ts'
import { application, CONTENT, DIRECTORY } from '../fixtures/middleware-application.ts'
import { buildScript } from '../fixtures/script.ts'

interface Deployment {
  readonly served: Served
  readonly mount: string
}

let directory: string
let script: string

const log = () => readFileSync(join(directory, 'access.log'), 'utf8')

const ADA = `Basic ${Buffer.from('ada:lovelace').toString('base64')}`

const ECHO = `#!/bin/sh
printf 'Content-Type: text/plain\\n\\n%s %s ' "$SCRIPT_NAME" "$PATH_INFO"
exec cat
`

const CHECKS: Readonly<
  Record<string, (app: TestSession, deployment: Deployment) => Promise<void>>
> = {
  async accessLog(app, { served, mount }) {
    await app.get('/accessLog/a?b=c').expect(200, 'PATH_INFO=/a\n')
    await app.get('/all/fails').expect(401)
    if (served.gateway === 'cgi') return // The web server has a log of its own.
    // A line is written when the body has been closed, after the response.
    await expect
      .poll(log)
      .toBe(`GET ${mount}/accessLog/a?b=c 200 13\nGET ${mount}/all/fails 401 13\n`)
  },
  async basicAuth(app) {
    await app
      .get('/basicAuth')
      .expect(401)
      .expect('WWW-Authenticate', /^Basic /)
    await app
      .get('/basicAuth')
      .set('Authorization', ADA)
      .expect(200, 'REMOTE_USER=ada\nAUTH_TYPE=Basic\n')
  },
  async bodyLimit(app) {
    await app.post('/bodyLimit').send('12345').expect(200, '12345')
    await app.post('/bodyLimit').send('123456').expect(413)
  },
  async cascade(app) {
    await app.get('/cascade/file.txt').expect(200, String(CONTENT))
    await app.get('/cascade/none.txt').expect(200, 'PATH_INFO=/none.txt\n')
  },
  async cgiBin(app, { mount }) {
    await app
      .post('/cgiBin/echo.sh/a')
      .send('the body')
      .expect(200, `${mount}/cgiBin/echo.sh /a the body`)
    await app.get('/cgiBin/none.sh').expect(404)
  },
  async conditionalGet(app) {
    await app.get('/conditionalGet').expect(200, 'first version').expect('ETag', '"v1"')
    await app.get('/conditionalGet').set('If-None-Match', '"v1"').expect(304, '')
  },
  async contentLength(app) {
    await app.get('/contentLength').expect(200, 'Hello, world!').expect('Content-Length', '13')
  },
  async errorPage(app) {
    const { errors } = await app
      .get('/errorPage')
      .set('Accept', 'text/html')
      .expect(500, /<h1>[^]*broken/)
      .expect('Content-Type', 'text/html; charset=utf-8')
    if (errors !== undefined) expect(errors).toMatch(/^Error: broken\n/)
  },
  async head(app) {
    await app.head('/head').expect(200, '').expect('Content-Length', '13')
  },
  async intercept(app) {
    await app.get('/intercept').expect(200, 'Hello, world!').expect('X-Path', '/intercept')
  },
  async mount(app, { mount }) {
    await app.get('/mount/a/c').expect(200, `SCRIPT_NAME=${mount}/mount/a\nPATH_INFO=/c\n`)
    await app.get('/mount/a/b/').expect(200, 'PATH_INFO=/\n')
    await app.get('/mount/c').expect(404)
  },
  async proxyFix(app) {
    await app
      .get('/proxyFix')
      .set('X-Forwarded-For', '203.0.113.9')
      .expect(200, 'REMOTE_ADDR=203.0.113.9\n')
  },
  async ranges(app) {
    await app.get('/ranges').expect(200, String(CONTENT)).expect('Accept-Ranges', 'bytes')
    await app.get('/ranges').set('Range', 'bytes=4-10').expect(206, 'content')
    await app.get('/ranges').set('Range', 'bytes=100-').expect(416)
  },
  async sendfile(app) {
    await app
      .get('/sendfile')
      .expect(200, '')
      .expect('X-Sendfile', /\/file\.txt$/)
    await app.post('/sendfile').expect(200, 'of a file')
  },
  async session(app) {
    for (const path of ['/session', '/session-store']) {
      for (const visit of [1, 2, 3]) await app.get(path).expect(200, `visit ${visit}`)
    }
  },
  async staticFiles(app) {
    const { headers } = await app.get('/staticFiles/file.txt').expect(200, String(CONTENT))
    const [, tag = ''] = headers.find(([name]) => /^etag$/i.test(name)) ?? []
    await app.get('/staticFiles/file.txt').set('If-None-Match', tag).expect(304, '')
    await app.get('/staticFiles/file.txt').set('Range', 'bytes=4-10').expect(206, 'content')
    await app.head('/staticFiles/file.txt').expect('Content-Length', String(CONTENT.length))
    await app.get('/staticFiles/none.txt').expect(404)
  },
  async 'a stack of middleware'(app) {
    const ask = (method: string, target: string) =>
      app.request(method, `/all${target}`).set('Authorization', ADA)
    for (const visit of [1, 2]) await ask('GET', '/visits').expect(200, `visit ${visit}`)
    await ask('HEAD', '/visits').expect(200, '')
    await ask('GET', '/visits').expect(200, 'visit 4')
    await ask('GET', '/fails').expect(500, /broken/)
    await ask('POST', '/echo').send('x'.repeat(100)).expect(200, 'x'.repeat(100))
    await ask('POST', '/echo').send('x'.repeat(101)).expect(413)
    await ask('GET', '/file')
      .expect(200, '')
      .expect('X-Sendfile', /\/file\.txt$/)
    await app.get('/all/visits').expect(401)
  },
}

it('every function of portico/middleware is checked over every gateway', () => {
  const names = Object.keys(middleware).filter((name) => /^[a-z]/.test(name) && name !== 'hook')
  expect(Object.keys(CHECKS)).toEqual(expect.arrayContaining(names))
})

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'portico-everywhere-'))
  script = await buildScript(directory, 'test/fixtures/middleware-application.ts', 'application')
  writeFileSync(join(directory, 'file.txt'), CONTENT)
  mkdirSync(join(directory, 'scripts'))
  writeFileSync(join(directory, 'scripts/echo.sh'), ECHO, { mode: 0o755 })
  // Servers of this process log what an application throws.
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
})
afterAll(() => {
  vi.restoreAllMocks()
  rmSync(directory, { recursive: true })
})

const deployments = gateways.flatMap((gateway) =>
  gateway.mounts.map((mount) => ({ gateway, mount, where: `${gateway.name} at '${mount}'` })),
)

describe.each(deployments)('$where', ({ gateway, mount }) => {
  let served: Served
  beforeAll(async () => {
    const variables = { [DIRECTORY]: directory }
    served = await gateway.serve({ application, script, directory, mount, variables })
  })
  afterAll(() => served?.close())

  it.each(Object.keys(CHECKS))('%s', async (name) => {
    rmSync(join(directory, 'access.log'), { force: true })
    await CHECKS[name]!(TestApp.over(served.client, { mount }), { served, mount })
  })
})
