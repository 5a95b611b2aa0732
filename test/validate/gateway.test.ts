/**
 * The validator as the author of a gateway meets it: bodies that are closed, and bodies that nobody
 * closes. Gateways that call wrongly are in validate-rows/gateway.ts.
 */
import { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { CLOSE_GRACE_MS } from '../../src/validate/open.ts'
import { validator } from '../../src/validate/validator.ts'
import {
  app,
  hello,
  helloLater,
  makeEnviron,
  OK,
  open,
  PLAIN,
  startResponse,
  type Stepper,
} from './harness.ts'

/** Opens an application that returns `source`. */
const closing = (source: unknown) => open(app((_environ, start) => (start(OK, PLAIN), source)))

/** Runs a request to the end of its body, and leaves it open. */
const ended = async (warn: (message: string) => void, environ = makeEnviron()) => {
  const body: Stepper = await open(validator(hello, { warn }), environ)
  for (;;) if ((await body.next()).done) return body
}

test('an iteration that was tried twice at a time goes on', async () => {
  const body = await open(helloLater)
  const [first, second] = await Promise.allSettled([body.next(), body.next()])
  expect(first).toEqual({ status: 'fulfilled', value: { done: false, value: 'a' } })
  expect(second.status).toBe('rejected')
  expect(await body.next()).toEqual({ done: false, value: 'b' })
})

test('what can be iterated both ways is iterated asynchronously, as by handlers', async () => {
  const both = { [Symbol.iterator]: () => ['x'].values(), [Symbol.asyncIterator]: yields }
  expect(await (await closing(both)).next()).toEqual({ done: false, value: 'y' })
  const one = { [Symbol.iterator]: () => ['x'].values(), [Symbol.asyncIterator]: undefined }
  expect((await closing(one)).next()).toEqual({ done: false, value: 'x' })
})

async function* yields() {
  yield 'y'
}

describe('close() reaches what the application returned, once', () => {
  test('by its close(), whose result comes back', async () => {
    const close = vi.fn(() => Promise.resolve('closed'))
    const body = await closing(Object.assign(['x'], { close }))
    await body.next()
    expect(await body.close()).toBe('closed')
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('else by return() of the iterator it gave', async () => {
    const over = vi.fn()
    const generator = (function* () {
      try {
        yield 'x'
        yield 'y'
      } finally {
        over()
      }
    })()
    const body = await closing(generator)
    await body.next()
    body.close()
    expect(over).toHaveBeenCalledTimes(1)
    expect(generator.next().done).toBe(true)
  })

  test.each([0, 1])('a Readable is destroyed, after %i steps', async (steps) => {
    const stream = Readable.from([Buffer.from('x'), Buffer.from('y')])
    const body = await closing(stream)
    for (let step = 0; step < steps; step++) await body.next()
    await body.close()
    expect(stream.destroyed).toBe(true)
  })
})

describe('a body that is not closed is told of', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  test('at the next request, when it ended a while ago, and once', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const warnings: string[] = []
    const warn = (message: string) => warnings.push(message)
    const body = await ended(warn, makeEnviron({ PATH_INFO: '/a\nb' }))
    vi.advanceTimersByTime(CLOSE_GRACE_MS - 1)
    ;(await ended(warn)).close()
    expect(warnings).toEqual([])
    vi.advanceTimersByTime(1)
    ;(await ended(warn)).close()
    ;(await ended(warn)).close()
    expect(warnings).toEqual([
      String.raw`gateway: the body of GET "/a\u000ab" ended, but was not closed; it must be, once`,
    ])
    body.close()
  })

  test('when it is garbage', async () => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const warnings: string[] = []
    const warn = (message: string) => warnings.push(message)
    const environ = makeEnviron({ SCRIPT_NAME: '/lost' })
    const lose = async () => {
      await validator(hello, { warn })(environ, startResponse)
    }
    await lose()
    await vi.waitFor(() => {
      collect()
      expect(warnings).toEqual([
        'gateway: the body of GET "/lost" became garbage; it must be closed before',
      ])
    })
  })

  test('when the process ends before', async () => {
    const warnings: string[] = []
    const before = new Set(process.listeners('exit'))
    vi.resetModules()
    const fresh = await import('../../src/validate/validator.ts')
    const waiting = fresh.validator(hello, { warn: (message) => warnings.push(message) })
    const closed: unknown = await waiting(makeEnviron(), startResponse)
    const left = await waiting(makeEnviron({ PATH_INFO: '/left' }), startResponse)
    ;(closed as Stepper).close()
    const added = process.listeners('exit').filter((listener) => !before.has(listener))
    expect(added).toHaveLength(1)
    added[0]?.(0)
    expect(warnings).toEqual([
      'the process must not end before GET "/left" is answered; it just does',
    ])
    left.close?.()
    for (const listener of added) process.off('exit', listener)
  })

  test('but not if the application failed, since there is none', async () => {
    const warnings: string[] = []
    const failing = app(() => {
      throw new Error('mine')
    })
    const before = new Set(process.listeners('exit'))
    vi.resetModules()
    const fresh = await import('../../src/validate/validator.ts')
    const wrapped = fresh.validator(failing, { warn: (message) => warnings.push(message) })
    expect(() => wrapped(makeEnviron(), startResponse)).toThrow('mine')
    const added = process.listeners('exit').filter((listener) => !before.has(listener))
    added[0]?.(0)
    expect(added).toHaveLength(1)
    expect(warnings).toEqual([])
    for (const listener of added) process.off('exit', listener)
  })
})
