/**
 * What all middleware has in common: whatever kind of application is inside, its response is passed
 * on unchanged, its body is closed once, nothing waits unnecessarily, and the validators on both
 * sides report nothing.
 */
import { Buffer } from 'node:buffer'
import { EventEmitter, once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  accessLog,
  basicAuth,
  bodyLimit,
  cascade,
  conditionalGet,
  contentLength,
  errorPage,
  head,
  intercept,
  MemoryStore,
  mount,
  proxyFix,
  ranges,
  sendfile,
  session,
} from '../../src/exports/middleware.ts'
import type { Application, ApplicationClass, Body, Chunk, StartResponse } from '../../src/types.ts'
import { FileWrapper, isFileWrapper } from '../../src/wsgiref/util.ts'
import { validator } from '../../src/validate/validator.ts'
import { makeEnviron, OK, PLAIN } from '../validate/harness.ts'
import { GATEWAYS, runCgi, through } from './gateways.ts'

type App = Application | ApplicationClass

/** Gives a request the credentials without which `basicAuth` would not run the application. */
function signedIn(app: Application): Application {
  return (environ, startResponse) => {
    environ['HTTP_AUTHORIZATION'] = 'Basic YTpi'
    return app(environ, startResponse)
  }
}

const secret = 'x'.repeat(32)
const all: [name: string, wrap: (app: App) => Application][] = [
  ['accessLog', (app) => accessLog(app, { write: () => {} })],
  ['basicAuth', (app) => signedIn(basicAuth(app, { verify: () => true }))],
  ['bodyLimit', (app) => bodyLimit(app, 1000)],
  ['cascade', (app) => cascade([app, app])],
  ['conditionalGet', (app) => conditionalGet(app)],
  ['contentLength', (app) => contentLength(app)],
  ['errorPage', (app) => errorPage(app, { development: true })],
  ['head', (app) => head(app)],
  ['intercept', (app) => intercept(app, { onResponse: () => {} })],
  ['mount', (app) => mount({ '/': app })],
  ['proxyFix', (app) => proxyFix(app, { trusted: ['127.0.0.1'] })],
  ['ranges', (app) => ranges(app)],
  ['sendfile', (app) => sendfile(app, { header: 'X-Sendfile' })],
  ['session in a cookie', (app) => session(app, { secret })],
  ['session in a store', (app) => session(app, { secret, store: new MemoryStore() })],
  ['intercept with a promise', (app) => intercept(app, { onResponse: async () => {} })],
  [
    'a stack of middleware',
    (app) =>
      accessLog(
        mount({
          '/': session(contentLength(head(errorPage(app, { development: true }))), { secret }),
        }),
        { write: () => {} },
      ),
  ],
]

/** Counts how often a body is closed. */
const closed = { count: 0 }
const close = () => void (closed.count += 1)

function* generator(_environ: unknown, startResponse: StartResponse) {
  try {
    startResponse(OK, PLAIN)
    yield 'a'
    yield ''
    yield Buffer.from('b')
  } finally {
    close()
  }
}
async function* asyncGenerator(_environ: unknown, startResponse: StartResponse) {
  try {
    startResponse(OK, PLAIN)
    yield 'a'
    await new Promise((resolve) => setImmediate(resolve))
    yield 'b'
  } finally {
    close()
  }
}
class Instance {
  readonly #startResponse: StartResponse
  close = close
  constructor(_environ: unknown, startResponse: StartResponse) {
    this.#startResponse = startResponse
  }
  *[Symbol.iterator]() {
    this.#startResponse(OK, PLAIN)
    yield 'a'
    yield 'b'
  }
}

