/**
 * A client that tries to forge the variables that the documentation calls trustworthy, through each
 * web server as `portico init` configures it, with and without Basic authentication.
 */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { rolldown } from 'rolldown'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { descriptions } from '../../src/servers/descriptions.ts'
import { findServer } from '../../src/servers/find.ts'
import type { ServerDescription, Site } from '../../src/servers/site.ts'
import { startTrial } from '../../src/servers/trial.ts'
import { httpRequest } from '../../src/testing/raw-http-client.ts'
import { application, proxied } from '../fixtures/whole-environ-application.ts'
import { buildScript } from '../fixtures/script.ts'
import { installed, makeDirectory, workerUser } from './process.ts'

type Gateway = Site['gateway']
type Header = [name: string, value: string]

const basic = (credentials: string): Header => [
  'Authorization',
  `Basic ${Buffer.from(credentials).toString('base64')}`,
]

/** What a client may try, whatever the web server makes of it. */
const FORGED: readonly Header[] = [
  ...[
    'Remote-User',
    'REMOTE_USER',
    'Remote_User',
    'X-Remote-User',
    'Auth-Type',
    'AUTH_TYPE',
    'Redirect-Remote-User',
    'REDIRECT_REMOTE_USER',
    'REDIRECT_REDIRECT_REMOTE_USER',
    'Redirect-Http-Authorization',
    'REDIRECT_HTTP_AUTHORIZATION',
  ].map((name): Header => [name, 'admin']),
  ...['Remote-Addr', 'REMOTE_ADDR', 'Remote_Addr', 'Remote-Host', 'REMOTE_HOST'].map(
    (name): Header => [name, '192.0.2.66'],
  ),
  ['Remote-Port', '66'],
  ['REMOTE_PORT', '66'],
  ...['Https', 'HTTPS', 'Request-Scheme', 'REQUEST_SCHEME', 'Wsgi.Url_scheme'].map(
    (name): Header => [name, 'https'],
  ),
  ['wsgi.url_scheme', 'https'],
  ['portico.gateway', 'forged'],
  ['Portico_Gateway', 'forged'],
  ...['Server-Name', 'SERVER_NAME', 'Server-Software', 'SERVER_SOFTWARE', 'Gateway-Interface'].map(
    (name): Header => [name, 'forged.example'],
  ),
  ['Server-Port', '66'],
  ['SERVER_PORT', '66'],
  ['Server-Addr', '192.0.2.66'],
  ['SERVER_ADDR', '192.0.2.66'],
  ...['Ssl-Client-Verify', 'SSL_CLIENT_VERIFY', 'Ssl-Client-S-Dn', 'SSL_CLIENT_S_DN'].map(
    (name): Header => [name, 'SUCCESS'],
  ),
  ['Script-Name', '/forged'],
  ['SCRIPT_NAME', '/forged'],
  ['PATH_INFO', '/forged'],
  ['Path-Info', '/forged'],
  ['Proxy', 'http://forged.example'],
  ['Http-Proxy', 'http://forged.example'],
  ['HTTP_PROXY', 'http://forged.example'],
  ['X-Forwarded-For', '192.0.2.66'],
  ['X_Forwarded_For', '192.0.2.66'],
  ['X-Forwarded_For', '192.0.2.66'],
  ['X-Forwarded-Proto', 'https'],
  ['X_Forwarded_Proto', 'https'],
  ['X-Forwarded-Host', 'forged.example'],
  ['X-Forwarded-Port', '66'],
  ['X-Forwarded-Prefix', '/forged'],
  ['X-Real-Ip', '192.0.2.66'],
  ['Forwarded', 'for=192.0.2.66;proto=https;host=forged.example'],
  ['Content_Length', '66'],
  ['Content_Type', 'forged/type'],
]

