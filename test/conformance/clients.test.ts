/** The parts of `portico/testing`: what they send and read, and which faults they find. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { PeerError } from '../../src/errors.ts'
import {
  cgiClient,
  cgiVariables,
  complaints,
  fastcgiClient,
  httpClient,
  parseCgiResponse,
  runRow,
  scgiClient,
  suite,
  suiteApplication,
  type CgiServer,
  type Client,
  type MountPoint,
  type Row,
  type TestRequest,
  type TestResponse,
} from '../../src/exports/testing.ts'
import { encodeRecord, FCGI_END_REQUEST, FCGI_STDOUT } from '../../src/protocol/fastcgi.ts'
import { isAlive } from '../server/child.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

function variables(request: TestRequest, where?: CgiServer): Record<string, string> {
  return Object.fromEntries(cgiVariables(request, where))
}

describe('cgiVariables()', () => {
  it('gives a GET the variables that a web server gives it', () => {
    expect(variables({ target: '/' })).toEqual({
      GATEWAY_INTERFACE: 'CGI/1.1',
      SERVER_PROTOCOL: 'HTTP/1.1',
      SERVER_SOFTWARE: 'portico-testing',
      SERVER_NAME: '127.0.0.1',
      SERVER_PORT: '80',
      REMOTE_ADDR: '127.0.0.1',
      REMOTE_PORT: '49152',
      REQUEST_METHOD: 'GET',
      REQUEST_URI: '/',
      SCRIPT_NAME: '',
      PATH_INFO: '/',
      QUERY_STRING: '',
    })
  })

  it('has the addresses of the server and the client', () => {
    const mountPoint = {
      serverName: 'example.org',
      serverPort: 443,
      remoteAddr: '::1',
      remotePort: 12_345,
      serverProtocol: 'HTTP/1.0',
      https: true,
      scriptFilename: '/srv/app.cgi',
    }
    expect(variables({ target: '/' }, mountPoint)).toMatchObject({
      SERVER_NAME: 'example.org',
      SERVER_PORT: '443',
      REMOTE_ADDR: '::1',
      REMOTE_PORT: '12345',
      SERVER_PROTOCOL: 'HTTP/1.0',
      HTTPS: 'on',
      SCRIPT_FILENAME: '/srv/app.cgi',
    })
  })

  it.each([
    ['', '', '/', '/', ''],
    ['', '/mnt', '/mnt', undefined, ''],
    ['?q', '/mnt', '/mnt?q', undefined, 'q'],
    ['/', '/mnt', '/mnt/', '/', ''],
    ['/a%20b%2Fc?d=%20', '/mnt', '/mnt/a%20b%2Fc?d=%20', '/a b/c', 'd=%20'],
    ['/a%2541', '', '/a%2541', '/a%41', ''],
    ['/a%zz%4', '', '/a%zz%4', '/a%zz%4', ''],
    ['/\xff%FF', '', '/\xff%FF', '/\xff\xff', ''],
    ['//a///b//', '', '//a///b//', '/a/b/', ''],
    ['/a/../b/./c/..', '', '/a/../b/./c/..', '/b/', ''],
    ['/../..', '', '/../..', '/', ''],
    ['/a/.b/..c', '', '/a/.b/..c', '/a/.b/..c', ''],
    ['/a?b?c#d', '', '/a?b?c#d', '/a', 'b?c'],
    ['http://host:1/a?b', '/mnt', 'http://host:1/mnt/a?b', '/a', 'b'],
    ['http://host', '', 'http://host/', '/', ''],
    ['*', '/mnt', '*', undefined, ''],
  ])('splits the target %j at the mount point %j', (target, mount, uri, pathInfo, query) => {
    const sent = variables({ target }, { mount })
    expect([
      sent['REQUEST_URI'],
      sent['SCRIPT_NAME'],
      sent['PATH_INFO'],
      sent['QUERY_STRING'],
    ]).toEqual([uri, mount, pathInfo, query])
  })

  it('makes variables of headers as Apache and nginx do', () => {
    const headers: [string, string][] = [
      ['Foo-Bar', ' a\t'],
      ['foo-bar', 'b'],
      ['Cookie', 'a=1'],
      ['Cookie', 'b=2'],
      ['Proxy', 'evil'],
      ['X_Under', 'dropped'],
      ['X.Dot', 'dropped'],
      ['Empty', ''],
      ['Content-Type', 'text/plain'],
    ]
    const sent = variables({ method: 'POST', target: '/', headers, body: 'б' })
    expect(Object.entries(sent).filter(([name]) => /^(HTTP|CONTENT)_/.test(name))).toEqual([
      ['CONTENT_LENGTH', '2'],
      ['HTTP_FOO_BAR', 'a, b'],
      ['HTTP_COOKIE', 'a=1; b=2'],
      ['HTTP_EMPTY', ''],
      ['CONTENT_TYPE', 'text/plain'],
    ])
  })

  it('uses a Content-Length that is sent', () => {
    const headers: [string, string][] = [['Content-Length', '40']]
    expect(variables({ target: '/', headers, body: 'x' })['CONTENT_LENGTH']).toBe('40')
  })

  it('gives each name once, even if the headers repeat it', () => {
    const headers = fc.array(fc.tuple(fc.string(), fc.string()))
    fc.assert(
      fc.property(fc.string(), headers, (target, list) => {
        const names = cgiVariables({ target, headers: list }).map(([name]) => name)
        expect(new Set(names).size).toBe(names.length)
      }),
    )
  })
})

function parse(text: string) {
  const { body, ...response } = parseCgiResponse(Buffer.from(text, 'latin1'))
  return { ...response, body: body.toString('latin1') }
}

describe('parseCgiResponse()', () => {
  it.each([
    [
      'CRLF',
      'Status: 404 Not Found\r\nContent-Type: a/b\r\n\r\nbody\r\n',
      { status: '404 Not Found', headers: [['Content-Type', 'a/b']], body: 'body\r\n' },
    ],
    [
      'LF',
      'Content-Type: a/b\nX: \xff \n\n\nbody',
      {
        status: '200 OK',
        headers: [
          ['Content-Type', 'a/b'],
          ['X', '\xff'],
        ],
        body: '\nbody',
      },
    ],
    ['a status without a reason', 'status: 204\n\n', { status: '204', headers: [], body: '' }],
    [
      'an absolute Location without Status',
      'Location: http://foo.com/\r\n\r\n',
      { status: '302 Found', headers: [['Location', 'http://foo.com/']], body: '' },
    ],
    [
      'a Location with Status',
      'Status: 301 Moved\nLocation: /foo\n\n',
      { status: '301 Moved', headers: [['Location', '/foo']], body: '' },
    ],
    [
      'a local redirect',
      'Location: /foo\n\n',
      { status: '200 OK', headers: [['Location', '/foo']], body: '', localRedirect: '/foo' },
    ],
  ])('reads %s', (_, text, expected) => {
    expect(parse(text)).toEqual(expected)
  })

  it.each([
    ['nothing', ''],
    ['a head without an end', 'Content-Type: a/b\r\n'],
    ['an empty head', '\r\n'],
    ['a head without any CGI header', 'X: y\r\n\r\n'],
    ['a line that is not a header', 'Content-Type: a/b\r\nnonsense\r\n\r\n'],
    ['a header name with a space', 'Content Type: a/b\r\n\r\n'],
    ['a bare CR', 'Content-Type: a\rb\r\n\r\n'],
    ['a folded line', 'Content-Type: a/b\r\n c\r\n\r\n'],
    ['an HTTP status line', 'HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n'],
    ['a bad status', 'Status: OK\r\n\r\n'],
    ['two statuses', 'Status: 200 OK\r\nStatus: 404 No\r\n\r\n'],
    ['a head of more than 64 KiB', `Content-Type: ${'x'.repeat(65_536)}\r\n\r\n`],
  ])('refuses %s', (_, text) => {
    expect(() => parse(text)).toThrow(PeerError)
  })
})

const mountPoint: MountPoint = {
  mount: '',
  gateway: 'cgi',
  serverName: 'localhost',
  serverPort: 80,
}

describe('complaints()', () => {
  const row: Row = {
    name: 'a row',
    request: { target: '/' },
    application: suiteApplication,
    expect: {
      headers: { 'X-Two': ['a', 'b'], 'X-None': [] },
      body: 'body',
      never: 'LEAK',
      logged: 'said',
    },
  }
  const good: TestResponse = {
    status: '200 OK',
    headers: [
      ['x-two', 'a'],
      ['X-Two', 'b'],
    ],
    body: Buffer.from('body'),
    broken: false,
    errors: 'it said so',
  }

  it('finds no difference in a correct response, with or without a log', () => {
    expect(complaints(row, good, mountPoint)).toEqual([])
    expect(complaints(row, { ...good, errors: undefined }, mountPoint)).toEqual([])
  })

  it.each<[string, Partial<TestResponse>, string]>([
    ['another status', { status: '200 Okay' }, 'the status is "200 Okay", not "200 OK"'],
    ['a missing value', { headers: [['X-Two', 'a']] }, 'X-Two is "a", not "a | b"'],
    [
      'an unexpected header',
      { headers: [...good.headers, ['X-None', 'c']] },
      'X-None is "c", not nothing',
    ],
    ['another body', { body: Buffer.from('Body') }, 'the body is "Body", not "body"'],
    ['an aborted response', { broken: true }, 'broken is true, not false'],
    [
      'a leak in a header',
      { headers: [...good.headers, ['A', 'LEAK']] },
      'the response contains "LEAK"',
    ],
    ['a missing log line', { errors: '' }, '"said" is not in the log nothing'],
  ])('finds %s', (_, fault, complaint) => {
    expect(complaints(row, { ...good, ...fault }, mountPoint)).toEqual([complaint])
  })

  it('finds a fault in a wrong response to every row of the suite', async () => {
    const teapot: TestResponse = {
      status: '418 I am a teapot',
      headers: [],
      body: Buffer.alloc(0),
      broken: false,
    }
    const client: Client = { request: async () => teapot, close: async () => {} }
    for (const each of suite)
      expect(await runRow(each, client, mountPoint), each.name).not.toEqual([])
  })
})

describe('The conformance suite', () => {
  it('has a different name for each row', () => {
    const names = suite.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })
})

async function newDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'portico-clients-'))
  closers.push(() => rm(directory, { recursive: true, force: true }))
  return directory
}

describe.each(['pipes', 'socket'] as const)('cgiClient over %s', (stdio) => {
  async function client(script: string, more = {}): Promise<Client> {
    const file = join(await newDirectory(), 'script')
    await writeFile(file, script)
    await chmod(file, 0o755)
    return cgiClient({ command: ['/bin/sh', file], stdio, ...more })
  }

  it('gives the process its variables byte by byte, and no others', async () => {
    const value = Buffer.from(Uint8Array.from({ length: 255 }, (_, i) => i + 1)).toString('latin1')
    const script = `printf 'Content-Type: a/b\\n\\n'; exec /bin/cat /proc/self/environ`
    const [odd, utf] = [`${value}'"\\\n\n`, '\xc3\xa9\n']
    const through = async (extra: Record<string, string>) => {
      const { body } = await (await client(script, { variables: extra })).request({ target: '/' })
      return body.toString('latin1').split('\0').filter(Boolean)
    }
    expect(await through({ UTF: utf })).toContain(`UTF=${utf}`)
    const block = await through({ ODD: odd })
    expect(block).toContain(`ODD=${odd}`)
    // A shell adds to its environment.
    const added = new Set(['PWD', 'OLDPWD', 'SHLVL', '_'])
    const names = block.map((entry) => entry.split('=')[0]!).filter((name) => !added.has(name))
    const wanted = [...cgiVariables({ target: '/' }).map(([name]) => name), 'ODD']
    expect(names.toSorted()).toEqual(wanted.toSorted())
  })

  it('gives the process pipes or a socket on descriptors 0 and 1', async () => {
    const script = `printf 'Content-Type: a/b\\n\\n'; exec /usr/bin/readlink /proc/self/fd/0 /proc/self/fd/1`
    const { body } = await (await client(script)).request({ target: '/' })
    const [stdin, stdout] = String(body).trim().split('\n')
    if (stdio === 'socket') {
      expect(stdin).toMatch(/^socket:/)
      expect(stdout).toBe(stdin)
    } else {
      // A named pipe shows its name.
      expect([stdin, stdout].join()).toMatch(/\/in \(deleted\),.*\/out \(deleted\)$/)
    }
  })

  it('sends the body, and then the end', async () => {
    const script = `printf 'Content-Type: a/b\\n\\n'; exec /bin/cat`
    const body = Buffer.alloc(300_000, 'body')
    const response = await (await client(script)).request({ method: 'POST', target: '/', body })
    expect(response.body.equals(body)).toBe(true)
    expect(response.broken).toBe(false)
  })

  it('reports what was logged, and an aborted response by the exit code', async () => {
    const script = `printf 'Content-Type: a/b\\n\\nhalf'; echo why >&2; exit 3`
    expect(await (await client(script)).request({ target: '/' })).toMatchObject({
      broken: true,
      errors: 'why\n',
      body: Buffer.from('half'),
    })
  })

  it('reports an aborted response by the declared length', async () => {
    const cut = await client(`printf 'Content-Length: 9\\nStatus: 200 OK\\n\\nhalf'`)
    expect((await cut.request({ target: '/' })).broken).toBe(true)
    expect((await cut.request({ method: 'HEAD', target: '/' })).broken).toBe(false)
  })

  it('rejects an invalid response', async () => {
    const request = (await client('echo nonsense')).request({ target: '/' })
    await expect(request).rejects.toMatchObject({ code: 'PORTICO_PROTOCOL' })
  })

  it('kills a script that does not end', async () => {
    const directory = await newDirectory()
    const script = `echo $$ > ${directory}/pid; exec /bin/sleep 60`
    const request = (await client(script, { timeout: 1_000 })).request({ target: '/' })
    await expect(request).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    const pid = Number(await readFile(join(directory, 'pid'), 'utf8'))
    await expect.poll(() => isAlive(pid)).toBe(false)
  })

  it('leaves no file in the temporary directory', async () => {
    const directory = await newDirectory()
    const one = await client(`printf 'Status: 200 OK\\n\\n'`)
    vi.stubEnv('TMPDIR', directory)
    await one.request({ target: '/' })
    vi.unstubAllEnvs()
    expect(await readdir(directory)).toEqual([])
  })
})

/** A server on a free port that does what `serve` does with each connection. */
async function serving(serve: (socket: Socket) => void): Promise<{ port: number }> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0 }
}

