/**
 * What `portico init` writes with --tls, --auth and an IPv6 address, through each web server: the
 * application sees https and the user, and an event stream arrives event by event.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, rm, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { proxyFix } from '../../src/exports/middleware.ts'
import type { Site } from '../../src/servers/site.ts'
import type { Application } from '../../src/types.ts'
import { bundleCGI } from '../support/cgi.ts'
import { apacheServer, fcgidServer } from './apache.ts'
import { caddyServer } from './caddy.ts'
import { h2oServer } from './h2o.ts'
import { haproxyServer } from './haproxy.ts'
import { lighttpdServer } from './lighttpd.ts'
import { startSites, type TestServer } from './mount.ts'
import { nginxServer } from './nginx.ts'
import { installed, makeDirectory, openSocket, type WebServer } from './process.ts'

let directory: string
const closers: (() => Promise<unknown>)[] = []

/** The password is `secret`. htpasswd makes the first one with -B, the second with -s. */
const BCRYPT = '$2y$04$Ih2RKIHIMN7v18IkTsmvJucgTDAgIBGBNa9QbfdswZIKzmHj7nsgS'
const SHA = '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='

const NAMES = ['REMOTE_USER', 'AUTH_TYPE', 'HTTPS', 'REMOTE_ADDR', 'wsgi.url_scheme']

/** Shows variables, or sends an event, and the second one only when the client has the first. */
const application: Application = async function* (environ, startResponse) {
  if (environ.PATH_INFO !== '/events') {
    startResponse('200 OK', [['Content-Type', 'application/json']])
    yield JSON.stringify(NAMES.map((name) => environ[name] ?? null))
    return
  }
  startResponse('200 OK', [['Content-Type', 'text/event-stream']])
  yield 'data: 1\n\n'
  while (!existsSync(join(directory, environ.QUERY_STRING))) await sleep(20)
  yield 'data: 2\n\n'
}

/** The same as a program. */
const program = (handler: string, load: string): string => `#!/usr/bin/env node
const { existsSync } = require('node:fs')
const names = ${JSON.stringify(NAMES)}
async function* application(environ, startResponse) {
  if (environ.PATH_INFO !== '/events') {
    startResponse('200 OK', [['Content-Type', 'application/json']])
    yield JSON.stringify(names.map((name) => environ[name] ?? null))
    return
  }
  startResponse('200 OK', [['Content-Type', 'text/event-stream']])
  yield 'data: 1\\n\\n'
  while (!existsSync(__dirname + '/' + environ.QUERY_STRING)) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  yield 'data: 2\\n\\n'
}
${load}.then(({ ${handler} }) => new ${handler}().run(application))
`

/** How each server and gateway differs. */
interface Row {
  server: TestServer
  gateway: Site['gateway']
  /** REMOTE_USER, AUTH_TYPE, HTTPS, REMOTE_ADDR and wsgi.url_scheme. */
  sees: (string | null)[]
  hash?: string
}

