/**
 * The responses that the four framework examples must give, as a table, and the ways they are run:
 * straight on node:http or the Fetch API, and through Portico's gateways.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { chmod, copyFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { rolldown } from 'rolldown'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { SimpleHandler } from '../../handlers/simple.ts'
import { frameworkOf } from '../../src/application/detect.ts'
import type { FetchHandler } from '../../src/bridge/from-fetch.ts'
import type { NodeListener } from '../../src/bridge/from-node.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { toApplication, type Runnable } from '../../src/application/to-application.ts'
import { bytesSource, Input } from '../../src/request/input.ts'
import {
  cgiClient,
  cgiVariables,
  fastcgiClient,
  httpClient,
  parseCgiResponse,
  type Client,
  type TestRequest,
  type TestResponse,
} from '../../src/exports/testing.ts'
import { bodyBytes } from '../../src/testing/client.ts'
import { toNode } from '../../src/exports/node.ts'
import { validator } from '../../src/validate/validator.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, openSocket } from '../servers/process.ts'

const EXAMPLES = join(import.meta.dirname, '../../examples')

// For all processes that run an example; set before the first of them is loaded.
const SESSION_SECRET = (process.env['SESSION_SECRET'] ??= 'a secret of the tests')
const ACCOUNT = join(EXAMPLES, 'account.mjs')
const { refusedPage, sessionCookie, signInPage, uploadPage, welcomePage } = (await import(
  ACCOUNT
)) as {
  refusedPage: string
  sessionCookie: (user: string) => string
  signInPage: string
  uploadPage: string
  welcomePage: (user: string) => string
}

/** Each example's `app`, and what its greeting calls it. */
export const frameworks = [
  { name: 'Express', file: 'express.mjs' },
  { name: 'Koa', file: 'koa.mjs' },
  { name: 'Fastify', file: 'fastify.mjs' },
  { name: 'Hono', file: 'hono.mjs' },
] as const

export async function loadExample(file: string): Promise<Runnable> {
  const path = join(EXAMPLES, file)
  const module = (await import(path)) as { app: Runnable }
  return module.app
}

export interface Served {
  readonly client: Client
  /** Where a browser finds it, without a slash at the end, if it can. */
  readonly url?: string
  close(): Promise<void>
}

/** A gateway with a framework's application. */
export interface Setting {
  readonly name: string
  /** The validator wants a Content-Type wherever a body could be (PEP 3333). */
  readonly strict?: boolean
  /** Where the application is mounted. Default: both. */
  readonly mounts?: readonly string[]
  serve(app: Runnable, mount: string, directory: string, file: string): Promise<Served>
}

export const settings: readonly Setting[] = [
  { name: 'SimpleHandler in process', serve: serveSimple },
  { name: 'the validator and SimpleHandler', strict: true, serve: serveValidated },
  { name: 'FastCGIHandler', serve: serveFastcgi },
  { name: 'HTTPHandler', serve: serveHttp },
  { name: 'toNode() in a server of node:http', serve: serveEmbedded },
  // A process for each request: once is enough.
  installed('apache2').available
    ? { name: "run() in Apache's cgi-bin", mounts: ['/cgi-bin/app.mjs'], serve: serveApache }
    : { name: 'run() as a CGI script', mounts: ['/mnt'], serve: serveCgi },
  ...(installed('nginx').available
    ? [
        { name: 'FastCGIHandler behind nginx', serve: serveFastcgiNginx },
        { name: 'SCGIHandler behind nginx', serve: serveScgiNginx },
      ]
    : []),
]

async function serveSimple(app: Runnable, mount: string): Promise<Served> {
  const { application } = await toApplication(app)
  return {
    client: {
      async request(request) {
        const written: Buffer[] = []
        let errors = ''
        const body = bodyBytes(request.body)
        const output = { write: (bytes: Buffer) => void written.push(Buffer.from(bytes)) }
        const log = new ErrorLog((text) => {
          errors += text
        })
        const variables = Object.fromEntries(cgiVariables(request, { mount }))
        const handler = new SimpleHandler(
          new Input(bytesSource(body), body.length),
          output,
          log,
          variables,
        )
        handler.originServer = false
        await handler.run(application)
        const { status, headers, body: sent } = parseCgiResponse(Buffer.concat(written))
        return { status, headers, body: sent, broken: false, errors }
      },
      close: () => Promise.resolve(),
    },
    close: () => Promise.resolve(),
  }
}

async function serveValidated(app: Runnable, mount: string): Promise<Served> {
  const { application } = await toApplication(app)
  return serveSimple(validator(application), mount)
}

let sockets = 0

