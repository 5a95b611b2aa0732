/** `as` of the clients sends what the real web servers send with their default configuration. */
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type HttpRequest, httpRequest } from '../../src/exports/testing.ts'
import type { TestRequest } from '../../src/testing/client.ts'
import {
  serverVariables,
  type ServerName,
  type VariableGateway,
} from '../../src/testing/web-servers/servers.ts'
import { startApache } from '../servers/apache.ts'
import { startCaddy } from '../servers/caddy.ts'
import { startHaproxy } from '../servers/haproxy.ts'
import { startLighttpd } from '../servers/lighttpd.ts'
import type { Mount } from '../servers/mount.ts'
import { startNginx } from '../servers/nginx.ts'
import { installed, makeDirectory, type WebServer } from '../servers/process.ts'
import { startFastcgi, startScgi, type Responder } from '../servers/responder.ts'

/** A request as the raw client and as the clients for gateways take it. */
const requests: Readonly<Record<string, HttpRequest & TestRequest>> = {
  'a GET with a query': { target: '/a/b?x=1&y=%20' },
  'the root': { target: '/' },
  'an empty query': { target: '/a?' },
  'a directory': { target: '/dir/' },
  'a path to be decoded and normalised': { target: "/a%20b//c/../%C3%A9+;x=1,2/./%41%3f@'?q" },
  'HTTP/1.0': { target: '/old', version: '1.0' },
  'a DELETE': { method: 'DELETE', target: '/p' },
  'an empty body': { method: 'PUT', target: '/p', body: '' },
  'a form': { method: 'POST', target: '/form', body: 'a=b' },
  'many headers': {
    method: 'POST',
    target: '/form',
    headers: [
      ['Host', 'example.org:81'],
      ['Content-Type', 'text/plain'],
      ['Cookie', 'a=1'],
      ['cookie', 'b=2'],
      ['Accept', 'x/y'],
      ['accept', 'z/w'],
      ['Authorization', 'Basic YTpi'],
      ['Proxy', 'p'],
      ['X-Sp', '  v w  '],
      ['Connection', 'keep-alive, X-Hop'],
      ['X-Hop', 'h'],
      ['TE', 'trailers'],
      ['User-Agent', 'ua'],
      ['Referer', 'http://r/'],
      ['Empty', ''],
      ['X_Under', 'u'],
      ['X.Dot', 'd'],
    ],
    body: 'hello',
  },
}

/** Prints its environment, decoded as Latin-1. */
const ENV_SCRIPT = `#!/usr/bin/python3
import os, sys, json
read = lambda bytes: bytes.decode('latin1')
sys.stdin.buffer.read(int(os.environ.get('CONTENT_LENGTH') or 0))
print("Content-Type: text/plain\\n")
print(json.dumps({"params": {read(k): read(v) for k, v in os.environb.items()}}))
`

interface Setting {
  readonly name: ServerName
  readonly gateway: VariableGateway
  readonly mount: string
  readonly program: string
  readonly start: (mount: Mount) => Promise<WebServer>
}

let directory: string
const startOf: Record<ServerName, [program: string, start: (mount: Mount) => Promise<WebServer>]> =
  {
    nginx: ['nginx', (mount) => startNginx({ mounts: [mount], keepalive: 0 })],
    apache: ['apache2', (mount) => startApache({ mounts: [mount] })],
    lighttpd: ['lighttpd', (mount) => startLighttpd({ mounts: [mount] })],
    caddy: ['caddy', ({ at, to }) => startCaddy({ mounts: [{ at, to }] })],
    haproxy: [
      'haproxy',
      ({ at, to }) =>
        startHaproxy({
          mounts: [{ at, to }],
          edit: (text) => text.replaceAll(/^ *(?:path-info|set-param) .*\n/gm, ''),
        }),
    ],
  }

function setting(name: ServerName, gateway: VariableGateway, mount = ''): Setting {
  const [program, start] = startOf[name]
  return { name, gateway, mount, program, start }
}

