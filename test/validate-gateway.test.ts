/**
 * The validator as the author of a gateway meets it: one crafted call for each check, and bodies
 * that nobody closes. Numbers are those of the acceptance facts.
 */
import { Readable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ApplicationError } from '../src/errors.ts'
import type { Body } from '../src/types.ts'
import { CLOSE_GRACE_MS } from '../src/validate/open.ts'
import { validator } from '../src/validate.ts'
import {
  app,
  call,
  hello,
  helloLater,
  makeEnviron,
  OK,
  open,
  PLAIN,
  silent,
  startResponse,
  type Stepper,
} from './validate-harness.ts'

/** Opens an application that returns `source`. */
const closing = (source: unknown) => open(app((_environ, start) => (start(OK, PLAIN), source)))

/** Runs a request to the end of its body, and leaves it open. */
const ended = async (warn: (message: string) => void, environ = makeEnviron()) => {
  const body: Stepper = await open(validator(hello, { warn }), environ)
  for (;;) if ((await body.next()).done) return body
}

describe('a gateway that calls wrongly is told', () => {
  test.each<[string, unknown[], string]>([
    ['no argument', [], 'gateway: the application takes (environ, startResponse), not 0 arguments'],
    [
      'three',
      [1, 2, 3],
      'gateway: the application takes (environ, startResponse), not 3 arguments',
    ],
    ['no startResponse', [makeEnviron(), 1], 'gateway: startResponse must be a function, not 1'],
  ])('%s', (_name, args, message) => {
    expect(() => call(validator(hello, silent), ...args)).toThrow(new ApplicationError(message))
  })

  test('startResponse that returns no write', () => {
    expect(() => call(validator(hello, silent), makeEnviron(), () => {})).toThrow(
      new ApplicationError('gateway: startResponse must return write, a function, not undefined'),
    )
  })

  test('write that returns no Promise', async () => {
    const writing = app(async (_environ, start) => {
      await start(OK, PLAIN)('x')
      return []
    })
    await expect(
      call(validator(writing, silent), makeEnviron(), () => () => undefined),
    ).rejects.toThrow(new ApplicationError('gateway: write must return a Promise, not undefined'))
  })

  describe.each([
    ['synchronous', hello],
    ['asynchronous', helloLater],
  ])('a body that is %s', (_name, application) => {
    test('fact 179: cannot be read after it was closed', async () => {
      const body = await open(application)
      await body.close()
      await expect(async () => body.next()).rejects.toThrow('gateway: Iterator read after closed')
    })

    test('cannot be closed twice', async () => {
      const body = await open(application)
      await body.close()
      expect(() => body.close()).toThrow('gateway: close() was called twice')
    })

    test('cannot be iterated twice', async () => {
      const body = await open(application)
      const again = async () => {
        for await (const chunk of body as unknown as Body) expect(chunk).toBe('a')
      }
      await expect(again()).rejects.toThrow()
      await expect(again()).rejects.toThrow('gateway: the body was iterated twice')
    })
  })

  test('two next() at a time', async () => {
    const body = await open(helloLater)
    const [first, second] = await Promise.allSettled([body.next(), body.next()])
    expect(first).toEqual({ status: 'fulfilled', value: { done: false, value: 'a' } })
    expect(second).toMatchObject({
      reason: new ApplicationError('gateway: next() was called before the last one had finished'),
    })
    expect(await body.next()).toEqual({ done: false, value: 'b' })
  })

  test('an iterator whose step is no object is the application at fault', async () => {
    const body = await open(
      app((_environ, start) => {
        start(OK, PLAIN)
        return { [Symbol.iterator]: () => ({ next: () => undefined }) }
      }),
    )
    expect(() => body.next()).toThrow('body: next() must give an object { done, value }')
  })
})

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
      String.raw`gateway: the body of GET "/a\u000ab" ended, but was not closed`,
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
        'gateway: the body of GET "/lost" became garbage without being closed',
      ])
    })
  })

  test('when the process ends before', async () => {
    const warnings: string[] = []
    const before = new Set(process.listeners('exit'))
    vi.resetModules()
    const fresh = await import('../src/validate.ts')
    const waiting = fresh.validator(hello, { warn: (message) => warnings.push(message) })
    const closed: unknown = await waiting(makeEnviron(), startResponse)
    const left = await waiting(makeEnviron({ PATH_INFO: '/left' }), startResponse)
    ;(closed as Stepper).close()
    const added = process.listeners('exit').filter((listener) => !before.has(listener))
    expect(added).toHaveLength(1)
    added[0]?.(0)
    expect(warnings).toEqual(['the process ended before GET "/left" was answered'])
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
    const fresh = await import('../src/validate.ts')
    const wrapped = fresh.validator(failing, { warn: (message) => warnings.push(message) })
    expect(() => wrapped(makeEnviron(), startResponse)).toThrow('mine')
    const added = process.listeners('exit').filter((listener) => !before.has(listener))
    added[0]?.(0)
    expect(added).toHaveLength(1)
    expect(warnings).toEqual([])
    for (const listener of added) process.off('exit', listener)
  })
})