const kinds: [name: string, app: App][] = [
  [
    'an array',
    (_environ, startResponse) => (startResponse(OK, PLAIN), Object.assign(['a', 'b'], { close })),
  ],
  [
    'a promise of an array',
    async (_environ, startResponse) => (
      startResponse(OK, PLAIN),
      Object.assign(['a', 'b'], { close })
    ),
  ],
  ['a generator', generator],
  ['an async generator', asyncGenerator],
  ['a class', Instance],
  [
    'an iterable with its head before',
    (_environ, startResponse) => {
      startResponse(OK, PLAIN)
      return {
        *[Symbol.iterator]() {
          yield 'a'
          yield 'b'
        },
        close,
      }
    },
  ],
  [
    'write()',
    async (_environ, startResponse) => {
      const write = startResponse(OK, PLAIN)
      await write('a')
      await write('b')
      return Object.assign<Chunk[], object>([], { close })
    },
  ],
  [
    'write() that is not awaited, and a body after it',
    (_environ, startResponse) => {
      void startResponse(OK, PLAIN)('a')
      return Object.assign<Chunk[], object>(['b'], { close })
    },
  ],
  [
    'a second head',
    (_environ, startResponse) => {
      startResponse('500 Oops', [['Content-Type', 'text/html']])
      startResponse(OK, PLAIN, new Error('replaced'))
      return Object.assign(['a', 'b'], { close })
    },
  ],
  [
    'a file',
    async (_environ, startResponse) => {
      startResponse(OK, PLAIN)
      const text = ['a', 'b']
      return new FileWrapper({ read: () => text.shift(), close })
    },
  ],
]

describe.each(all)('%s', (_, wrap) => {
  it('closes once an array with an element that is not a chunk', async () => {
    closed.count = 0
    const body = Object.assign(['a', 5], { close }) as unknown as Body
    const app = wrap((_environ, startResponse) => (startResponse(OK, PLAIN), body))
    expect((await runCgi(app, '/')).status).toBe('500 Internal Server Error')
    expect(closed.count).toBe(1)
  })

  it.each(kinds)('passes on the response of %s, and closes the body once', async (_name, app) => {
    closed.count = 0
    const response = await runCgi(wrap(app), '/')
    expect([response.status, response.body.toString(), response.errors]).toEqual([OK, 'ab', ''])
    expect(response.headers).toContainEqual(PLAIN[0])
    expect(closed.count).toBe(1)
  })

  it.each(kinds)('keeps the contract on both sides with %s', async (_name, app) => {
    closed.count = 0
    const doubts: string[] = []
    const warn = (doubt: string) => void doubts.push(doubt)
    const response = await runCgi(validator(wrap(validator(app, { warn })), { warn }), '/')
    expect([response.status, response.body.toString(), response.errors]).toEqual([OK, 'ab', ''])
    expect(closed.count).toBe(1)
    expect(doubts.filter((doubt) => !doubt.includes('not awaited'))).toEqual([])
  })

  it.each(kinds)(
    'responds to HEAD without a body for %s, and closes the body once',
    async (_name, app) => {
      closed.count = 0
      const response = await runCgi(wrap(app), { method: 'HEAD', target: '/' })
      expect([response.status, response.body.toString(), response.errors]).toEqual([OK, '', ''])
      expect(closed.count).toBe(1)
    },
  )

  it('passes on an error of the application', async () => {
    for (const fails of [
      () => {
        throw new Error('broken')
      },
      () => Promise.reject(new Error('broken')),
      // oxlint-disable-next-line require-yield
      function* () {
        throw new Error('broken')
      },
      // oxlint-disable-next-line require-yield
      async function* () {
        throw new Error('broken')
      },
    ] as Application[]) {
      const response = await runCgi(wrap(fails), '/')
      expect(response.status).toBe('500 Internal Server Error')
      expect(response.errors).toMatch(/^(?:GET \/: )?Error: broken\n/)
    }
  })

  it.each<[what: string, app: unknown, complaint: RegExp]>([
    ['no head', () => ['a'], /before startResponse/],
    [
      'no head from a generator',
      function* () {
        yield 'a'
      },
      /before startResponse/,
    ],
    [
      'no body',
      (_environ: unknown, startResponse: StartResponse) => void startResponse(OK, PLAIN),
      /must return an iterable/,
    ],
    [
      'a number for a chunk',
      (_environ: unknown, startResponse: StartResponse) => (startResponse(OK, PLAIN), [1]),
      /must be a string or a Uint8Array/,
    ],
    [
      'two heads',
      (_environ: unknown, startResponse: StartResponse) => (
        startResponse(OK, PLAIN),
        startResponse(OK, PLAIN)
      ),
      /Headers already set/,
    ],
    [
      'a bad header',
      (_environ: unknown, startResponse: StartResponse) => (startResponse(OK, [['a b', 'c']]), []),
      /is not a header name/,
    ],
  ])('leaves it to the gateway to refuse an application with %s', async (_what, app, complaint) => {
    const response = await runCgi(wrap(app as Application), '/')
    expect(response.status).toBe('500 Internal Server Error')
    expect(response.errors).toMatch(complaint)
  })
})