async function serveFastcgi(
  app: Runnable,
  mount: string,
  directory: string,
): Promise<Served & { listen: string }> {
  sockets += 1
  const listen = `unix:${join(directory, `app${sockets}.sock`)}`
  const server = await new FastCGIHandler({ listen }).run(app)
  const client = fastcgiClient(addressOf(server), { mount, keepConn: true })
  return {
    client,
    listen,
    async close() {
      await client.close()
      await server.close()
    },
  }
}

async function serveHttp(app: Runnable, mount: string): Promise<Served> {
  const server = await new HTTPHandler({ listen: 0, scriptName: mount }).run(app)
  const bound = addressOf(server)
  const client = httpClient(bound, { mount })
  return {
    client,
    ...('port' in bound ? { url: `http://127.0.0.1:${bound.port}${mount}` } : {}),
    async close() {
      await client.close()
      await server.close()
    },
  }
}

/** The example itself, with all that it needs, as a script in a directory of its own. */
async function writeScript(directory: string, file: string): Promise<string> {
  scripts += 1
  const output = join(directory, `cgi${scripts}`)
  const build = await rolldown({
    input: { app: join(EXAMPLES, file) },
    platform: 'node',
    logLevel: 'silent',
    resolve: { alias: { portico: join(import.meta.dirname, '../../src/exports/index.ts') } },
  })
  await build.write({ dir: output, format: 'esm', entryFileNames: '[name].mjs' })
  await build.close()
  const script = join(output, 'app.mjs')
  await chmod(script, 0o755)
  // What the example serves as files lies beside it.
  await copyFile(join(EXAMPLES, 'hello.mjs'), join(output, 'hello.mjs'))
  return script
}

let scripts = 0

async function serveCgi(
  _: Runnable,
  mount: string,
  directory: string,
  file: string,
): Promise<Served> {
  const script = await writeScript(directory, file)
  const client = cgiClient({
    command: [process.execPath, script],
    mount,
    scriptFilename: script,
    variables: { SESSION_SECRET },
  })
  return { client, close: () => client.close() }
}

async function serveApache(
  _: Runnable,
  mount: string,
  directory: string,
  file: string,
): Promise<Served> {
  const script = await writeScript(directory, file)
  const apache = await startApache({
    cgiBin: dirname(script),
    extra: `SetEnv SESSION_SECRET "${SESSION_SECRET}"`,
  })
  const client = httpClient({ port: apache.port }, { mount })
  return {
    client,
    async close() {
      await client.close()
      await apache.stop()
    },
  }
}

async function serveFastcgiNginx(app: Runnable, mount: string, directory: string): Promise<Served> {
  return serveNginx(await serveFastcgi(app, mount, directory), 'fastcgi', mount)
}

async function serveScgiNginx(app: Runnable, mount: string, directory: string): Promise<Served> {
  sockets += 1
  const listen = `unix:${join(directory, `app${sockets}.sock`)}`
  const server = await new SCGIHandler({ listen }).run(app)
  return serveNginx({ listen, close: () => server.close() }, 'scgi', mount)
}

/** nginx in front of what listens there already. */
async function serveNginx(
  backend: { listen: string; close(): Promise<void> },
  protocol: 'fastcgi' | 'scgi',
  mount: string,
): Promise<Served> {
  const to = backend.listen
  await openSocket(to.slice('unix:'.length))
  const nginx = await startNginx({ mounts: [{ at: mount || '/', to, protocol }] })
  const client = httpClient({ port: nginx.port }, { mount })
  return {
    client,
    url: `http://127.0.0.1:${nginx.port}${mount}`,
    async close() {
      await client.close()
      await nginx.stop()
      await backend.close()
    },
  }
}

/** Through two bridges at once: a framework's application is not unwrapped if a function wraps it. */
async function serveEmbedded(app: Runnable, mount: string): Promise<Served> {
  const { application } = await toApplication(app)
  return serveListener(
    toNode((environ, startResponse) => application(environ, startResponse), { scriptName: mount }),
    mount,
  )
}

