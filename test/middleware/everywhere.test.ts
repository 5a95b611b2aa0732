/**
 * Each layer, and one stack of nearly all of them, through every gateway of Portico: over CGI as a
 * script of its own for each request, and at two mount points.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import * as middleware from '../../src/exports/middleware.ts'
import { TestApp, type TestSession } from '../../src/exports/testing.ts'
import { gateways, type Served } from '../fixtures/gateways.ts'
import { application, CONTENT, FOLDER } from '../fixtures/middleware-application.ts'
import { buildScript } from '../fixtures/script.ts'

interface Place {
  readonly served: Served
  readonly mount: string
}

let folder: string
let script: string

const log = () => readFileSync(join(folder, 'access.log'), 'utf8')

const ADA = `Basic ${Buffer.from('ada:lovelace').toString('base64')}`

const LAYERS: Readonly<Record<string, (app: TestSession, place: Place) => Promise<void>>> = {
  async accessLog(app, { served, mount }) {
    await app.get('/accessLog/a?b=c').expect(200, 'PATH_INFO=/a\n')
    await app.get('/all/fails').expect(401)
    if (served.gateway === 'cgi') return // The web server has a log of its own.
    // A line is written when the body has been closed, behind the answer.
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
      .expect(500, /<h1>[^]*so it is/)
      .expect('Content-Type', 'text/html; charset=utf-8')
    if (errors !== undefined) expect(errors).toMatch(/^Error: so it is\n/)
  },
  async head(app) {
    await app.head('/head').expect(200, '').expect('Content-Length', '13')
  },
  async mount(app, { mount }) {
    await app.get('/mount/a/c').expect(200, `SCRIPT_NAME=${mount}/mount/a\nPATH_INFO=/c\n`)
    await app.get('/mount/a/b/').expect(200, 'PATH_INFO=/\n')
    await app.get('/mount/c').expect(404)
  },
  async proxyFix(app, { served }) {
    const client = served.gateway === 'http' ? '203.0.113.9' : '127.0.0.1'
    await app
      .get('/proxyFix')
      .set('X-Forwarded-For', '203.0.113.9')
      .expect(200, `REMOTE_ADDR=${client}\n`)
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
    for (const place of ['/session', '/session-store']) {
      for (const visit of [1, 2, 3]) await app.get(place).expect(200, `visit ${visit}`)
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
  async 'all at once'(app) {
    const ask = (method: string, target: string) =>
      app.request(method, `/all${target}`).set('Authorization', ADA)
    for (const visit of [1, 2]) await ask('GET', '/visits').expect(200, `visit ${visit}`)
    await ask('HEAD', '/visits').expect(200, '')
    await ask('GET', '/visits').expect(200, 'visit 4')
    await ask('GET', '/fails').expect(500, /so it is/)
    await ask('POST', '/echo').send('x'.repeat(100)).expect(200, 'x'.repeat(100))
    await ask('POST', '/echo').send('x'.repeat(101)).expect(413)
    await ask('GET', '/file')
      .expect(200, '')
      .expect('X-Sendfile', /\/file\.txt$/)
    await app.get('/all/visits').expect(401)
  },
}

it('each layer of portico/middleware is among them', () => {
  const names = Object.keys(middleware).filter((name) => /^[a-z]/.test(name))
  expect(Object.keys(LAYERS)).toEqual(expect.arrayContaining(names))
})

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portico-everywhere-'))
  script = await buildScript(folder, 'test/fixtures/middleware-application.ts', 'application')
  writeFileSync(join(folder, 'file.txt'), CONTENT)
  // Servers of this process log what an application throws.
  vi.spyOn(process.stderr, 'write').mockReturnValue(true)
})
afterAll(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

const places = gateways.flatMap((gateway) =>
  ['', '/mnt'].map((mount) => ({ gateway, mount, where: `${gateway.name} at '${mount}'` })),
)

describe.each(places)('$where', ({ gateway, mount }) => {
  let served: Served
  beforeAll(async () => {
    const variables = { [FOLDER]: folder }
    served = await gateway.serve({ application, script, folder, mount, variables })
  })
  afterAll(() => served?.close())

  it.each(Object.keys(LAYERS))('%s', async (name) => {
    rmSync(join(folder, 'access.log'), { force: true })
    await LAYERS[name]!(TestApp.over(served.client, { mount }), { served, mount })
  })
})