/** A store may have to wait; middleware over an array does not. */
describe.each(all.filter(([name]) => name !== 'intercept with a promise'))('%s', (_, wrap) => {
  it('is synchronous over a synchronous application, and leaves an array an array', () => {
    const body = wrap((_environ, startResponse) => (startResponse(OK, PLAIN), ['a', 'b']))(
      makeEnviron(),
      () => async () => {},
    )
    expect(Array.isArray(body)).toBe(true)
    expect([...(body as Chunk[])]).toEqual(['a', 'b'])
  })

  it('leaves a file a file with the same descriptor and range', async () => {
    const handle = await open(import.meta.filename)
    const file = new FileWrapper(handle, { start: 1, length: 2, blockSize: 3 })
    const body = wrap((_environ, startResponse) => (startResponse(OK, PLAIN), file))(
      makeEnviron(),
      () => async () => {},
    ) as Body
    if (!isFileWrapper(body)) throw new Error('not a FileWrapper')
    expect([body.fd, body.start, body.length, body.blockSize]).toEqual([handle.fd, 1, 2, 3])
    await body.close?.()
    expect(handle.fd).toBe(-1)
  })
})

it('cascade closes the body of the next application if the client disconnects before that body exists', async () => {
  closed.count = 0
  const gate = new EventEmitter()
  const body = (await cascade([
    function* (_environ, startResponse) {
      startResponse('404 Not Found', [])
      yield 'a'
    },
    async (_environ, startResponse) => {
      await once(gate, 'open')
      startResponse(OK, PLAIN)
      return Object.assign(['b'], { close })
    },
  ])(makeEnviron(), () => async () => {})) as AsyncIterable<Chunk> & { close(): unknown }
  const next = body[Symbol.asyncIterator]().next()
  void body.close()
  gate.emit('open')
  expect(await next).toEqual({ done: true, value: undefined })
  expect(closed.count).toBe(1)
})

describe.each(GATEWAYS)('over %s', (gateway) => {
  it.each(all)('%s requests no chunk before the gateway does', async (_name, wrap) => {
    const seen: string[] = []
    const app: Application = async function* (_environ, startResponse) {
      startResponse(OK, PLAIN)
      for (const chunk of ['a', 'b', 'c']) {
        seen.push(chunk)
        yield chunk
      }
    }
    const response = await through(gateway, wrap(app), (ask) => ask('/'))
    expect([response.body.toString(), seen]).toEqual(['abc', ['a', 'b', 'c']])
  })
})

/** The built-in modules that each file may load, directly or indirectly. */
const BUILTINS: Record<string, string[]> = {
  'basic-auth': ['node:crypto'],
  'error-page': ['node:util'],
  'proxy-fix': ['node:net'],
  sendfile: ['node:path'],
  'keyv-store': ['node:crypto'],
  'file-store': ['node:crypto', 'node:fs/promises', 'node:path'],
  session: ['node:crypto'],
  'session-keepers': ['node:crypto'],
  'signed-cookie': ['node:crypto'],
  'static-files': ['mrmime'],
}
/** Part of every start of Node; or of the core, which a handler has loaded. */
const ALWAYS = new Set(['node:buffer', 'node:fs'])

function loads(file: string, seen = new Set<string>()): Set<string> {
  const found = new Set<string>()
  if (seen.has(file)) return found
  seen.add(file)
  const imports = readFileSync(file, 'utf8').matchAll(/^import (?!type)([^;]*?) from '([^']+)'/gms)
  for (const [, what, from] of imports) {
    if (what === undefined || from === undefined || ALWAYS.has(from)) continue
    if (/^\{\s*(?:type [^,}]*,?\s*)+\}$/.test(what)) continue
    if (!from.startsWith('.')) found.add(from)
    else for (const name of loads(join(file, '..', from), seen)) found.add(name)
  }
  return found
}

describe('src/middleware', () => {
  const directory = join(import.meta.dirname, '../../src/middleware')
  const names = readdirSync(directory)

  it.each(names)('%s loads what it needs, and nothing else', (name) => {
    const found = [...loads(join(directory, name))].toSorted()
    expect(found).toEqual(BUILTINS[name.replace('.ts', '')] ?? [])
  })

  it.each(names)('%s can be imported alone', async (name) => {
    expect(Object.keys(await import(`../../src/middleware/${name.slice(0, -3)}.ts`))).not.toEqual(
      [],
    )
  })
})
