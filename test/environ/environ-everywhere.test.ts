/**
 * The same request gives the same environ over every gateway and web server, byte for byte. One table
 * lists what a server changes by its own policy.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { httpClient, type Client, type TestRequest } from '../../src/exports/testing.ts'
import { application } from '../fixtures/environ-application.ts'
import { gateways, LOSSY, LOST } from '../fixtures/gateways.ts'
import { buildScript } from '../fixtures/script.ts'
import { startApache } from '../servers/apache.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, openSocket } from '../servers/process.ts'

/** Values by key; what is not there has to be absent. */
type Variables = Record<string, string | undefined>

interface Asked {
  readonly name: string
  readonly request: TestRequest
  /** What differs from the plain environ of a GET. */
  readonly variables: (mount: string) => Variables
}

/** A GET of `target` below the mount point. */
function path(name: string, target: string, pathInfo: string, query = ''): Asked {
  return {
    name,
    request: { target },
    variables: (mount) => ({
      PATH_INFO: pathInfo,
      QUERY_STRING: query,
      REQUEST_URI: (mount + target).replace(/^(?!\/)/, '/'),
    }),
  }
}

/** A GET of '/' with headers. */
function headers(name: string, list: [string, string][], variables: Variables): Asked {
  return { name, request: { target: '/', headers: list }, variables: () => variables }
}

const COOKIE = 'long='.padEnd(5000, '0123456789')

const asked: readonly Asked[] = [
  path('a slash', '/', '/'),
  {
    name: 'the mount point itself',
    request: { target: '' },
    variables: (mount) => ({ PATH_INFO: mount === '' ? '/' : '', REQUEST_URI: mount || '/' }),
  },
  path(
    'escaped and unescaped characters',
    "/a%20b/c%2Cd;e=f,g/~h'!$&()*+:@%41",
    "/a b/c,d;e=f,g/~h'!$&()*+:@A",
  ),
  path('an escaped percent sign', '/a%2541', '/a%41'),
  path('an escaped slash', '/a%2Fb/c', '/a/b/c'),
  path('an escaped question mark and number sign', '/a%3Fb%23c', '/a?b#c'),
  path('escaped quotes, angles and a backslash', '/%22%3C%3E%5C%7C', '/"<>\\|'),
  path('an escaped line feed', '/a%0Ab', '/a\nb'),
  path('repeated slashes', '//a///b//', '//a///b//'),
  path('a slash at the end', '/a/b/', '/a/b/'),
  path('escaped UTF-8', '/%E3%81%82', '/\xe3\x81\x82'),
  path('escaped bytes that are not UTF-8', '/%80%ff', '/\x80\xff'),
  path('raw UTF-8', '/\xe3\x81\x82', '/\xe3\x81\x82'),
  path('raw bytes that are not UTF-8', '/\x80\xff', '/\x80\xff'),
  path('dot segments', '/a/../b/./c', '/b/c'),
  path('dots that are no segments', '/a../.b/...', '/a../.b/...'),
  path('an empty query', '/a?', '/a'),
  path('a query with slashes and signs', '/a?b=%2F/&c=?d==&&+', '/a', 'b=%2F/&c=?d==&&+'),
  path('a query without a name', '/a?b', '/a', 'b'),
  path('a query with escaped and raw bytes', '/a?b=%ff&c=\xe9\xff', '/a', 'b=%ff&c=\xe9\xff'),
  path('a query with a broken escape', '/a?b=%zz%', '/a', 'b=%zz%'),
  {
    name: 'the absolute form',
    request: { target: 'http://example.org/a%20b?c' },
    variables: (mount) => ({
      PATH_INFO: '/a b',
      QUERY_STRING: 'c',
      REQUEST_URI: `http://example.org${mount}/a%20b?c`,
    }),
  },
  headers('an empty header', [['X-Empty', '']], { HTTP_X_EMPTY: '' }),
  headers('spaces around a value', [['X-Blank', '  a b\t ']], { HTTP_X_BLANK: 'a b' }),
  headers(
    'a header twice',
    [
      ['X-Twice', 'a'],
      ['x-twice', 'b, c'],
    ],
    { HTTP_X_TWICE: 'a, b, c' },
  ),
  headers(
    'two cookies',
    [
      ['Cookie', 'a=1'],
      ['Cookie', 'b=2'],
    ],
    { HTTP_COOKIE: 'a=1; b=2' },
  ),
  headers('a cookie of 5,000 bytes', [['Cookie', COOKIE]], { HTTP_COOKIE: COOKIE }),
  headers('bytes in a header', [['X-Bytes', '\xe9 \xc3\xa9 \xff']], {
    HTTP_X_BYTES: '\xe9 \xc3\xa9 \xff',
  }),
  headers(
    'header names that could become the variable of another',
    [
      ['X_Under', '1'],
      ['X.Dot', '2'],
    ],
    {},
  ),
  headers('Proxy', [['Proxy', 'http://evil.example/']], {}),
  headers('Authorization', [['Authorization', 'Basic YTpi']], { HTTP_AUTHORIZATION: 'Basic YTpi' }),
  headers('a type without a body', [['Content-Type', 'text/plain']], {
    CONTENT_TYPE: 'text/plain',
  }),
  headers('a forged variable', [['Script-Name', '/evil']], { HTTP_SCRIPT_NAME: '/evil' }),
  {
    name: 'a POST with a type',
    request: {
      method: 'POST',
      target: '/',
      headers: [['Content-Type', 'text/plain; charset="x"']],
      body: 'abc',
    },
    variables: () => ({
      REQUEST_METHOD: 'POST',
      CONTENT_TYPE: 'text/plain; charset="x"',
      CONTENT_LENGTH: '3',
    }),
  },
  {
    name: 'a POST without a type',
    request: { method: 'POST', target: '/', body: 'abc' },
    variables: () => ({ REQUEST_METHOD: 'POST', CONTENT_LENGTH: '3' }),
  },
  {
    name: 'a PUT of nothing',
    request: { method: 'PUT', target: '/', body: '' },
    variables: () => ({ REQUEST_METHOD: 'PUT', CONTENT_LENGTH: '0' }),
  },
]