function end(appStatus: number, protocolStatus: number): Buffer {
  const content = Buffer.from([0, 0, 0, appStatus, protocolStatus, 0, 0, 0])
  return encodeRecord(FCGI_END_REQUEST, 1, content)
}

/** A client for an application that responds to everything with these bytes. */
async function clientOf(bytes: Buffer, close: boolean, timeout = 20_000): Promise<Client> {
  const at = await serving((socket) => {
    socket.once('data', () => (close ? socket.end(bytes) : socket.write(bytes)))
    socket.resume()
  })
  return fastcgiClient(at, { timeout })
}

describe('fastcgiClient', () => {
  const head = encodeRecord(FCGI_STDOUT, 1, Buffer.from('Status: 200 OK\r\n\r\nbody'))

  it.each<[string, Buffer, boolean, object]>([
    ['a response', Buffer.concat([head, end(0, 0)]), true, { broken: false }],
    ['an appStatus other than 0', Buffer.concat([head, end(1, 0)]), true, { broken: true }],
    ['an end without END_REQUEST', head, true, { broken: true }],
  ])('accepts %s', async (_, bytes, close, expected) => {
    const response = await (await clientOf(bytes, close)).request({ target: '/' })
    expect(response).toMatchObject({ status: '200 OK', body: Buffer.from('body'), ...expected })
  })

  it.each<[string, Buffer, boolean, string]>([
    ['an application that is overloaded', end(0, 2), true, 'PORTICO_PROTOCOL'],
    ['an end before any response', Buffer.alloc(0), true, 'PORTICO_PROTOCOL'],
    ['bytes that are not a record', Buffer.from('HTTP/1.1 200 OK\r\n'), true, 'PORTICO_PROTOCOL'],
    ['no response at all', Buffer.alloc(0), false, 'PORTICO_DISCONNECTED'],
    [
      'a connection that stays open without KEEP_CONN',
      Buffer.concat([head, end(0, 0)]),
      false,
      'PORTICO_DISCONNECTED',
    ],
  ])('rejects %s', async (_, bytes, close, code) => {
    const request = (await clientOf(bytes, close, close ? 20_000 : 300)).request({ target: '/' })
    await expect(request).rejects.toMatchObject({ code })
  })
})