/** Variables that no header of a client may set, with their values without authentication. */
function expected(gateway: Gateway, port: number): Expected {
  const overHttp = gateway === 'http'
  return {
    REMOTE_USER: undefined,
    AUTH_TYPE: undefined,
    REMOTE_ADDR: '127.0.0.1',
    REMOTE_HOST: undefined,
    HTTPS: undefined,
    'wsgi.url_scheme': 'http',
    'portico.gateway': gateway,
    // Over HTTP through a Unix socket, nothing says which they are.
    SERVER_NAME: overHttp ? 'localhost' : '127.0.0.1',
    SERVER_PORT: overHttp ? '80' : String(port),
    SSL_CLIENT_VERIFY: undefined,
    SSL_CLIENT_S_DN: undefined,
    REDIRECT_REMOTE_USER: undefined,
    REDIRECT_HTTP_AUTHORIZATION: undefined,
    HTTP_PROXY: undefined,
    HTTP_HOST: `127.0.0.1:${port}`,
    HTTP_CONTENT_LENGTH: undefined,
    CONTENT_TYPE: 'text/plain',
    CONTENT_LENGTH: '3',
    SCRIPT_NAME: '/app',
    PATH_INFO: '/page',
  }
}

/** What a web server sends in its own way. */
const EXCEPTIONS: Readonly<Record<string, Partial<Record<Gateway, Expected>>>> = {
  caddy: { fastcgi: { REMOTE_HOST: '127.0.0.1' } },
  h2o: { fastcgi: { SERVER_NAME: 'default' } },
}

/** The password is `secret`. H2O does not know bcrypt. */
const HASHES = {
  bcrypt: '$2y$04$Ih2RKIHIMN7v18IkTsmvJucgTDAgIBGBNa9QbfdswZIKzmHj7nsgS',
  sha: '{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=',
}

let directory = ''
const programs: Partial<Record<Gateway, string>> = {}
const closers: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  directory = await makeDirectory()
  for (const [name, hash] of Object.entries(HASHES)) {
    await writeFile(join(directory, name), `ada:${hash}\n`)
  }
  programs.cgi = await cgiProgram()
  programs.fastcgi = await fastcgiProgram()
})
afterAll(async () => {
  for (const close of closers.toReversed()) await close()
  await rm(directory, { recursive: true, force: true })
})

async function cgiProgram(): Promise<string> {
  return buildScript(directory, 'test/fixtures/whole-environ-application.ts', 'application')
}

/** For mod_fcgid, which starts the program itself. */
async function fastcgiProgram(): Promise<string> {
  const root = resolve(import.meta.dirname, '../..')
  const input = join(directory, 'entry.ts')
  await writeFile(
    input,
    `import { FastCGIHandler } from '${root}/handlers/fastcgi.ts'
     import { closeOnSignals } from '${root}/src/process/shutdown.ts'
     import { application } from '${root}/test/fixtures/whole-environ-application.ts'
     closeOnSignals(await new FastCGIHandler().run(application))`,
  )
  const build = await rolldown({ input, platform: 'node', logLevel: 'silent' })
  const file = join(directory, 'program.mjs')
  const banner = `#!${process.execPath}`
  await build.write({ file, format: 'esm', codeSplitting: false, banner })
  await build.close()
  await chmod(file, 0o755)
  return file
}

const HANDLERS = { fastcgi: FastCGIHandler, scgi: SCGIHandler, http: HTTPHandler }

/** Starts the web server and the application; returns the port and how to stop both. */
async function start(
  description: ServerDescription,
  gateway: Gateway,
  auth: Site['auth'],
): Promise<{ port: number; stop: () => Promise<void> }> {
  const own = await makeDirectory()
  const path = join(own, 'app.sock')
  const scriptName = description.needsScriptName?.includes(gateway) ? { scriptName: '/app' } : {}
  const handler =
    gateway === 'cgi' || description.name === 'apache-fcgid'
      ? undefined
      : await new HANDLERS[gateway]({ listen: `unix:${path}`, mode: 0o666, ...scriptName }).run(
          gateway === 'http' ? proxied : application,
        )
  const site: Site = {
    gateway,
    to: `unix:${path}`,
    mount: '/app',
    program: programs[gateway] ?? '',
    hostname: '_',
    listen: '80',
    streaming: true,
    keepAlive: 4,
    maxBody: 1,
    timeout: 10,
    user: workerUser ?? '',
    group: workerUser ?? '',
    auth,
  }
  const trial = await startTrial(description, site, findServer(description)!, {
    directory: own,
    user: workerUser,
  })
  return {
    port: trial.port,
    stop: async () => {
      await trial.stop()
      await handler?.close({ timeout: 0 })
      await rm(own, { recursive: true, force: true })
    },
  }
}