const settings: Setting[] = [
  setting('nginx', 'fastcgi'),
  setting('nginx', 'fastcgi', '/app'),
  setting('nginx', 'scgi'),
  setting('apache', 'fastcgi'),
  setting('apache', 'fastcgi', '/app'),
  setting('apache', 'scgi'),
  {
    ...setting('apache', 'cgi', '/cgi-bin/env.cgi'),
    start: () => startApache({ cgiBin: directory }),
  },
  setting('lighttpd', 'fastcgi'),
  setting('lighttpd', 'fastcgi', '/app'),
  setting('lighttpd', 'scgi'),
  {
    ...setting('lighttpd', 'cgi', '/cgi-bin/env.cgi'),
    start: () => startLighttpd({ cgiBin: directory }),
  },
  setting('caddy', 'fastcgi'),
  setting('caddy', 'fastcgi', '/app'),
  setting('haproxy', 'fastcgi'),
]

beforeAll(async () => {
  directory = await makeDirectory()
  await writeFile(join(directory, 'env.cgi'), ENV_SCRIPT)
  await chmod(join(directory, 'env.cgi'), 0o755)
})
afterAll(() => rm(directory, { recursive: true, force: true }))

/** The administrator's PATH, and what Python adds to a script's environment. */
const LEFT_OUT = new Set(['PATH', 'LC_CTYPE'])

/** Repeated names are joined as the responder of the tests joins them, and the order is lost. */
function asRecord(variables: Iterable<readonly [string, string]>): Record<string, string> {
  const record: Record<string, string> = {}
  for (const [name, value] of variables) {
    if (LEFT_OUT.has(name)) continue
    record[name] = name in record ? `${record[name]} and again ${value}` : value
  }
  return record
}

describe.each(settings)('as: $name sends over $gateway at "$mount"', (chosen) => {
  const { name, gateway, mount, program, start } = chosen
  const { available, hint } = installed(program)
  let server: WebServer
  let responder: Responder | undefined
  beforeAll(async () => {
    if (!available) return
    if (gateway !== 'cgi') responder = await (gateway === 'scgi' ? startScgi : startFastcgi)(0)
    server = await start({
      at: mount || '/',
      to: responder?.address ?? '',
      protocol: gateway === 'scgi' ? 'scgi' : 'fastcgi',
      pathInfo: 'none',
    })
  })
  afterAll(async () => {
    await server?.stop()
    await responder?.close()
  })

  it.skipIf(!available).each(Object.entries(requests))(
    `what the real server sends for %s${hint}`,
    async (_, { body, ...request }) => {
      const own: [string, string] = ['Host', `127.0.0.1:${server.port}`]
      // Caddy serves the one site of its configuration.
      const headers = (request.headers ?? [own]).map((header) =>
        header[0] === 'Host' && name === 'caddy' ? own : header,
      )
      const sent = { ...request, headers, ...(body === undefined ? {} : { body: String(body) }) }
      const response = await httpRequest(
        { port: server.port },
        { ...sent, target: mount + request.target },
      )
      expect(response.status).toBe(200)
      const { params } = JSON.parse(response.body.toString()) as { params: Record<string, string> }
      // The tests' configuration passes it on.
      if (name === 'haproxy') delete params['HTTP_AUTHORIZATION']
      const variables = serverVariables(
        name,
        sent,
        {
          mount,
          serverName: 'localhost',
          serverPort: server.port,
          remotePort: Number(params['REMOTE_PORT']),
          serverProtocol: `HTTP/${request.version ?? '1.1'}`,
          documentRoot: params['DOCUMENT_ROOT'],
          serverSoftware: params['SERVER_SOFTWARE'],
          ...(gateway === 'cgi' ? { scriptFilename: join(directory, 'env.cgi') } : {}),
        },
        { gateway, address: responder?.address },
      )
      expect(asRecord(variables)).toEqual(asRecord(Object.entries(params)))
    },
  )
})
