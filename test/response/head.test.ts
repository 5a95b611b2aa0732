import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  frame,
  httpDate,
  isHopByHop,
  isStatus,
  isTrailer,
  lengthToAdd,
} from '../../src/response/head.ts'

afterEach(() => {
  vi.useRealTimers()
})

describe('frame()', () => {
  const body = { sendsBody: true, declared: Infinity, dropsLength: false }
  const none = { ...body, sendsBody: false }

  test.each([
    // status, method, Content-Length headers, expected
    ['200 OK', 'GET', [], body],
    ['200 OK', 'GET', ['0'], { ...body, declared: 0 }],
    ['200 OK', 'GET', ['5'], { ...body, declared: 5 }],
    ['200 OK', 'GET', ['00005'], { ...body, declared: 5 }],
    ['200 OK', 'GET', ['999999999999999'], { ...body, declared: 999_999_999_999_999 }],
    ['200 OK', 'HEAD', [], none],
    ['200 OK', 'HEAD', ['5'], { ...none, declared: 5 }],
    ['200 OK', 'head', [], body], // Methods are case-sensitive (RFC 9110, section 9.1).
    ['404 Not Found', 'POST', ['5'], { ...body, declared: 5 }],
    ['205 Reset Content', 'GET', [], body],
    ['100 Continue', 'GET', [], { ...none, dropsLength: true }],
    ['199 Odd', 'GET', ['5'], { ...none, dropsLength: true }],
    ['204 No Content', 'GET', ['5'], { ...none, dropsLength: true }],
    ['204 No Content', 'HEAD', [], { ...none, dropsLength: true }],
    ['204 No Content', 'GET', ['x', 'y'], { ...none, dropsLength: true }],
    ['304 Not Modified', 'GET', ['5'], none],
    ['304 Not Modified', 'HEAD', [], none],
  ])('frames %s of %s with Content-Length %j', (status, method, lengths, expected) => {
    expect(frame(status, method, lengths)).toEqual(expected)
  })

  test.each([
    [['']],
    [[' 5']],
    [['5 ']],
    [['-1']],
    [['+5']],
    [['0x5']],
    [['1e3']],
    [['5, 5']],
    [['1234567890123456']],
    [['٥']],
    [['5', '5']],
    [['5', '6']],
  ])('refuses Content-Length %j', (lengths) => {
    for (const method of ['GET', 'HEAD']) {
      expect(() => frame('200 OK', method, lengths)).toThrow(
        expect.objectContaining({ code: 'PORTICO_INVALID_CONTENT_LENGTH' }),
      )
    }
  })
})

test.each([
  ['GET', undefined, undefined],
  ['GET', 0, '0'],
  ['GET', 5, '5'],
  ['HEAD', undefined, undefined],
  ['HEAD', 0, undefined],
  ['HEAD', 5, '5'],
])('A response to %s with %s bytes gets Content-Length %s', (method, length, expected) => {
  expect(lengthToAdd(method, length)).toBe(expected)
})

test.each([
  ['Connection', true],
  ['keep-alive', true],
  ['Proxy-Authenticate', true],
  ['Proxy-Authorization', true],
  ['TE', true],
  ['trailers', true],
  ['TRANSFER-ENCODING', true],
  ['Upgrade', true],
  ['Trailer', false],
  ['Content-Length', false],
  ['Date', false],
  ['', false],
])('isHopByHop(%j) is %s', (name, expected) => {
  expect(isHopByHop(name)).toBe(expected)
})

test.each([
  ['Status', true, false],
  ['STATUS', true, false],
  ['Trailer', false, true],
  ['trailer', false, true],
  ['Static', false, false],
  ['Trailers', false, false],
])('isStatus(%j) is %s, and isTrailer() is %s', (name, status, trailer) => {
  expect([isStatus(name), isTrailer(name)]).toEqual([status, trailer])
})

test('httpDate() is the date of RFC 9110, and changes each second', () => {
  vi.useFakeTimers({ now: Date.UTC(1994, 10, 6, 8, 49, 37) })
  expect(httpDate()).toBe('Sun, 06 Nov 1994 08:49:37 GMT')
  vi.advanceTimersByTime(999)
  expect(httpDate()).toBe('Sun, 06 Nov 1994 08:49:37 GMT')
  vi.advanceTimersByTime(1)
  expect(httpDate()).toBe('Sun, 06 Nov 1994 08:49:38 GMT')
})
