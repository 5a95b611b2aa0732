/** A TestApp follows redirects and keeps cookies as browsers do. */
import { describe, expect, it } from 'vitest'
import { Cookies } from '../../src/testing/cookies.ts'
import { TestSession } from '../../src/testing/test-session.ts'
import type { Client } from '../../src/testing/client.ts'

describe('TestSession follows a redirect', () => {
  it.each([
    ['POST', '301 Moved Permanently', 'GET'],
    ['POST', '302 Found', 'GET'],
    ['PUT', '301 Moved Permanently', 'PUT'],
    ['PUT', '302 Found', 'PUT'],
    ['DELETE', '302 Found', 'DELETE'],
    ['PATCH', '302 Found', 'PATCH'],
    ['HEAD', '303 See Other', 'HEAD'],
    ['PUT', '303 See Other', 'GET'],
    ['POST', '307 Temporary Redirect', 'POST'],
    ['PUT', '308 Permanent Redirect', 'PUT'],
  ])('to %s with %s by sending %s', async (method, status, then) => {
    const methods: unknown[] = []
    const client: Client = {
      request({ method: asked, target }) {
        methods.push(asked)
        const headers: [string, string][] = target === '/' ? [['Location', '/next']] : []
        return Promise.resolve({
          status: target === '/' ? status : '200 OK',
          headers,
          body: Buffer.alloc(0),
          broken: false,
        })
      },
      close: () => Promise.resolve(),
    }
    await new TestSession(client).request(method, '/').redirects(1)
    expect(methods).toEqual([method, then])
  })
})

// Chromium does not decode the bytes of Location, whatever their charset.
it.each([
  ['/caf\u00c3\u00a9', '/caf%C3%A9'],
  ['/caf\u00e9?\u00e9', '/caf%E9?%E9'],
  ['b c', '/b%20c'],
  ['?a=1', '/?a=1'],
  ['http://127.0.0.1:80/b#c', '/b'],
])('TestSession follows the Location %j to %s', async (location, target) => {
  const targets: string[] = []
  const client: Client = {
    request(request) {
      targets.push(request.target)
      const redirects = targets.length === 1
      return Promise.resolve({
        status: redirects ? '302 Found' : '200 OK',
        headers: redirects ? [['Location', location]] : [],
        body: Buffer.alloc(0),
        broken: false,
      })
    },
    close: () => Promise.resolve(),
  }
  await new TestSession(client).get('/').redirects(1)
  expect(targets).toEqual(['/', target])
})

