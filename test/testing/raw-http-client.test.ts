/** The HTTP test client against servers that send canned bytes, whole and one byte at a time. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { httpRequest, type HttpRequest, openHttp } from '../../src/exports/testing.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** Listens on TCP, or on the given path, and passes on each connection. */
async function serve(onSocket: (socket: Socket) => unknown, path?: string) {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    void onSocket(socket)
  })
  if (path === undefined) server.listen(0, '127.0.0.1')
  else server.listen(path)
  await once(server, 'listening')
  closers.push(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0 }
}

/** Responds to the first bytes of each connection, then ends the connection. */
async function serveBytes(reply: string, byteByByte = false) {
  return serve(async (socket) => {
    await once(socket, 'data')
    socket.setNoDelay(true)
    const bytes = Buffer.from(reply, 'latin1')
    if (!byteByByte) socket.write(bytes)
    else {
      for (const byte of bytes) {
        socket.write(Uint8Array.of(byte))
        await turn()
      }
    }
    socket.end()
  })
}

/** What a client sends, from when it is at least `length` bytes until the client ends. */
async function sentBy(request: HttpRequest, length: number): Promise<string> {
  let received = ''
  let enough: (() => void) | undefined
  const bound = await serve((socket) => {
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString('latin1').replaceAll(`127.0.0.1:${bound.port}`, 'HOST')
      if (received.length >= length) enough?.()
    })
    socket.on('end', () => socket.end('HTTP/1.1 204 No Content\r\n\r\n'))
  })
  const connection = await openHttp(bound)
  const sent = new Promise<void>((resolve) => (enough = resolve))
  const reply = connection.stream(request)
  await sent
  connection.end()
  await reply
  connection.close()
  return received
}