/** How a server's own policy changes a request. */
interface Policy {
  readonly where: readonly string[]
  /** Left out: every request. */
  readonly asked?: string
  readonly reason: string
  /** The variables instead, or the status of the server's own response. */
  readonly variables: ((mount: string, request: TestRequest) => Variables) | number
}

function lossy(name: string, variables: (mount: string) => Variables): Policy {
  return { where: ['node-fastcgi'], asked: name, reason: LOSSY, variables }
}

const ASCII = 'node:http refuses raw bytes in a target, as RFC 9112, section 3.2, demands'

const policies: readonly Policy[] = [
  {
    where: ['SCGI'],
    reason: 'CONTENT_LENGTH is required, even without a body',
    variables: (_, { body }) => (body === undefined ? { CONTENT_LENGTH: '0' } : {}),
  },
  lossy('escaped bytes that are not UTF-8', () => ({ PATH_INFO: `/${LOST}${LOST}` })),
  lossy('raw bytes that are not UTF-8', (mount) => ({
    PATH_INFO: `/${LOST}${LOST}`,
    REQUEST_URI: `${mount}/${LOST}${LOST}`,
  })),
  lossy('a query with escaped and raw bytes', (mount) => ({
    QUERY_STRING: `b=%ff&c=${LOST}${LOST}`,
    REQUEST_URI: `${mount}/a?b=%ff&c=${LOST}${LOST}`,
  })),
  lossy('bytes in a header', () => ({ HTTP_X_BYTES: `${LOST} \xc3\xa9 ${LOST}` })),
  { where: ['HTTP'], asked: 'raw UTF-8', reason: ASCII, variables: 400 },
  { where: ['HTTP'], asked: 'raw bytes that are not UTF-8', reason: ASCII, variables: 400 },
  { where: ['HTTP'], asked: 'a query with escaped and raw bytes', reason: ASCII, variables: 400 },
  {
    where: ['HTTP'],
    asked: 'dot segments',
    reason: 'no web server resolves them, and Portico treats a path as data',
    variables: () => ({ PATH_INFO: '/a/../b/./c' }),
  },
  {
    where: ['Apache'],
    asked: 'two cookies',
    reason: 'Apache joins repeated headers with a comma, even Cookie',
    variables: () => ({ HTTP_COOKIE: 'a=1, b=2' }),
  },
  {
    where: ['Apache as it comes'],
    asked: 'Authorization',
    reason: 'hidden from scripts without CGIPassAuth',
    variables: () => ({ HTTP_AUTHORIZATION: undefined }),
  },
  {
    where: ['Apache as it comes'],
    asked: 'an escaped slash',
    reason: 'refused without AllowEncodedSlashes',
    variables: 404,
  },
  {
    where: ['nginx'],
    asked: 'the absolute form',
    reason: '$request_uri begins with the path',
    variables: (mount) => ({ REQUEST_URI: `${mount}/a%20b?c` }),
  },
  {
    where: ['nginx'],
    asked: 'spaces around a value',
    reason: 'nginx removes spaces, but not tabs',
    variables: () => ({ HTTP_X_BLANK: 'a b\t' }),
  },
]