describe('Whether a TestApp', () => {
  it.each([
    ['a.example', '', true],
    ['a.example', '; Domain=a.example', true],
    ['a.example', '; Domain=.A.example', true],
    ['b.a.example', '; Domain=a.example', true],
    ['a.example', '; Domain=b.a.example', false],
    ['a.example', '; Domain=other.example', false],
    ['xa.example', '; Domain=a.example', false],
    ['127.0.0.1', '; Domain=other.example', false],
    ['127.0.0.1', '; Domain=0.0.1', false],
    ['127.0.0.1', '; Domain=127.0.0.1', true],
  ])('for %s keeps a cookie with "%s": %s', (host, attribute, kept) => {
    const cookies = new Cookies(new URL(`http://${host}`))
    cookies.store(`a=1${attribute}`, '/')
    expect(cookies.header('/')).toBe(kept ? 'a=1' : '')
  })

  it.each([
    ['http://a.example', 'a=1; Secure', false],
    ['http://a.example', 'a=1; SameSite=None', false],
    ['http://a.example', 'a=1; SameSite=None; Secure', false],
    ['http://a.example', 'a=1; SameSite=Lax', true],
    ['http://a.example', '__Host-a=1; Path=/', false],
    ['http://a.example', '__Host-a=1; Path=/; Secure', false],
    ['http://a.example', '__Secure-a=1', false],
    ['https://a.example', 'a=1; Secure', true],
    ['https://a.example', 'a=1; samesite=NONE', false],
    ['https://a.example', 'a=1; SameSite=None; Secure', true],
    ['https://a.example', '__Host-a=1; Path=/; Secure', true],
    ['https://a.example', '__Host-a=1; Path=/; Secure; Domain=a.example', false],
    ['https://a.example', '__host-a=1; Secure', false],
    ['https://a.example', '__Secure-a=1; Secure', true],
    ['https://a.example', '__Secure-a=1', false],
    ['http://localhost', 'a=1; Secure', true],
    ['http://shop.localhost:8080', 'a=1; Secure', true],
    ['http://127.0.0.1', '__Host-a=1; Path=/; Secure', true],
    ['http://[::1]:8080', 'a=1; Secure', true],
    ['http://127.0.0.1.example', 'a=1; Secure', false],
    ['http://notlocalhost', 'a=1; Secure', false],
  ])('for %s keeps the cookie "%s": %s', (origin, line, kept) => {
    const cookies = new Cookies(new URL(origin))
    cookies.store(line, '/')
    expect(cookies.header('/')).toBe(kept ? line.split(';')[0] : '')
  })

  it('keeps an equals sign in the path of a cookie', () => {
    const cookies = new Cookies(new URL('http://a.example'))
    cookies.store('a=1; Path=/v=2', '/')
    expect(cookies.header('/v=2/x')).toBe('a=1')
    expect(cookies.header('/v')).toBe('')
  })

  // RFC 6265, section 5.1.1: Date.parse() reads more, and 69 as 1969.
  it.each([
    ['Thu, 01 Jan 1970 00:00:00 GMT', false],
    ['Thu, 01-Jan-1970 00:00:01 GMT', false],
    ['Thu Jan  1 0:0:1 1970', false],
    ['thursday, 1 JANUARY 70 00:00:00', false],
    ['Thu, 01 Jan 1970 00:00:00 +0100', false],
    ['Wed, 01 Jan 2099 00:00:00 GMT', true],
    ['Wed, 01 Jan 69 00:00:00 GMT', true],
    ['0', true],
    ['-1', true],
    ['', true],
    ['1970-01-01T00:00:00Z', true],
    ['Thu, 01 Jan 1970', true],
    ['Thu, 30 Feb 1970 00:00:00 GMT', true],
    ['Thu, 01 Jan 1600 00:00:00 GMT', true],
    ['Thu, 01 Jan 1970 24:00:00 GMT', true],
    ['Thu, 01 Jan 1970 00:60:00 GMT', true],
    ['Thu, 01 Jan 1970 00:00:000 GMT', true],
  ])('keeps a cookie that expires on "%s": %s', (date, kept) => {
    const cookies = new Cookies(new URL('http://a.example'))
    cookies.store(`a=1; Expires=${date}`, '/')
    expect(cookies.header('/')).toBe(kept ? 'a=1' : '')
  })

  it.each([
    ['Max-Age=0; Max-Age=soon', ''],
    ['Max-Age=0; Max-Age=5', 'a=1'],
    ['Max-Age=1.5', 'a=1'],
    ['Max-Age=0; Expires=Wed, 01 Jan 2099 00:00:00 GMT', ''],
    ['Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=0', ''],
    ['Domain=other.example; Domain=', ''],
    ['Path=/b; Path=', 'a=1'],
  ])('reads the attributes "%s" as browsers do', (attributes, header) => {
    const cookies = new Cookies(new URL('http://a.example'))
    cookies.store(`a=1; ${attributes}`, '/')
    expect(cookies.header('/')).toBe(header)
  })

  it('keeps a cookie with a Domain beside one of that name without', () => {
    const cookies = new Cookies(new URL('http://a.example'))
    cookies.store('a=1; Domain=a.example', '/')
    cookies.store('a=2', '/')
    expect(cookies.header('/')).toBe('a=1; a=2')
    cookies.store('a=; Max-Age=0', '/')
    expect(cookies.header('/')).toBe('a=1')
    cookies.store('a=; Max-Age=0; domain=.A.example', '/')
    expect(cookies.header('/')).toBe('')
  })

  it.each([
    [4096, true],
    [4097, false],
  ])('keeps a cookie of %i bytes: %s', (size, kept) => {
    const cookies = new Cookies(new URL('http://a.example'))
    const pair = `a=${'x'.repeat(size - 1)}`
    cookies.store(`${pair}; Path=/`, '/')
    expect(cookies.header('/')).toBe(kept ? pair : '')
  })
})