function responseWith(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

async function* parts() {
  yield 'é'
  await turn()
  yield ''
  yield Uint8Array.of(0, 255)
}

function* endlessZeros() {
  for (;;) yield Buffer.alloc(65_536)
}

/** Bytes in buffers that are in use: by itself V8 waits until 32 MiB of them are garbage. */
function held(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().arrayBuffers
}

async function* slowly() {
  for (let count = 0; count < 24; count += 1) {
    yield 'a'
    await sleep(50)
  }
}

function* failing() {
  yield 'a'
  throw new RangeError('no more')
}

describe('httpRequest() sends', () => {
  const cases: [name: string, request: HttpRequest, bytes: string][] = [
    ['a GET with Host by default', {}, 'GET / HTTP/1.1\r\nHost: HOST\r\n\r\n'],
    [
      'any target, header order and bytes above 0x7f as they are',
      {
        method: 'pUt',
        target: '//a/../%2f\xff?\xe9',
        version: '1.0',
        headers: [
          ['X-B', '\xe9'],
          ['x-a', '1'],
          ['X-B', ''],
        ],
        exact: true,
      },
      'pUt //a/../%2f\xff?\xe9 HTTP/1.0\r\nX-B: \xe9\r\nx-a: 1\r\nX-B: \r\n\r\n',
    ],
    [
      'a string as UTF-8 with its length in bytes',
      { method: 'POST', headers: [['host', 'h']], body: 'é' },
      'POST / HTTP/1.1\r\nhost: h\r\nContent-Length: 2\r\n\r\n\xc3\xa9',
    ],
    [
      'an iterable in chunks, never an empty one',
      { method: 'POST', body: parts() },
      'POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n' +
        '2\r\n\xc3\xa9\r\n2\r\n\x00\xff\r\n0\r\n\r\n',
    ],
    [
      'an iterable as it is where a length is given',
      { method: 'POST', headers: [['content-length', '9']], body: ['ab', 'c'] },
      'POST / HTTP/1.1\r\nHost: HOST\r\ncontent-length: 9\r\n\r\nabc',
    ],
  ]
  it.each(cases)('%s', async (_, request, bytes) => {
    expect(await sentBy(request, bytes.length)).toBe(bytes)
  })

  it('the same bytes to a Unix socket as to a TCP port', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'portico-http-'))
    closers.push(() => rm(directory, { recursive: true }))
    const path = join(directory, 's')
    await serve(async (socket) => {
      const [bytes]: Buffer[] = await once(socket, 'data')
      const length = bytes!.length
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`)
      socket.write(bytes!)
    }, path)
    const { body } = await httpRequest({ path })
    expect(String(body)).toBe('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  })
})

describe.each([
  ['whole', false],
  ['byte by byte', true],
])('A response that arrives %s', (_, byteByByte) => {
  const cases: [name: string, method: string, reply: string, expected: object][] = [
    [
      'keeps header names, order and repetition, and trims values',
      'GET',
      'HTTP/1.0 299 Fine \xe9\r\nx-A:  1 \t\r\nX-a:\xe9\r\nX-Empty:\r\n\r\nall\r\nof it',
      {
        version: '1.0',
        status: 299,
        reason: 'Fine \xe9',
        headers: [
          ['x-A', '1'],
          ['X-a', '\xe9'],
          ['X-Empty', ''],
        ],
        body: Buffer.from('all\r\nof it'),
      },
    ],
    [
      'ends with Content-Length, however much follows',
      'GET',
      'HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabcdef',
      { status: 200, reason: '', body: Buffer.from('abc') },
    ],
    [
      'is put together from chunks, with its trailers',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n' +
        '3;a="b"\r\nabc\r\n0A \r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n',
      { body: Buffer.from('abc0123456789'), trailers: [['X-Sum', '7']] },
    ],
    [
      'has no body after HEAD, whatever its length says',
      'HEAD',
      'HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n',
      { body: Buffer.alloc(0) },
    ],
    [
      'has no body when it is a 304',
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 30\r\n\r\n',
      { status: 304, body: Buffer.alloc(0) },
    ],
  ]
  it.each(cases)('%s', async (_name, method, reply, expected) => {
    const bound = await serveBytes(reply, byteByByte)
    expect(await httpRequest(bound, { method })).toMatchObject(expected)
  })

  it('has the 1xx responses before it, and all its bytes as raw', async () => {
    const reply =
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' +
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n'
    const response = await httpRequest(await serveBytes(reply, byteByByte))
    expect(response.informational.map(({ status, headers }) => [status, headers])).toEqual([
      [100, []],
      [103, [['Link', '</a>']]],
    ])
    expect(response.raw.toString('latin1')).toBe(reply)
    expect(response.header('TRANSFER-encoding')).toBe('chunked')
    expect(response.header('link')).toBeUndefined()
  })

  const ok = 'HTTP/1.1 200 OK\r\n'
  const faults: [name: string, reply: string, code: string, message: RegExp][] = [
    ['an empty response', '', 'PORTICO_DISCONNECTED', /^The response is empty$/],
    ['half a head', `${ok}A: b\r\n`, 'PORTICO_DISCONNECTED', /inside the head/],
    ['another protocol', 'Status: 200 OK\r\n\r\n', 'PORTICO_PROTOCOL', /status line/],
    ['a bare LF', 'HTTP/1.1 200 OK\nA: b\r\n\r\n', 'PORTICO_PROTOCOL', /line end/],
    ['a CR within a line', `${ok}A: b\rc\r\n\r\n`, 'PORTICO_PROTOCOL', /header line/],
    ['a header without a name', `${ok}: b\r\n\r\n`, 'PORTICO_PROTOCOL', /header line/],
    ['a space before the colon', `${ok}A : b\r\n\r\n`, 'PORTICO_PROTOCOL', /header line/],
    ['a folded header', `${ok}A: b\r\n c\r\n\r\n`, 'PORTICO_PROTOCOL', /header line/],
    [
      'two kinds of framing',
      `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
      'PORTICO_PROTOCOL',
      /framing/,
    ],
    [
      'two lengths',
      `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx`,
      'PORTICO_PROTOCOL',
      /Content-Length/,
    ],
    ['a signed length', `${ok}Content-Length: +1\r\n\r\nx`, 'PORTICO_PROTOCOL', /Content-Length/],
    ['another coding', `${ok}Transfer-Encoding: gzip\r\n\r\n`, 'PORTICO_PROTOCOL', /Transfer/],
    [
      'an invalid chunk size',
      `${ok}Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n`,
      'PORTICO_PROTOCOL',
      /chunk size/,
    ],
    [
      'a chunk that is too long',
      `${ok}Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n`,
      'PORTICO_PROTOCOL',
      /end of a chunk/,
    ],
    ['a short body', `${ok}Content-Length: 5\r\n\r\nabc`, 'PORTICO_BODY_CUT_SHORT', /2 bytes/],
    [
      'a short chunk',
      `${ok}Transfer-Encoding: chunked\r\n\r\n5\r\nabc`,
      'PORTICO_BODY_CUT_SHORT',
      /2 bytes/,
    ],
    ['a head without an end', ok + 'A: b\r\n'.repeat(200), 'PORTICO_TOO_LARGE', /head/],
    ['1xx without an end', 'HTTP/1.1 100 C\r\n\r\n'.repeat(80), 'PORTICO_TOO_LARGE', /head/],
    ['a body over the limit', `${ok}\r\n${'x'.repeat(2000)}`, 'PORTICO_TOO_LARGE', /1999 bytes/],
  ]
  it.each(faults)('is an error if it is %s', async (_name, reply, code, message) => {
    const bound = await serveBytes(reply, byteByByte)
    const response = httpRequest(bound, {}, { maxHead: 1000, maxBody: 1999 })
    await expect(response).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })
})

