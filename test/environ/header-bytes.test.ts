/**
 * No gateway gives an application a header, or a variable of one line, with a line break or a NUL. Other
 * variables may have them.
 */
import { Buffer } from 'node:buffer'
import { execFileSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { NodeFastCGIHandler } from '../../handlers/node-fastcgi.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { application } from '../fixtures/environ-application.ts'
import { buildScript } from '../fixtures/script.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { makeDirectory } from '../servers/process.ts'

type Pair = readonly [name: string, value: string]

const REFUSED = '400 Bad Request'
const OK = '200 OK'

const rows: readonly [what: string, pair: Pair, status: string][] = [
  ['a line feed in a header', ['HTTP_X_A', 'a\nb'], REFUSED],
  ['CRLF and another header in a header', ['HTTP_USER_AGENT', 'a\r\nX-Admin: 1'], REFUSED],
  ['a carriage return alone in a header', ['HTTP_X_A', 'a\rb'], REFUSED],
  ['a folded header', ['HTTP_X_A', 'a\r\n b'], REFUSED],
  ['a line feed at the end of a header', ['HTTP_X_A', 'a\n'], REFUSED],
  ['a line feed at the beginning of a header', ['HTTP_ACCEPT', '\na'], REFUSED],
  ['a line feed in a cookie', ['HTTP_COOKIE', 'a=1\nb=2'], REFUSED],
  ['a line feed in Host', ['HTTP_HOST', 'a\nb'], REFUSED],
  ['a line feed in a type', ['CONTENT_TYPE', 'text/plain\nX: 1'], REFUSED],
  ['a line feed in the name of a header', ['HTTP_X\nY', 'a'], REFUSED],
  ['a NUL in a header', ['HTTP_X_A', 'a\0b'], REFUSED],
  ['a NUL in a known header', ['HTTP_REFERER', 'http://a/\0'], REFUSED],
  ['a line feed in a method', ['REQUEST_METHOD', 'GET\nX: 1'], REFUSED],
  ['a line feed at the end of a method', ['REQUEST_METHOD', 'GET\n'], REFUSED],
  ['a NUL in a method', ['REQUEST_METHOD', 'GET\0'], REFUSED],
  ['a space in a method', ['REQUEST_METHOD', 'GET /'], REFUSED],
  ['a tab in a method', ['REQUEST_METHOD', 'GE\tT'], REFUSED],
  ['a byte beyond ASCII in a method', ['REQUEST_METHOD', 'G\xc3\x89T'], REFUSED],
  ['quotes in a method', ['REQUEST_METHOD', '"GET"'], REFUSED],
  ['a method of every character of a token', ['REQUEST_METHOD', "A!#$%&'*+-.^_`|~z0"], OK],
  ['a method in lower case', ['REQUEST_METHOD', 'get'], OK],
  ['a long method', ['REQUEST_METHOD', 'M'.repeat(1000)], OK],
  ...[
    'AUTH_TYPE',
    'GATEWAY_INTERFACE',
    'HTTPS',
    'REDIRECT_HTTP_AUTHORIZATION',
    'REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
    'REDIRECT_REDIRECT_REDIRECT_HTTP_AUTHORIZATION',
    'REMOTE_ADDR',
    'REMOTE_HOST',
    'REMOTE_IDENT',
    'REMOTE_PORT',
    'REMOTE_USER',
    'REQUEST_SCHEME',
    'SERVER_ADDR',
    'SERVER_NAME',
    'SERVER_PORT',
    'SERVER_PROTOCOL',
    'SERVER_SOFTWARE',
  ].map((name): [string, Pair, string] => [`a line feed in ${name}`, [name, 'a\nX: 1'], REFUSED]),
  ['a carriage return at the end of REMOTE_USER', ['REMOTE_USER', 'a\r'], REFUSED],
  ['a NUL in SERVER_NAME', ['SERVER_NAME', 'a\0b'], REFUSED],
  ['other control characters in REMOTE_USER', ['REMOTE_USER', 'a\t b\x01\xe9'], OK],
  ['a line feed in a header that is dropped', ['HTTP_PROXY', 'a\nb'], OK],
  ['a tab and other control characters in a header', ['HTTP_X_A', '\x01\t\x1f\x7f'], OK],
  ['a long header without them', ['HTTP_X_A', 'x'.repeat(30_000)], OK],
  ['a line feed in PATH_INFO', ['PATH_INFO', '/a\nb'], OK],
  ['CRLF in PATH_INFO', ['PATH_INFO', '/a\r\nb'], OK],
  ['a line feed in REQUEST_URI', ['REQUEST_URI', '/a\nb'], OK],
  ['a line feed in QUERY_STRING', ['QUERY_STRING', 'a=\nb'], OK],
  ['a line feed in DOCUMENT_URI', ['DOCUMENT_URI', '/a\nb'], OK],
  ['a line feed in PATH_TRANSLATED', ['PATH_TRANSLATED', '/srv/a\nb'], OK],
  ["Apache's signature", ['SERVER_SIGNATURE', '<address>Apache</address>\n'], OK],
  ['a name that begins like a variable of one line', ['REMOTE_USERS', 'a\nb'], OK],
  ['a certificate', ['SSL_CLIENT_CERT', '-----BEGIN-----\nabc\n'], OK],
  ['settings for PHP', ['PHP_VALUE', 'a=1\nb=2'], OK],
]

const PLAIN: readonly Pair[] = [
  ['REQUEST_METHOD', 'GET'],
  ['SERVER_PROTOCOL', 'HTTP/1.1'],
  ['GATEWAY_INTERFACE', 'CGI/1.1'],
  ['SCRIPT_NAME', ''],
  ['PATH_INFO', '/'],
]

/** Another header follows, and a short one whose length looks like a line feed. */
function variables(pair: Pair): Pair[] {
  const names = new Set(['HTTP_Z', 'HTTP_LATER', pair[0]])
  return [
    ...PLAIN.filter(([name]) => !names.has(name)),
    ['HTTP_Z', '0123456789'],
    pair,
    ['HTTP_LATER', '0123456789abc'],
  ]
}

let directory: string
let script: string
const servers: GatewayServer[] = []
vi.spyOn(process.stderr, 'write').mockReturnValue(true)

beforeAll(async () => {
  directory = await makeDirectory()
  script = await buildScript(directory, 'test/fixtures/environ-application.ts', 'application')
  for (const [name, Handler] of [
    ['fastcgi', FastCGIHandler],
    ['node-fastcgi', NodeFastCGIHandler],
    ['scgi', SCGIHandler],
  ] as const) {
    servers.push(await new Handler({ listen: `unix:${join(directory, name)}` }).run(application))
  }
})
afterAll(async () => {
  vi.restoreAllMocks()
  for (const server of servers) await server.close()
  await rm(directory, { recursive: true, force: true })
})

async function exchange(name: string, bytes: Buffer): Promise<string> {
  const socket = connect(join(directory, name))
  socket.write(bytes)
  let text = ''
  for await (const chunk of socket.setEncoding('latin1')) text += String(chunk)
  return text
}

function fastcgi(pairs: readonly Pair[]): Buffer {
  return Buffer.concat([
    begin(1, 1, false),
    record(4, 1, encodePairs(pairs)),
    record(4, 1),
    record(5, 1),
  ])
}

const GATEWAYS: Record<string, (pairs: readonly Pair[]) => string | Promise<string>> = {
  FastCGI: (pairs) => exchange('fastcgi', fastcgi(pairs)),
  SCGI: (pairs) => exchange('scgi', encodeRequest(pairs.flat(), 0)),
  CGI: (pairs) =>
    execFileSync(process.execPath, [script], {
      env: Object.fromEntries(pairs),
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'latin1',
    }),
  'node-fastcgi': (pairs) => exchange('node-fastcgi', fastcgi(pairs)),
}

describe.each(Object.entries(GATEWAYS))('Over %s a request', (name, ask) => {
  // The others have no way to send a NUL.
  const possible = rows.filter(([, pair]) => name === 'FastCGI' || !pair.join('').includes('\0'))
  it.each(possible)('with %s (%j) gets %s', async (_, pair, status) => {
    const response = await ask(variables(pair))
    expect(response).toContain(`Status: ${status}\r\n`)
    if (status === OK && /^(?:HTTP_X|PATH_INFO|REQUEST_URI)/.test(pair[0])) {
      expect(response).toContain(JSON.stringify(pair[1]).slice(1, -1))
    }
  })
})

it('A FastCGI connection stays open after a request that is refused for a header', async () => {
  const bad = Buffer.concat([begin(1), record(4, 1, encodePairs([['HTTP_X_A', 'a\nb']]))])
  const good = fastcgi(PLAIN)
  const response = await exchange('fastcgi', Buffer.concat([bad, record(4, 1), record(5, 1), good]))
  expect(response.match(/Status: (?:400|200)/g)).toEqual(['Status: 400', 'Status: 200'])
})