/** HTTP has no field for the user; proxyFix sets HTTPS. */
const HTTP = [null, null, 'on', '::1', 'https']
const rows: Row[] = [
  { server: nginxServer, gateway: 'fastcgi', sees: ['alice', null, 'on', '::1', 'https'] },
  { server: nginxServer, gateway: 'scgi', sees: ['alice', null, 'on', '::1', 'https'] },
  { server: nginxServer, gateway: 'http', sees: HTTP },
  { server: apacheServer, gateway: 'fastcgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: apacheServer, gateway: 'scgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: apacheServer, gateway: 'http', sees: HTTP },
  { server: apacheServer, gateway: 'cgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: fcgidServer, gateway: 'fastcgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: lighttpdServer, gateway: 'fastcgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: lighttpdServer, gateway: 'scgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: lighttpdServer, gateway: 'http', sees: HTTP },
  { server: lighttpdServer, gateway: 'cgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: caddyServer, gateway: 'fastcgi', sees: ['alice', '', 'on', '::1', 'https'] },
  { server: caddyServer, gateway: 'http', sees: HTTP },
  { server: haproxyServer, gateway: 'fastcgi', sees: ['alice', 'Basic', 'on', '::1', 'https'] },
  { server: haproxyServer, gateway: 'http', sees: HTTP },
  { server: h2oServer, gateway: 'fastcgi', sees: ['alice', null, 'on', '::1', 'https'], hash: SHA },
  { server: h2oServer, gateway: 'http', sees: HTTP, hash: SHA },
]

let certificate: { certificate: string; key: string }

beforeAll(async () => {
  directory = await makeDirectory()
  certificate = { certificate: join(directory, 'cert.pem'), key: join(directory, 'cert.pem.key') }
  const request =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:::1'
  const files = ['-out', certificate.certificate, '-keyout', certificate.key]
  execFileSync('openssl', [...request.split(' '), ...files], { stdio: 'pipe' })
  await chmod(certificate.key, 0o644)
  await bundleCGI(directory)
  await writeFile(join(directory, 'package.json'), '{ "type": "commonjs" }')
  const fastcgi = `import('${resolve('dist/src/exports/fastcgi.js')}')`
  for (const [name, script] of [
    ['app.cgi', program('CGIHandler', "Promise.resolve(require('./portico.cjs'))")],
    ['app.fcgi', program('FastCGIHandler', fastcgi)],
  ] as const) {
    await writeFile(join(directory, name), script)
    await chmod(join(directory, name), 0o755)
  }
  const handlers = { fastcgi: FastCGIHandler, scgi: SCGIHandler, http: HTTPHandler }
  for (const [name, Handler] of Object.entries(handlers)) {
    const path = join(directory, name)
    const app = name === 'http' ? proxyFix(application, { trusted: ['unix'] }) : application
    const server = await new Handler({ listen: `unix:${path}` }).run(app)
    closers.push(() => server.close())
    await openSocket(path)
  }
})
afterAll(async () => {
  for (const close of closers.toReversed()) await close()
  await rm(directory, { recursive: true, force: true })
})

async function get(port: number, path: string, credentials?: string): Promise<IncomingMessage> {
  return new Promise((resolved, reject) => {
    const options = {
      host: '::1',
      port,
      path,
      agent: false,
      rejectUnauthorized: false,
      ...(credentials === undefined ? {} : { auth: credentials }),
    }
    https.get(options, resolved).on('error', reject)
  })
}

async function text(response: IncomingMessage, seen?: (text: string) => void): Promise<string> {
  let whole = ''
  for await (const chunk of response.setEncoding('utf8')) {
    whole += String(chunk)
    seen?.(whole)
  }
  return whole
}

/** Servers that pass on a response when it is complete: mod_fcgid, without FcgidOutputBufferSize 0. */
const WHOLE_RESPONSES = new Set([fcgidServer])

describe.each(rows)('portico init $server.description.name --gateway $gateway', (row) => {
  const { server, gateway, sees, hash = BCRYPT } = row
  const { available, hint } = installed(server.program)

  describe.skipIf(!available)(`with --tls, --auth and --port [::1]:PORT${hint}`, () => {
    let web: WebServer
    beforeAll(async () => {
      const file = join(directory, `htpasswd-${hash.length}`)
      await writeFile(file, `alice:${hash}\n`)
      web = await startSites(server, {
        host: '::1',
        mounts: [
          {
            at: '/',
            protocol: gateway,
            to: `unix:${join(directory, gateway)}`,
            program: join(directory, gateway === 'cgi' ? 'app.cgi' : 'app.fcgi'),
            tls: certificate,
            auth: { realm: 'Restricted', file, users: [{ name: 'alice', hash }] },
          },
        ],
      })
    })
    afterAll(() => web?.stop())

    it('refuses a request without the right password', async () => {
      for (const credentials of [undefined, 'alice:wrong', 'admin:secret']) {
        const response = await get(web.port, '/', credentials)
        response.resume()
        expect([response.statusCode, response.headers['www-authenticate']]).toEqual([
          401,
          expect.stringContaining('Restricted'),
        ])
      }
    })

    it('gives the application https, the user and the address of the client', async () => {
      const response = await get(web.port, '/', 'alice:secret')
      expect(JSON.parse(await text(response))).toEqual(sees)
    })

    it.each(WHOLE_RESPONSES.has(server) ? [] : [gateway])(
      'passes on an event at once over %s',
      async () => {
        const released = `released-${web.port}`
        const response = await get(web.port, `/events?${released}`, 'alice:secret')
        const whole = await text(response, (soFar) => {
          if (soFar === 'data: 1\n\n') void writeFile(join(directory, released), '')
        })
        expect(whole).toBe('data: 1\n\ndata: 2\n\n')
      },
    )
  })
})