async function ask(port: number, headers: readonly Header[]): Promise<number | Environ> {
  const response = await httpRequest(
    { host: '127.0.0.1', port },
    {
      method: 'POST',
      target: '/app/page',
      headers: [['Content-Type', 'text/plain'], ...headers],
      body: 'a=1',
    },
  )
  return response.status === 200
    ? (JSON.parse(response.body.toString()) as Environ)
    : response.status
}

type Environ = Record<string, string>
type Expected = Record<string, string | undefined>

const cases = descriptions
  .filter((each) => each.instance !== undefined)
  .flatMap((description) => description.gateways.map((gateway) => ({ description, gateway })))

/** The variables that must be right, of a response. An empty REMOTE_USER counts as none. */
function pick(environ: Environ, wanted: Expected): Expected {
  const shown: Expected = {}
  for (const name of Object.keys(wanted)) shown[name] = environ[name] || undefined
  return shown
}

/** Variables that are not request headers and have a value that the client has made up. */
function forgedIn(environ: Environ): string[] {
  const values = new Set(FORGED.map(([, value]) => value))
  return Object.entries(environ)
    .filter(([name, value]) => !name.startsWith('HTTP_') && values.has(value))
    .map(([name, value]) => `${name}=${value}`)
}

describe.concurrent.each(cases)(
  'Through $description.title over $gateway',
  ({ description, gateway }) => {
    const { available, hint } = installed(description.program!)

    it.skipIf(!available)(`no header forges a trustworthy variable${hint}`, async () => {
      const { port, stop } = await start(description, gateway, undefined)
      closers.push(stop)
      const wanted = { ...expected(gateway, port), ...EXCEPTIONS[description.name]?.[gateway] }
      for (const headers of [[], FORGED, FORGED.toReversed(), [basic('admin:x')]]) {
        const environ = await ask(port, headers)
        if (typeof environ === 'number') throw new Error(`the web server responded with ${environ}`)
        expect({ headers, ...pick(environ, wanted) }).toEqual({ headers, ...wanted })
        expect(forgedIn(environ)).toEqual([])
      }
    })
  },
)

const withAuthentication = cases.filter(
  // HTTP has no field for the user.
  ({ gateway }) => gateway !== 'http',
)

describe.concurrent.each(withAuthentication)(
  'Through $description.title over $gateway with --auth',
  ({ description, gateway }) => {
    const { available, hint } = installed(description.program!)

    it.skipIf(!available)(`REMOTE_USER is the user whose password was right${hint}`, async () => {
      const kind = description.name === 'h2o' ? 'sha' : 'bcrypt'
      const users = [{ name: 'ada', hash: HASHES[kind] }]
      const auth = { realm: 'Test', file: join(directory, kind), users }
      const { port, stop } = await start(description, gateway, auth)
      closers.push(stop)
      const [right, wrong] = [basic('ada:secret'), basic('admin:secret')]
      const wanted = {
        ...expected(gateway, port),
        ...EXCEPTIONS[description.name]?.[gateway],
        REMOTE_USER: 'ada',
        // They have no variable for it.
        AUTH_TYPE: ['nginx', 'caddy', 'h2o'].includes(description.name) ? undefined : 'Basic',
      }
      for (const headers of [
        [right, ...FORGED],
        [...FORGED, right],
      ]) {
        const environ = await ask(port, headers)
        if (typeof environ === 'number') throw new Error(`the web server responded with ${environ}`)
        expect({ headers, ...pick(environ, wanted) }).toEqual({ headers, ...wanted })
        expect(forgedIn(environ)).toEqual([])
      }
      expect(await ask(port, [right])).toMatchObject({ REMOTE_USER: 'ada' })
      expect(await ask(port, FORGED.slice(0, 8))).toBe(401)
      expect(await ask(port, [wrong])).toBe(401)
      for (const twice of [
        [right, wrong],
        [wrong, right],
      ]) {
        const environ = await ask(port, twice)
        if (typeof environ === 'number') expect([400, 401]).toContain(environ)
        else expect(environ['REMOTE_USER']).toBe('ada')
      }
    })
  },
)
