import { afterEach, describe, expect, test, vi } from 'vitest'
import { requestLimit } from '../../src/master/request-limit.ts'

afterEach(() => vi.restoreAllMocks())

/** The largest number that Math.random() returns. */
const ALMOST_ONE = 1 - 2 ** -53

describe('The limit of requests of a worker', () => {
  test.each([
    ['--max-requests 2000', [2000], 2000, 2200],
    ['--max-requests 2000 --max-requests-jitter 50', [2000, 50], 2000, 2050],
    ['--max-requests 2000 --max-requests-jitter 0', [2000, 0], 2000, 2000],
    ['--max-requests 9, whose tenth is less than one request', [9], 9, 9],
    ['no --max-requests', [0, 50], 0, 0],
  ] as const)('%s: %j is at least %i and at most %i', (_, [most, jitter], least, greatest) => {
    const random = vi.spyOn(Math, 'random')
    random.mockReturnValue(0)
    expect(requestLimit(most, jitter)).toBe(least)
    random.mockReturnValue(ALMOST_ONE)
    expect(requestLimit(most, jitter)).toBe(greatest)
  })

  test('Workers that start together have different limits', () => {
    const limits = Array.from({ length: 400 }, () => requestLimit(2000, 9))
    // The probability that one of the ten is missing is 10 × 0.9^400.
    expect(new Set(limits)).toEqual(new Set(Array.from({ length: 10 }, (_, i) => 2000 + i)))
  })
})