describe('scgiClient', () => {
  it('sends CONTENT_LENGTH first, and reads the response until the connection ends', async () => {
    let received = ''
    const at = await serving((socket) => {
      socket.on('data', (bytes) => {
        received += bytes.toString('latin1')
        if (received.endsWith('body')) socket.end('Status: 200 OK\r\n\r\nresponse')
      })
    })
    const response = await scgiClient(at).request({ method: 'POST', target: '/', body: 'body' })
    expect(response).toMatchObject({ body: Buffer.from('response'), broken: false })
    expect(received).toMatch(/^\d+:CONTENT_LENGTH\0[4]\0SCGI\0[1]\0/)
    expect(received.split('CONTENT_LENGTH')).toHaveLength(2)
  })

  it('rejects an application that sends nothing or resets the connection', async () => {
    const silent = await serving((socket) => socket.resume())
    await expect(
      scgiClient(silent, { timeout: 300 }).request({ target: '/' }),
    ).rejects.toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    const rude = await serving((socket) => socket.resetAndDestroy())
    await expect(scgiClient(rude).request({ target: '/' })).rejects.toThrow(PeerError)
  })
})

describe('httpClient', () => {
  it('returns what arrived of an aborted response', async () => {
    const at = await serving((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'))
    })
    expect(await httpClient(at).request({ target: '/' })).toMatchObject({
      status: '200 OK',
      body: Buffer.from('half'),
      broken: true,
    })
  })

  it('sends the target below the mount point', async () => {
    let line = ''
    const at = await serving((socket) => {
      socket.once('data', (bytes) => {
        ;[line = ''] = bytes.toString().split('\r\n')
        socket.end('HTTP/1.1 204 No Content\r\n\r\n')
      })
    })
    await httpClient(at, { mount: '/mnt' }).request({ method: 'PUT', target: '?a' })
    expect(line).toBe('PUT /mnt?a HTTP/1.1')
  })
})
