/** Applications that call `startResponse` or `write` at the wrong time. */
import type { Application, StartResponse, Write } from '../../../src/types.ts'
import { validator } from '../../../src/validate/validator.ts'
import {
  runApplication,
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

/** Runs it through a gateway that has sent the headers when the second call comes, and throws its error. */
function afterTheHead(crafted: Application): Promise<string> {
  return refusal(async () => {
    let calls = 0
    const gateway: StartResponse = (_status, _headers, error) => {
      if (++calls === 2) throw error
      return async () => {}
    }
    const body = await validator(crafted, silent)(makeEnviron(), gateway)
    for await (const chunk of body) if (chunk === 'never') throw new Error('it continued')
  })
}

type Then = (startResponse: StartResponse, write: Write) => unknown

/** Catches its own error and does something else. */
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

/** The same from inside its body. */
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

/** Acts after the end of the response. */
function late(act: Then): Promise<string> {
  return refusal(async () => {
    let kept: Parameters<Then> | undefined
    await runApplication((_environ, startResponse) => {
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

/** The warning for a plain function that writes once to this gateway. */
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
  'came after startResponse call 2 had thrown the error it was given; the application must not ' +
  'catch that error'

export const exchangeRows: Row[] = [
  ...applications([
    [
      'a second startResponse without an error',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN)
        startResponse(OK, PLAIN)
        return []
      }),
      'startResponse call 2: Headers already set! A second call must pass the error ' +
        'that caused it, not undefined',
    ],
    [
      'a second startResponse with null as the error',
      app((_environ, startResponse) => {
        startResponse(OK, PLAIN, undefined)
        startResponse(OK, PLAIN, null)
        return []
      }),
      'startResponse call 2: Headers already set! A second call must pass the error ' +
        'that caused it, not null',
    ],
  ]),
  [
    'a body that is returned after startResponse threw',
    () => afterTheHead(catching(() => [])),
    `body: the end after 0 chunks: ${UNBROKEN}`,
  ],
  [
    'a write after startResponse threw',
    () => afterTheHead(catching((_startResponse, write) => write('x'))),
    `write call 1: ${UNBROKEN}`,
  ],
  [
    'a third startResponse after the second threw',
    () => afterTheHead(catching((again) => again(OK, PLAIN, new Error('again')))),
    `startResponse call 3: ${UNBROKEN}`,
  ],
  [
    'a chunk after startResponse threw',
    () => afterTheHead(yielding('never')),
    `body chunk 2: ${UNBROKEN}`,
  ],
  [
    'a normal end after startResponse threw',
    () => afterTheHead(yielding()),
    `body: the end after 1 chunk: ${UNBROKEN}`,
  ],
  [
    'startResponse after the end',
    () => late((startResponse) => startResponse(OK, PLAIN, new Error('late'))),
    'startResponse call 2: called after the end of the body; call it before the first chunk',
  ],
  [
    'write after the end',
    () => late((_startResponse, write) => write('x')),
    'write call 1: called after the end of the body; call it before the first chunk',
  ],
  ...applications([
    ['write without an argument', writing(), 'write call 1: takes one chunk, not 0 arguments'],
    [
      'write with two arguments',
      writing('a', 'b'),
      'write call 1: takes one chunk, not 2 arguments',
    ],
    ['write of a number', writing(1), 'write call 1: must be a Uint8Array or a string, not 1'],
    [
      'write beyond Content-Length',
      async (_environ, startResponse) => {
        const write = startResponse(OK, [...PLAIN, ['Content-Length', '1']])
        await write('x')
        await write('y')
        return []
      },
      'write call 2: Content-Length is 1, but 2 bytes came',
    ],
    [
      'write from inside the body',
      async function* (_environ, startResponse) {
        const write = startResponse(OK, PLAIN)
        yield 'x'
        await write('y')
      },
      'write call 1: called after the iteration of the body had begun; call it before',
    ],
    [
      'a write that is not awaited',
      async (_environ, startResponse) => {
        const write = startResponse(OK, PLAIN)
        await write('x')
        void write('y')
        return []
      },
      'warning: write: await every call before returning the body; 1 of 2 calls had ' +
        'not finished',
    ],
    ...['end', 'json', 'send', 'setHeader', 'status', 'write', 'writeHead'].map(
      (method) =>
        [
          `a listener of node:http that begins with response.${method}()`,
          app((_request, response) => Reflect.get(response, method)),
          `The application must call startResponse(status, headers), not its ${method}(); wrap ` +
            'a listener (req, res): fromNode(listener)',
        ] as const,
    ),
  ]),
  [
    'a function that cannot await what it writes to a slow client',
    () => writeOnce(() => new Promise((resolve) => setTimeout(resolve, 1_000).unref())),
    'warning: write: make the application async and await every call; 1 of 1 call ' +
      'had not finished',
  ],
]
