/** How the validator checks a gateway: bodies that it closes, and bodies that it forgets. */
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

test('A body can still be iterated after two concurrent calls of next()', async () => {
  const body = await open(helloLater)
  const [first, second] = await Promise.allSettled([body.next(), body.next()])
  expect(first).toEqual({ status: 'fulfilled', value: { done: false, value: 'a' } })
  expect(second.status).toBe('rejected')
  expect(await body.next()).toEqual({ done: false, value: 'b' })
})

test('The validator uses the async iterator of a body that has both kinds, as handlers do', async () => {
  const both = { [Symbol.iterator]: () => ['x'].values(), [Symbol.asyncIterator]: yields }
  expect(await (await closing(both)).next()).toEqual({ done: false, value: 'y' })
  const one = { [Symbol.iterator]: () => ['x'].values(), [Symbol.asyncIterator]: undefined }
  expect((await closing(one)).next()).toEqual({ done: false, value: 'x' })
})

async function* yields() {
  yield 'y'
}

describe('A validated body:', () => {
  test('close() calls close() of the returned body once and returns its result', async () => {
    const close = vi.fn(() => Promise.resolve('closed'))
    const body = await closing(Object.assign(['x'], { close }))
    await body.next()
    expect(await body.close()).toBe('closed')
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('close() calls return() of the iterator if the body has no close()', async () => {
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

  test.each([0, 1])('close() destroys a Readable after %i steps', async (steps) => {
    const stream = Readable.from([Buffer.from('x'), Buffer.from('y')])
    const body = await closing(stream)
    for (let step = 0; step < steps; step++) await body.next()
    await body.close()
    expect(stream.destroyed).toBe(true)
  })
})

describe('A body that is not closed:', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  test('the validator warns about it once, at the first request a second after its end', async () => {
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
      String.raw`gateway: the body of GET "/a\u000ab" ended, but was not closed; the gateway must close it`,
    ])
    body.close()
  })

  test('the validator warns if it is garbage-collected first', async () => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    const warnings: string[] = []
    const warn = (message: string) => warnings.push(message)
    const environ = makeEnviron({ SCRIPT_NAME: '/lost' })
    const lose = async () => {
      await validator(hello, { warn })(environ, startResponse)
    }
    await lose()
    const collected = () => {
      collect()
      return warnings
    }
    await expect
      .poll(collected)
      .toEqual([
        'gateway: the body of GET "/lost" was garbage-collected; the gateway must close it first',
      ])
  })

  test('the validator warns if the process exits first', async () => {
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
    expect(warnings).toEqual(['the process exits before the response to GET "/left" is complete'])
    left.close?.()
    for (const listener of added) process.off('exit', listener)
  })

  test('the validator does not warn if the application threw', async () => {
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
