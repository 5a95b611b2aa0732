/** Applications, each of which calls `startResponse` or `write` when it must not. */
import type { Application, StartResponse, Write } from '../../../src/types.ts'
import { validator } from '../../../src/validate/validator.ts'
import {
  answer,
  app,
  applications,
  judge,
  makeEnviron,
  OK,
  PLAIN,
  refusal,
  type Row,
  silent,
} from '../harness.ts'

/** Runs it behind a gateway that has sent the head when the second one comes, and throws its error. */
function afterTheHead(crafted: Application): Promise<string> {
  return refusal(async () => {
    let calls = 0
    const gateway: StartResponse = (_status, _headers, error) => {
      if (++calls === 2) throw error
      return async () => {}
    }
    const body = await validator(crafted, silent)(makeEnviron(), gateway)
    for await (const chunk of body) if (chunk === 'never') throw new Error('it went on')
  })
}

type Then = (startResponse: StartResponse, write: Write) => unknown

/** Does something else instead of letting its error through. */
const catching = (then: Then): Application =>
  app((_environ, startResponse) => {
    const write = startResponse(OK, PLAIN)
    try {
      startResponse('500 Sorry', PLAIN, new Error('mine'))
    } catch {
      return then(startResponse, write)
    }
    return []
  })

/** The same in the midst of its body. */
const yielding = (...more: string[]): Application =>
  function* (_environ, startResponse) {
    startResponse(OK, PLAIN)
    yield 'x'
    try {
      startResponse('500 Sorry', PLAIN, new Error('mine'))
    } catch {
      yield* more
    }
  }

/** Acts when the answer is over. */
function late(act: Then): Promise<string> {
  return refusal(async () => {
    let kept: Parameters<Then> | undefined
    await answer((_environ, startResponse) => {
      kept = [startResponse, startResponse(OK, PLAIN)]
      return []
    })
    return kept && act(...kept)
  })
}

const writesOnce: Application = (_environ, startResponse) => {
  void startResponse(OK, PLAIN)('x')
  return []
}

/** What is said of a plain function that writes once, to a gateway that takes its time or not. */
export function writeOnce(write: Write): Promise<string> {
  return judge(async () => {
    const warnings: string[] = []
    const wrapped = validator(writesOnce, { warn: (message) => warnings.push(message) })
    const body = await wrapped(makeEnviron(), () => write)
    await new Promise((resolve) => setTimeout(resolve, 5))
    body.close?.()
    return { warnings }
  })
}

const writing = (...args: unknown[]): Application =>
  app(async (_environ, startResponse) => {
    await startResponse(OK, PLAIN)(...args)
    return []
  })

const UNBROKEN =
  'came after startResponse call 2 had thrown the error it was given; the application must let it ' +
  'through'

export const exchangeRows: Row[] = [
  ...applications([
    [
      '2f.5',
      'fact 95: a second call without error',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN)
        startResponse(OK, PLAIN)
        return []
      }),
      'startResponse call 2: Headers already set! It must be given the error that made it ' +
        'necessary, not undefined',
    ],
    [
      '2f.5',
      'a second call with null for it',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN, undefined)
        startResponse(OK, PLAIN, null)
        return []
      }),
      'startResponse call 2: Headers already set! It must be given the error that made it ' +
        'necessary, not null',
    ],
  ]),
  [
    '2f.5',
    'a body, though the head was sent and the error was thrown',
    () => afterTheHead(catching(() => [])),
    `body: the end after 0 chunks: ${UNBROKEN}`,
  ],
  [
    '2f.5',
    'a write, though it was thrown',
    () => afterTheHead(catching((_startResponse, write) => write('x'))),
    `write call 1: ${UNBROKEN}`,
  ],
  [
    '2f.5',
    'another call, though it was thrown',
    () => afterTheHead(catching((again) => again(OK, PLAIN, new Error('again')))),
    `startResponse call 3: ${UNBROKEN}`,
  ],
  [
    '2f.5',
    'a chunk, though it was thrown',
    () => afterTheHead(yielding('never')),
    `body chunk 2: ${UNBROKEN}`,
  ],
  [
    '2f.5',
    'an end, though it was thrown',
    () => afterTheHead(yielding()),
    `body: the end after 1 chunk: ${UNBROKEN}`,
  ],
  [
    '2f.2',
    'startResponse after the end',
    () => late((startResponse) => startResponse(OK, PLAIN, new Error('late'))),
    'startResponse call 2: came after the body had ended; it must come before',
  ],
  [
    '2f.2',
    'write after the end',
    () => late((_startResponse, write) => write('x')),
    'write call 1: came after the body had ended; it must come before',
  ],
  ...applications([
    ['2a.37', 'write of nothing', writing(), 'write call 1: takes one chunk, not 0 arguments'],
    ['2a.37', 'write of two', writing('a', 'b'), 'write call 1: takes one chunk, not 2 arguments'],
    [
      '2a.37',
      'fact 98: write of a number',
      writing(1),
      'write call 1: must be a Uint8Array or a string, not 1',
    ],
    [
      '2c.62 2e.42',
      'write past Content-Length',
      async (_environ, startResponse) => {
        const write = startResponse(OK, [...PLAIN, ['Content-Length', '1']])
        await write('x')
        await write('y')
        return []
      },
      'write call 2: Content-Length is 1, but 2 bytes came',
    ],
    [
      '2f.4',
      'write from inside the body',
      async function* (_environ, startResponse) {
        const write = startResponse(OK, PLAIN)
        yield 'x'
        await write('y')
      },
      'write call 1: came after the iteration of the body had begun; it must come before',
    ],
    [
      '2f.3',
      'a write that is not awaited',
      async (_environ, startResponse) => {
        const write = startResponse(OK, PLAIN)
        await write('x')
        void write('y')
        return []
      },
      'warning: write: every call must be awaited before the body is returned; 1 of 2 calls had ' +
        'not finished',
    ],
    ...['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead'].map(
      (method) =>
        [
          '2f.8',
          `a listener of node:http that begins with response.${method}()`,
          app((_request, response) => Reflect.get(response, method)),
          `The application must call startResponse(status, headers), not its ${method}(); a ` +
            'listener (req, res) has to be wrapped: fromNode(listener)',
        ] as const,
    ),
  ]),
  [
    '2f.3',
    'a function that cannot await what it writes to a slow client',
    () => writeOnce(() => new Promise((resolve) => setTimeout(resolve, 1_000).unref())),
    'warning: write: an application that writes must be async and await each call; 1 of 1 call ' +
      'had not finished',
  ],
]