/** A gateway or server that runs the application at its mount points. */
interface Everywhere {
  readonly name: string
  readonly mounts: readonly string[]
  readonly program?: 'apache2' | 'nginx'
  /** Resolves to a client for each mount point. */
  start: () => Promise<(mount: string) => Client>
}

const mounts = ['', '/mnt']

const closers: (() => Promise<unknown>)[] = []
let directory: string
let script: string

const everywhere: readonly Everywhere[] = [
  ...gateways.map((gateway) => ({
    name: gateway.name,
    mounts: gateway.mounts,
    async start() {
      const clients = new Map<string, Client>()
      for (const mount of gateway.mounts) {
        const served = await gateway.serve({ application, script, directory, mount, variables: {} })
        closers.push(() => served.close())
        clients.set(mount, served.client)
      }
      return (mount: string) => clients.get(mount)!
    },
  })),
  {
    name: 'Apache as our manual has it (mod_cgid)',
    mounts,
    program: 'apache2',
    // 'on', because `plain` of test/servers/apache.ts removes 'AllowEncodedSlashes On'.
    start: () => serveApache('CGIPassAuth On', 'AllowEncodedSlashes on'),
  },
  { name: 'Apache as it comes (mod_cgid)', mounts, program: 'apache2', start: () => serveApache() },
  {
    name: 'nginx (FastCGI)',
    mounts,
    program: 'nginx',
    async start() {
      const socket = join(directory, 'nginx.sock')
      const handler = await new FastCGIHandler({ listen: `unix:${socket}` }).run(application)
      closers.push(() => handler.close())
      await openSocket(socket)
      const to = `unix:${socket}`
      const server = await startNginx({
        mounts: [
          { at: '/mnt', to },
          { at: '/', to },
        ],
      })
      closers.push(() => server.stop())
      return (mount) => httpClient({ port: server.port }, { mount })
    },
  },
]

async function serveApache(everyPath = '', server = ''): Promise<(mount: string) => Client> {
  const apache = await startApache({
    cgiBin: directory,
    everywhere: everyPath,
    extra: `${server}\nScriptAlias "/mnt" "${script}"\nScriptAlias "/" "${script}/"`,
  })
  closers.push(() => apache.stop())
  return (mount) => httpClient({ port: apache.port }, { mount })
}

beforeAll(async () => {
  directory = await makeDirectory()
  script = await buildScript(directory, 'test/fixtures/environ-application.ts', 'application')
})

afterAll(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
  await rm(directory, { recursive: true, force: true })
})

/** What every request here has in common. */
const PLAIN: Variables = {
  REQUEST_METHOD: 'GET',
  PATH_INFO: '/',
  QUERY_STRING: '',
  SERVER_PROTOCOL: 'HTTP/1.1',
  HTTP_HOST: 'example.org',
  'wsgi.url_scheme': 'http',
}

describe.each(everywhere)('The environ over $name', ({ name, mounts: tested, program, start }) => {
  const { available, hint } = program ? installed(program) : { available: true, hint: '' }

  describe.skipIf(!available)(`is the same${hint}`, () => {
    let clientAt: (mount: string) => Client

    beforeAll(async () => {
      clientAt = await start()
    })

    describe.each(tested)('mounted at "%s"', (mount) => {
      it.each(asked.map((each) => [each.name, each] as const))('for %s', async (_, each) => {
        const { request } = each
        const policy = policies.find(
          (one) =>
            (one.asked ?? each.name) === each.name &&
            one.where.some((where) => name.startsWith(where)),
        )
        const response = await clientAt(mount).request({
          ...request,
          headers: [['Host', 'example.org'], ...(request.headers ?? [])],
        })
        if (typeof policy?.variables === 'number') {
          expect(response.status).toMatch(new RegExp(`^${policy.variables} `))
          return
        }
        expect(response.status, String(response.body)).toBe('200 OK')
        const wanted = {
          ...PLAIN,
          SCRIPT_NAME: mount,
          REQUEST_URI: `${mount}/`,
          ...each.variables(mount),
          ...policy?.variables(mount, request),
        }
        const present = Object.entries(wanted).filter(([, value]) => value !== undefined)
        expect(JSON.parse(String(response.body))).toEqual(Object.fromEntries(present))
      })
    })
  })
})

it.each(policies)('The policy about $asked names a request and a server that exist', (policy) => {
  if (policy.asked !== undefined) expect(asked.map(({ name }) => name)).toContain(policy.asked)
  for (const where of policy.where) {
    expect(everywhere.filter(({ name }) => name.startsWith(where))).not.toEqual([])
  }
})
