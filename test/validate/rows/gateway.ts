/** Gateways that call the application, or use its body, in a wrong way. */
import { vi } from 'vitest'
import { validator } from '../../../src/validate/validator.ts'
import { CLOSE_GRACE_MS } from '../../../src/validate/open.ts'
import {
  app,
  call,
  hello,
  helloLater,
  judge,
  makeEnviron,
  OK,
  open,
  PLAIN,
  refusal,
  type Row,
  silent,
  startResponse,
  type Stepper,
} from '../harness.ts'

const called = (...args: unknown[]) => refusal(() => call(validator(hello, silent), ...args))

const writing = app(async (_environ, start) => {
  await start(OK, PLAIN)('x')
  return []
})

const callRows: Row[] = [
  [
    'a gateway that passes no argument',
    () => called(),
    'gateway: the application takes (environ, startResponse), not 0 arguments',
  ],
  [
    'a gateway that passes three arguments',
    () => called(makeEnviron(), startResponse, 1),
    'gateway: the application takes (environ, startResponse), not 3 arguments',
  ],
  [
    'a startResponse that is not a function',
    () => called(makeEnviron(), 1),
    'gateway: startResponse must be a function, not 1',
  ],
  [
    'startResponse that returns no write',
    () => called(makeEnviron(), () => {}),
    'gateway: startResponse call 1 must return write, a function, not undefined',
  ],
  [
    'write that returns no Promise',
    () => refusal(() => call(validator(writing, silent), makeEnviron(), () => () => undefined)),
    'gateway: write call 1 must return a Promise, not undefined',
  ],
]

const KINDS = [
  ['synchronous', hello],
  ['asynchronous', helloLater],
] as const

const bodyRows = KINDS.flatMap(([name, application]): Row[] => [
  [
    `a ${name} body read after it was closed`,
    () =>
      refusal(async () => {
        const body = await open(application)
        await body.next()
        await body.close()
        await body.next()
      }),
    'gateway: next() call 2: Iterator read after closed; call next() before close()',
  ],
  [
    `a ${name} body iterated twice`,
    () =>
      refusal(async () => {
        const body = (await open(application)) as Stepper & AsyncIterable<unknown>
        for await (const _chunk of body);
        for await (const _chunk of body);
      }),
    'gateway: the body must be iterated once, not a second time',
  ],
  [
    `a ${name} body closed twice`,
    () =>
      refusal(async () => {
        const body = await open(application)
        await body.close()
        await body.close()
      }),
    'gateway: close() must be called once, not a second time',
  ],
])

/** The warning for a body that ended and was not closed, when the next request comes. */
async function forget(): Promise<string> {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    return await judge(async () => {
      const warnings: string[] = []
      const crafted = validator(hello, { warn: (message) => warnings.push(message) })
      const body = await open(crafted, makeEnviron({ SCRIPT_NAME: '/left', PATH_INFO: '/open' }))
      for (let done: boolean | undefined; !done;) ({ done } = await body.next())
      vi.advanceTimersByTime(CLOSE_GRACE_MS)
      const next = await open(crafted)
      await next.close()
      return { warnings }
    })
  } finally {
    vi.useRealTimers()
  }
}

/** The warning when the process exits during a request. */
async function exit(): Promise<string> {
  const before = new Set(process.listeners('exit'))
  vi.resetModules()
  const fresh = await import('../../../src/validate/validator.ts')
  return judge(async () => {
    const warnings: string[] = []
    const crafted = fresh.validator(hello, { warn: (message) => warnings.push(message) })
    const body = await crafted(makeEnviron(), startResponse)
    for (const listener of process.listeners('exit').filter((it) => !before.has(it))) {
      listener(0)
      process.off('exit', listener)
    }
    await body.close?.()
    return { warnings }
  })
}

export const gatewayRows: Row[] = [
  ...callRows,
  ...bodyRows,
  [
    'two calls of next() at once',
    () =>
      refusal(async () => {
        const body = await open(helloLater)
        await Promise.all([body.next(), body.next()])
      }),
    'gateway: next() call 2: called before the previous call had finished; await each call',
  ],
  [
    'a body that is not closed',
    forget,
    'warning: gateway: the body of GET "/left/open" ended, but was not closed; the gateway must close it',
  ],
  [
    'process.exit() before the end of the response',
    exit,
    'warning: the process exits before the response to GET "/" is complete',
  ],
]