async function serveListener(listener: NodeListener, mount: string): Promise<Served> {
  const server = createServer((request, response) => void listener(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = httpClient({ port }, { mount })
  return {
    client,
    async close() {
      await client.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The framework on its own server. Every gateway has to give the same responses. */
export async function serveBare(app: Runnable): Promise<Served> {
  if (frameworkOf(app)?.bridge === 'fetch') {
    return serveFetch((app as { fetch: FetchHandler }).fetch)
  }
  if ('callback' in app) return serveListener(app.callback(), '')
  if ('routing' in app) {
    await app.ready()
    return serveListener((request, response) => app.routing(request, response), '')
  }
  return serveListener(app as unknown as NodeListener, '')
}

function serveFetch(fetch: FetchHandler): Served {
  return {
    client: {
      async request({ method = 'GET', target, headers = [], body }) {
        const init = { method, headers: [...headers], ...(body === undefined ? {} : { body }) }
        const request = new Request(`http://127.0.0.1${target}`, init)
        const environ = { SCRIPT_NAME: '', REMOTE_ADDR: '127.0.0.1' } as never
        const response = await fetch(request, environ)
        const { status, statusText } = response
        return {
          status: `${status} ${statusText}`,
          headers: [...response.headers],
          body: Buffer.from(await response.arrayBuffer()),
          broken: false,
        }
      },
      close: () => Promise.resolve(),
    },
    close: () => Promise.resolve(),
  }
}

/** One request, and what has to come back. */
export interface Row {
  readonly name: string
  readonly request: TestRequest
  readonly status: number
  readonly type?: RegExp
  /** The body as text. */
  readonly body: (framework: string, mount: string) => string
  readonly headers?: (mount: string) => readonly (readonly [name: string, values: RegExp[]])[]
  /** A framework that is skipped, because it behaves differently. */
  readonly not?: string
  /** What only this framework does. */
  readonly only?: string
  /** Frameworks whose response has no Content-Type. */
  readonly untyped?: readonly string[]
}

const JSON_TYPE = /^application\/json(; ?charset=utf-8)?$/i
const HTML_TYPE = /^text\/html; ?charset=utf-8$/i
const TEXT_TYPE = /^text\/plain; ?charset=utf-8$/i

const multipart = [
  '--frontier',
  'Content-Disposition: form-data; name="note"',
  '',
  'a small one',
  '--frontier',
  'Content-Disposition: form-data; name="file"; filename="a.bin"',
  'Content-Type: application/octet-stream',
  '',
  '\0\r\n-'.repeat(20_000),
  '--frontier--',
  '',
].join('\r\n')

const signIn = (body: string): TestRequest => ({
  method: 'POST',
  target: '/signin',
  headers: [['Content-Type', 'application/x-www-form-urlencoded']],
  body,
})

const json = (value: unknown) => () => JSON.stringify(value)

export const rows: readonly Row[] = [
  {
    name: 'a page',
    request: { target: '/' },
    status: 200,
    type: TEXT_TYPE,
    body: (framework) => `Hello from ${framework}!\n`,
  },
  {
    name: 'HEAD of a page',
    request: { method: 'HEAD', target: '/' },
    status: 200,
    type: TEXT_TYPE,
    body: () => '',
    not: 'Koa', // Whose example routes by method, without one for HEAD.
  },
  {
    name: 'a parameter of the path, decoded once, and a query',
    request: { target: '/who/J%C3%BCrgen%2520?a=1&b=%26' },
    status: 200,
    type: JSON_TYPE,
    body: json({
      name: 'Jürgen%20',
      user: null,
      address: '127.0.0.1',
      path: '/who/J%C3%BCrgen%2520',
      query: { a: '1', b: '&' },
    }),
  },
  {
    name: 'a JSON body',
    request: {
      method: 'POST',
      target: '/json',
      headers: [['Content-Type', 'application/json']],
      body: '{"deep":{"list":[1,2,"ü"]}}',
    },
    status: 201,
    type: JSON_TYPE,
    body: json({ deep: { list: [1, 2, 'ü'] } }),
  },
  {
    name: 'a form',
    request: {
      method: 'POST',
      target: '/form',
      headers: [['Content-Type', 'application/x-www-form-urlencoded']],
      body: 'name=J%C3%BCrgen&text=a+b',
    },
    status: 200,
    type: JSON_TYPE,
    body: json({ name: 'Jürgen', text: 'a b' }),
  },
  {
    name: 'an upload',
    request: {
      method: 'POST',
      target: '/upload',
      headers: [['Content-Type', 'multipart/form-data; boundary=frontier']],
      body: multipart,
    },
    status: 200,
    type: JSON_TYPE,
    body: json({
      name: 'a.bin',
      type: 'application/octet-stream',
      size: 80_000,
      note: 'a small one',
    }),
  },
  {
    name: 'the page of an upload',
    request: { target: '/upload' },
    status: 200,
    type: HTML_TYPE,
    body: () => uploadPage,
  },
  {
    name: 'the form to sign in',
    request: { target: '/signin' },
    status: 200,
    type: HTML_TYPE,
    body: () => signInPage,
  },
  {
    name: 'a wrong password',
    request: signIn('user=ada&password=byron'),
    status: 403,
    type: HTML_TYPE,
    body: () => refusedPage,
    headers: () => [['Set-Cookie', []]],
  },
  {
    name: 'a form to sign in that has no password',
    request: signIn('user=ada'),
    status: 403,
    type: HTML_TYPE,
    body: () => refusedPage,
  },
  {
    name: 'a sign-in without a body',
    request: { method: 'POST', target: '/signin' },
    status: 403,
    type: HTML_TYPE,
    body: () => refusedPage,
  },
  {
    name: 'the right password, with a cookie below the mount point and the way back',
    request: signIn('user=ada&password=lovelace'),
    status: 303,
    body: (framework, mount) => {
      const to = `${mount}/signin`
      if (framework === 'Express') return `See Other. Redirecting to ${to}`
      return framework === 'Koa' ? `Redirecting to ${to}.` : ''
    },
    untyped: ['Fastify', 'Hono'],
    headers: (mount) => [
      ['Location', [new RegExp(`^${mount}/signin$`)]],
      ['Set-Cookie', [new RegExp(`^session=ada\\.[\\w-]{43}; Path=${mount}/; HttpOnly; `)]],
    ],
  },
  {
    name: 'who is signed in',
    request: {
      target: '/signin',
      headers: [['Cookie', `other=1; ${sessionCookie('ada').replace(/;.*/, '')}; last=2`]],
    },
    status: 200,
    type: HTML_TYPE,
    body: () => welcomePage('ada'),
  },
  {
    name: 'a session that is forged',
    request: { target: '/signin', headers: [['Cookie', `session=ada.${'A'.repeat(43)}`]] },
    status: 200,
    type: HTML_TYPE,
    body: () => signInPage,
  },
  {
    name: 'a file',
    request: { target: '/files/hello.mjs' },
    status: 200,
    type: /^(text|application)\/javascript; ?charset=utf-8$/i,
    body: () => readFileSync(join(EXAMPLES, 'hello.mjs'), 'utf8'),
  },
  {
    name: 'two cookies, and those that were sent',
    request: {
      target: '/cookies',
      headers: [['Cookie', 'a=1; b=2']],
    },
    status: 200,
    type: JSON_TYPE,
    body: json({ sent: 'a=1; b=2' }),
    headers: () => [['Set-Cookie', [/^first=1; path=\/; httponly$/i, /^second=2; path=\/$/i]]],
  },
  {
    name: 'a redirect that carries the mount point',
    request: { target: '/redirect' },
    status: 302,
    body: (framework, mount) => {
      const to = `${mount}/who/redirected`
      if (framework === 'Express') return `Found. Redirecting to ${to}`
      return framework === 'Koa' ? `Redirecting to ${to}.` : ''
    },
    untyped: ['Fastify', 'Hono'],
    headers: (mount) => [['Location', [new RegExp(`^${mount}/who/redirected$`)]]],
  },
  {
    name: 'a redirect of its own that carries the mount point',
    request: { target: '/files' },
    status: 301,
    type: /^text\/html/,
    only: 'Express',
    body: (_, mount) =>
      '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n' +
      `<title>Redirecting</title>\n</head>\n<body>\n<pre>Redirecting to ${mount}/files/</pre>\n` +
      '</body>\n</html>\n',
    headers: (mount) => [['Location', [new RegExp(`^${mount}/files/$`)]]],
  },
  {
    name: 'an error handler',
    request: { target: '/fail' },
    status: 500,
    type: JSON_TYPE,
    body: json({ error: 'This error is intended' }),
  },
  {
    name: 'a body that is sent in chunks',
    request: { target: '/stream' },
    status: 200,
    type: TEXT_TYPE,
    body: () => 'one\ntwo\nthree\n',
  },
  {
    name: 'events',
    request: { target: '/events?count=3' },
    status: 200,
    type: /^text\/event-stream/,
    body: () => 'data: 1\n\ndata: 2\n\ndata: 3\n\n',
  },
  {
    name: 'nothing',
    request: { target: '/no/such/page' },
    status: 404,
    type: JSON_TYPE,
    body: json({ error: 'Nothing is here' }),
  },
]

/**
 * The response without what belongs to the connection or the clock, in an order of its own; of a
 * Response, also without the length, which it never says.
 */
export function comparable({ status, headers, body }: TestResponse, framework: string) {
  const own = headers
    .map(([name, value]) => `${name.toLowerCase()}: ${value}`)
    .filter((line) => !/^(?:date|server|connection|keep-alive|transfer-encoding):/.test(line))
    .filter((line) => framework !== 'Hono' || !line.startsWith('content-length:'))
  return { code: status.slice(0, 3), headers: own.toSorted(), body: String(body) }
}
