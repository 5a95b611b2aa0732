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
})