describe('A connection of openHttp()', () => {
  it('serves one request after the other', async () => {
    let count = 0
    const bound = await serve((socket) => {
      socket.on('data', () => {
        count += 1
        socket.write(responseWith(String(count)))
      })
    })
    const connection = await openHttp(bound)
    closers.push(() => connection.close())
    const bodies = [await connection.request(), await connection.request({ target: '/2' })]
    expect(bodies.map(({ body }) => String(body))).toEqual(['1', '2'])
  })

  it('sends pipelined bytes and reads the responses in order', async () => {
    const bound = await serveBytes(responseWith('a') + responseWith('b'))
    const connection = await openHttp(bound)
    closers.push(() => connection.close())
    await connection.send('GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n')
    const bodies: string[] = []
    for (let index = 0; index < 2; index += 1) {
      const { chunks } = await connection.receive()
      for await (const chunk of chunks()) bodies.push(String(chunk))
    }
    expect(bodies).toEqual(['a', 'b'])
  })

  it('refuses a second request while the first response is unread', async () => {
    const bound = await serveBytes(responseWith('x'))
    const connection = await openHttp(bound)
    closers.push(() => connection.close())
    await connection.stream()
    const code = 'PORTICO_CONFIGURATION'
    await expect(connection.request()).rejects.toMatchObject({ code })
    await expect(connection.receive()).rejects.toMatchObject({ code })
  })

  it('lets a body wait for 100 (Continue)', async () => {
    const bound = await serve(async (socket) => {
      await once(socket, 'data')
      socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      const [bytes]: Buffer[] = await once(socket, 'data')
      socket.end(responseWith(String(bytes)))
    })
    let go: (() => void) | undefined
    const continued = new Promise<void>((resolve) => (go = resolve))
    async function* body() {
      await continued
      yield 'late'
    }
    const response = await httpRequest(bound, {
      method: 'POST',
      headers: [['Content-Length', '4']],
      body: body(),
      onInformational: ({ status }) => status === 100 && go?.(),
    })
    expect(String(response.body)).toBe('late')
  })

  it('returns the response of a server that refuses the upload and closes', async () => {
    const bound = await serve(async (socket) => {
      await once(socket, 'data')
      socket.end('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno')
      socket.destroySoon()
    })
    const response = await httpRequest(bound, { method: 'POST', body: endlessZeros() })
    expect([response.status, String(response.body)]).toEqual([413, 'no'])
  })

  it('rejects with the error that the iterable of a body throws', async () => {
    const bound = await serve((socket) => socket.resume())
    await expect(httpRequest(bound, { body: failing() })).rejects.toThrow(new RangeError('no more'))
  })

  it.each([
    ['before the head', ''],
    ['within the head', 'HTTP/1.1 200'],
    ['within the body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'],
  ])('rejects if the server stops sending %s', async (_, reply) => {
    const bound = await serve((socket) => socket.write(reply))
    await expect(httpRequest(bound, {}, { timeout: 50 })).rejects.toMatchObject({
      code: 'PORTICO_DISCONNECTED',
      message: 'Nothing was received within 50 ms',
    })
  })

  it('does not time out while the test itself reads slowly', async () => {
    const bound = await serveBytes(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(4_000_000)}`)
    const connection = await openHttp(bound, { timeout: 1_000 })
    closers.push(() => connection.close())
    let size = 0
    for await (const chunk of (await connection.stream()).chunks()) {
      if (size === 0) await sleep(1_500)
      size += chunk.length
    }
    expect(size).toBe(4_000_000)
  })

  it('does not time out while a long upload makes progress', async () => {
    const bound = await serve((socket) => {
      socket.on('data', (bytes: Buffer) => {
        if (bytes.toString().endsWith('0\r\n\r\n')) socket.write(responseWith('thanks'))
      })
    })
    const response = await httpRequest(bound, { body: slowly() }, { timeout: 1_000 })
    expect(String(response.body)).toBe('thanks')
  })

  it('rejects with the error if no server listens', async () => {
    await expect(httpRequest({ path: '/nowhere/socket' })).rejects.toMatchObject({
      code: 'PORTICO_DISCONNECTED',
      message: expect.stringContaining('ENOENT'),
    })
  })

  it('streams 64 MiB in both directions without keeping them in memory', async () => {
    const block = Buffer.alloc(65_536, 'x')
    const count = 1024
    let received = 0
    const bound = await serve(async (socket) => {
      socket.on('data', (bytes: Buffer) => (received += bytes.length))
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${count * block.length}\r\n\r\n`)
      for (let index = 0; index < count; index += 1) {
        if (!socket.write(block)) await once(socket, 'drain')
      }
    })
    const connection = await openHttp(bound)
    closers.push(() => connection.close())
    function* body() {
      for (let index = 0; index < count; index += 1) yield block
    }
    const before = held()
    let size = 0
    let pulls = 0
    let highest = 0
    const reply = await connection.stream({
      method: 'POST',
      headers: [['Content-Length', String(count * block.length)]],
      body: body(),
    })
    for await (const chunk of reply.chunks()) {
      size += chunk.length
      pulls += 1
      if (pulls % 50 === 0) highest = Math.max(highest, held())
    }
    expect(size).toBe(count * block.length)
    expect(highest).toBeGreaterThan(0)
    expect(highest - before).toBeLessThan(8 * 1024 * 1024)
    while (received < count * block.length) await sleep(10)
  })
})

it('httpRequest() returns any headers and body that a server can send', async () => {
  const name = fc.stringMatching(/^X-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/)
  const value = fc.stringMatching(/^[!-~\x80-\xff]([\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?$/)
  const headers = fc.array(fc.tuple(name, value), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(headers, fc.array(fc.uint8Array({ minLength: 1 })), async (list, chunks) => {
      const head = list.map(([key, text]) => `${key}: ${text}\r\n`).join('')
      const body = chunks
        .map(
          (chunk) => `${chunk.length.toString(16)}\r\n${Buffer.from(chunk).toString('latin1')}\r\n`,
        )
        .join('')
      const address = await serveBytes(
        `HTTP/1.1 200 OK\r\n${head}Transfer-Encoding: chunked\r\n\r\n${body}0\r\n\r\n`,
      )
      const response = await httpRequest(address)
      expect(response.headers.slice(0, -1)).toEqual(list)
      expect(response.body).toEqual(Buffer.concat(chunks))
    }),
    { numRuns: 50 },
  )
})
