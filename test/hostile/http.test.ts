/** HTTPHandler refuses ambiguous and invalid requests, and drops ambiguous headers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ask, counts, Peer } from './peer.ts'
import { startTarget, type Target } from './server.ts'

let target: Target
beforeAll(async () => {
  target = await startTarget({ headersTimeout: 2000 })
})
afterAll(() => target.stop())

/** Sends bytes, closes its half, and resolves to everything received. */
async function exchange(bytes: string): Promise<string> {
  const peer = new Peer(target.path('http'))
  peer.socket.end(Buffer.from(bytes, 'latin1'))
  await peer.closed
  return peer.text
}

function post(headers: string, body: string, path = '/echo'): string {
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}`
}

/** The CGI variables of a request with these headers. */
async function environ(headers: string, more = ''): Promise<Record<string, string>> {
  const response = await exchange(`GET /environ HTTP/1.1\r\nHost: a\r\n${headers}\r\n${more}`)
  expect(response).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  const json = response.slice(response.indexOf('{'), response.lastIndexOf('}') + 1)
  return JSON.parse(json) as Record<string, string>
}

describe('HTTPHandler refuses a request with', () => {
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'

  it.each([
    ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['two Host headers', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    [
      'two Content-Type headers',
      post('Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n', 'a'),
    ],
    ['two lengths', post('Content-Length: 1\r\nContent-Length: 2\r\n', 'ab')],
    ['the same length twice', post('Content-Length: 1\r\nContent-Length: 1\r\n', 'a')],
    ['a list of lengths', post('Content-Length: 1, 1\r\n', 'a')],
    [
      'Content-Length and Transfer-Encoding',
      post(`Content-Length: 5\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${smuggled}`),
    ],
    [
      'Transfer-Encoding and Content-Length',
      post(`Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`, `0\r\n\r\n${smuggled}`),
    ],
    ['an unknown coding', post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${smuggled}`)],
    [
      'chunked that is not the last',
      post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${smuggled}`),
    ],
    ['a space before the colon', post('Content-Length : 5\r\n', smuggled)],
    ['NUL in a name', 'GET / HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n'],
    ['NUL in a value', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n'],
    ['a bare CR in a value', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n'],
    [
      'a chunk size with a sign',
      post('Transfer-Encoding: chunked\r\n', `+5\r\nabcde\r\n0\r\n\r\n${smuggled}`),
    ],
    [
      'a chunk size of 20 digits',
      post('Transfer-Encoding: chunked\r\n', `${'f'.repeat(20)}\r\nab\r\n`),
    ],
    [
      'a chunk that is longer than its size',
      post('Transfer-Encoding: chunked\r\n', `1\r\nabc\r\n0\r\n\r\n${smuggled}`),
    ],
    ...['-1', '+5', '1_000', '0x5', '5 5', '5e1', '1'.repeat(30)].map((length) => [
      `Content-Length: ${length}`,
      post(`Content-Length: ${length}\r\n`, smuggled),
    ]),
    ...[
      'a b',
      'a/b',
      'u@a',
      'a?b',
      'a#b',
      'a:b',
      '[::1',
      '::1',
      '\xc3\xa9',
      'a, b',
      'a%zz',
      '"a"',
    ].map((host) => [
      `Host: ${host}`,
      `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    ]),
    ...[
      'ftp://a/',
      'ws://a/',
      'http://a b/',
      'http://a:b/',
      'http://u@a/',
      'http://[/',
      'http://?x',
    ].map((uri) => [
      `the target ${uri}`,
      `GET ${uri} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    ]),
    ['no target', 'GET HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['another version', 'GET / HTTP/111\r\nHost: a\r\n\r\n'],
    ['another protocol', 'GET / FTP/1.1\r\nHost: a\r\n\r\n'],
    ['a NUL in the path', 'GET /a%00b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'],
    ['a target of 100,000 bytes', `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: a\r\n\r\n`],
    [
      '1,001 headers',
      `GET / HTTP/1.1\r\nHost: a\r\n${'X-A: b\r\n'.repeat(1000)}Connection: close\r\n\r\n`,
    ],
  ])('%s', async (_, bytes) => {
    const before = await counts(target)
    const response = await exchange(bytes)
    // A fault in the body may appear after the application has started: the response is then truncated.
    const whole = response.startsWith('HTTP/1.1 2') && /(?:^|\r\n)0\r\n\r\n$/.test(response)
    expect(whole, response).toBe(false)
    expect(response.match(/HTTP\/1\.1 /g)?.length ?? 0).toBeLessThanOrEqual(1)
    expect(response).not.toContain('Hello')
    const after = await counts(target)
    expect(after.begun - before.begun, 'runs').toBeLessThanOrEqual(2)
    expect(await ask(target, 'http')).toContain('Hello')
  })

  it('an endless chunk extension', async () => {
    const peer = new Peer(target.path('http'))
    peer.send(post('Transfer-Encoding: chunked\r\n', '1;'))
    for (let i = 0; i < 64 && !peer.socket.destroyed; i += 1) {
      peer.socket.write(Buffer.alloc(16_384, 'e'))
      await new Promise(setImmediate)
    }
    await peer.closed
    expect(peer.text).not.toMatch(/\r\n0\r\n\r\n$/)
  })
})

describe('A request body over HTTP', () => {
  const second = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

  it('that the application does not read never becomes a request', async () => {
    const inner = 'GET /environ HTTP/1.1\r\nHost: a\r\n\r\n'
    const response = await exchange(
      post(`Content-Length: ${inner.length}\r\n`, inner, '/') + second,
    )
    expect(response.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2)
    expect(response).not.toContain('REQUEST_METHOD')
  })

  it.each([
    ['a line break', '\r\n'],
    ['a second request', second],
    ['bytes that are not a request', '\0\xff'],
  ])('that is followed by %s after Connection: close gets its response', async (_, more) => {
    const request = post('Content-Length: 3\r\nConnection: close\r\n', `abc${more}`)
    const response = await exchange(request)
    expect(response).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*abc/)
    expect(response.match(/HTTP\/1\.1 /g)).toHaveLength(1)
  })

  it('that ends early gets no complete response', async () => {
    const response = await exchange(post('Content-Length: 10\r\n', 'abc'))
    expect(response).not.toMatch(/\r\n0\r\n\r\n$/)
  })

  it('of 8 MiB that the application does not read does not damage the response', async () => {
    const size = 8 * 1024 * 1024
    const response = await exchange(
      post(`Content-Length: ${size}\r\nConnection: close\r\n`, 'x'.repeat(size), '/'),
    )
    expect(response).toContain('Hello\n')
  })
})

describe('The environ over HTTP', () => {
  it.each(['', 'a', 'a.b:80', 'a:', '[::1]:80', 'a_b', 'a%2Fb', '1.2.3.4', 'x-1.example'])(
    'has the host %j as it was sent',
    async (host) => {
      const response = await exchange(
        `GET /environ HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      )
      expect(response).toContain(`"HTTP_HOST":${JSON.stringify(host)}`)
    },
  )

  it.each([
    ['X_User: evil\r\nX-User: good\r\n', { HTTP_X_USER: 'good' }],
    ['X-User: good\r\nX.User: evil\r\nX+User: evil\r\n', { HTTP_X_USER: 'good' }],
    ['Cookie: a=1\r\nCookie: b=2\r\n', { HTTP_COOKIE: 'a=1; b=2' }],
    ['X-A: 1\r\nX-A: 2\r\n', { HTTP_X_A: '1, 2' }],
    ['Remote-User: ann\r\n', { HTTP_REMOTE_USER: 'ann' }],
    ['X-Forwarded-For: 1.2.3.4\r\n', { HTTP_X_FORWARDED_FOR: '1.2.3.4' }],
  ])('has for the headers %j only %j', async (headers, expected) => {
    const variables = await environ(headers)
    const names = Object.keys(variables).filter((name) =>
      /^HTTP_(?!HOST)|^REMOTE_USER|^AUTH/.test(name),
    )
    expect(Object.fromEntries(names.map((name) => [name, variables[name]]))).toEqual(expected)
  })

  it.each([
    'Proxy: http://evil/',
    '__proto__: x',
    'Content_Length: 5',
    'Transfer_Encoding: chunked',
  ])('has no variable for %s', async (header) => {
    const variables = await environ(`${header}\r\n`)
    expect(Object.keys(variables).filter((name) => name.startsWith('HTTP_'))).toEqual(['HTTP_HOST'])
    expect(variables).not.toHaveProperty('CONTENT_LENGTH')
  })

  it('has no variable for a trailer', async () => {
    const variables = await environ(
      'Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n',
      '0\r\nAuthorization: Basic YTpi\r\nX-User: evil\r\n\r\n',
    )
    expect(variables).not.toHaveProperty('HTTP_AUTHORIZATION')
    expect(variables).not.toHaveProperty('HTTP_X_USER')
  })
})
