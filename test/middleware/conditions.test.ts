/** `contentLength`, `head`, `conditionalGet` and `bodyLimit`. */
import { EventEmitter, once } from 'node:events'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { ConfigurationError, PeerError } from '../../src/errors.ts'
import { bodyLimit, conditionalGet, contentLength, head } from '../../src/exports/middleware.ts'
import { openHttp } from '../../src/testing/raw-http-client.ts'
import { Headers } from '../../src/response/headers.ts'
import type { Application, Body, HeaderList } from '../../src/types.ts'
import { FileWrapper } from '../../src/wsgiref/util.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { makeEnviron, OK } from '../validate/harness.ts'
import { brief, GATEWAYS, runCgi, through, valueOf } from './gateways.ts'

const respondingWith =
  (status: string, headers: HeaderList, body: () => Body | Promise<Body>): Application =>
  (_environ, startResponse) => {
    startResponse(status, headers)
    return body()
  }

/** The head before a handler has added to it. */
async function headOf(app: Application, variables = {}): Promise<[string, HeaderList]> {
  let announced: [string, HeaderList] = ['', []]
  const body = await app(makeEnviron(variables), (status, headers) => {
    announced = [status, new Headers(headers).items()]
    return async () => {}
  })
  await body.close?.()
  return announced
}

const stream = () => new FileWrapper(createReadStream(import.meta.filename), { length: 7 })
const file = async () => new FileWrapper(await open(import.meta.filename), { start: 0, length: 7 })

describe('contentLength', () => {
  it.each<
    [
      what: string,
      status: string,
      headers: HeaderList,
      body: () => Body | Promise<Body>,
      length: string | undefined,
    ]
  >([
    ['an array', OK, [], () => ['é', 'x'], '3'],
    ['an empty array', OK, [], () => [], '0'],
    ['a real file', OK, [], file, '7'],
    ['a file that is yet to be opened', OK, [], stream, '7'],
    ['a file in memory', OK, [], () => new FileWrapper({ read: () => '' }), undefined],
    ['a generator', OK, [], () => (function* () {})(), undefined],
    ['a 304', '304 Not Modified', [], () => [], undefined],
    ['a 204', '204 No Content', [], () => [], undefined],
    ['a response that has one', OK, [['content-length', '1']], () => ['é'], '1'],
  ])('announces the length of %s', async (_what, status, headers, body, length) => {
    const [, announced] = await headOf(contentLength(respondingWith(status, headers, body)))
    const values = announced.filter(([name]) => name.toLowerCase() === 'content-length')
    expect(values.map(([, value]) => value)).toEqual(length === undefined ? [] : [length])
  })
})

describe('head', () => {
  it.each(GATEWAYS)('sends no body and keeps its length over %s', async (gateway) => {
    const app = head(respondingWith(OK, [['Content-Length', '11']], () => ['Hello world']))
    await through(gateway, app, async (ask) => {
      const response = await ask({ method: 'HEAD', target: '/' })
      expect([response.body.length, valueOf(response, 'Content-Length')]).toEqual([0, '11'])
      expect(brief(await ask('/'))).toEqual([OK, 'Hello world'])
    })
  })

  it.each<[what: string, body: () => Body, length: string | undefined]>([
    ['an array', () => ['Hello'], '5'],
    ['a file that is yet to be opened', stream, '7'],
    // An empty body for HEAD does not say that the one for GET is empty.
    ['an empty array', () => [], undefined],
    ['a generator', () => (function* () {})(), undefined],
  ])('announces the length of %s, and contentLength adds none', async (_what, body, length) => {
    const app = contentLength(head(respondingWith(OK, [], body)))
    const response = await runCgi(app, { method: 'HEAD', target: '/' })
    expect(valueOf(response, 'Content-Length')).toBe(length)
  })

  it('closes the body that it drops without iterating it', async () => {
    const log: string[] = []
    const body = {
      *[Symbol.iterator]() {
        log.push('begun')
        yield 'x'
      },
      close: () => void log.push('closed'),
    }
    const result = await head(respondingWith(OK, [], () => body))(
      makeEnviron({ REQUEST_METHOD: 'HEAD' }),
      () => async () => {},
    )
    expect([result, log]).toEqual([[], ['closed']])
  })

  it('drops what write() sends', async () => {
    const written: unknown[] = []
    await head(async (_environ, startResponse) => {
      await startResponse(OK, [])('a')
      return []
    })(makeEnviron({ REQUEST_METHOD: 'HEAD' }), () => async (chunk) => void written.push(chunk))
    expect(written).toEqual([])
  })
})

describe('conditionalGet', () => {
  const DATE = 'Sun, 06 Nov 1994 08:49:37 GMT'
  const LATER = 'Sun, 06 Nov 1994 08:49:38 GMT'
  const EARLIER = 'Sun, 06 Nov 1994 08:49:36 GMT'
  const full: HeaderList = [
    ['ETag', '"a"'],
    ['Last-Modified', DATE],
  ]

  it.each<[what: string, request: HeaderList, headers: HeaderList, code: number]>([
    ['the same tag', [['If-None-Match', '"a"']], full, 304],
    ['a weak tag of the same value', [['If-None-Match', 'W/"a"']], full, 304],
    ['a strong tag for a weak one', [['If-None-Match', '"a"']], [['ETag', 'W/"a"']], 304],
    ['a list with the tag', [['If-None-Match', '"x", W/"b,c" , "a"']], full, 304],
    ['any tag', [['If-None-Match', '*']], full, 304],
    ['another tag', [['If-None-Match', '"b"']], full, 200],
    ['a tag without quotes', [['If-None-Match', 'a']], full, 200],
    ['a tag for a response without a tag', [['If-None-Match', '"a"']], [], 200],
    ['any tag for a response without a tag', [['If-None-Match', '*']], [], 200],
    ['the same date', [['If-Modified-Since', DATE]], full, 304],
    ['a later date', [['If-Modified-Since', LATER]], full, 304],
    ['an earlier date', [['If-Modified-Since', EARLIER]], full, 200],
    ['a date for a response without a date', [['If-Modified-Since', DATE]], [['ETag', '"a"']], 200],
    ['an invalid date', [['If-Modified-Since', 'yesterday']], full, 200],
    [
      'a date in a format that HTTP does not have',
      [['If-Modified-Since', '1999-01-01']],
      full,
      200,
    ],
    [
      'a date for a response with an invalid date',
      [['If-Modified-Since', DATE]],
      [['Last-Modified', '1990']],
      200,
    ],
    [
      'another tag and a matching date',
      [
        ['If-None-Match', '"b"'],
        ['If-Modified-Since', DATE],
      ],
      full,
      200,
    ],
    [
      'the same tag and an earlier date',
      [
        ['If-None-Match', '"a"'],
        ['If-Modified-Since', EARLIER],
      ],
      full,
      304,
    ],
    ['nothing', [], full, 200],
  ])('compares %s', async (_what, request, headers, code) => {
    const app = conditionalGet(respondingWith(OK, headers, () => ['body']))
    for (const method of ['GET', 'HEAD']) {
      const response = await runCgi(app, { method, target: '/', headers: request })
      expect(response.status.slice(0, 3)).toBe(String(code))
      expect(response.body.toString()).toBe(code === 200 && method === 'GET' ? 'body' : '')
    }
  })

  it.each([
    ['POST', OK],
    ['PUT', OK],
    ['GET', '206 Partial Content'],
    ['GET', '404 Not Found'],
  ])('does not change %s with %s', async (method, status) => {
    const app = conditionalGet(respondingWith(status, full, () => ['body']))
    const headers: HeaderList = [['If-None-Match', '"a"']]
    expect((await runCgi(app, { method, target: '/', headers })).status).toBe(status)
  })

  it.each(GATEWAYS)(
    'keeps the headers that concern the copy in a 304, over %s',
    async (gateway) => {
      const headers: HeaderList = [
        ['Content-Type', 'text/plain'],
        ['Content-Length', '4'],
        ['Content-Language', 'en'],
        ['Cache-Control', 'max-age=5'],
        ['Vary', 'Accept'],
        ...full,
      ]
      const request = { target: '/', headers: [['If-None-Match', '"a"']] as HeaderList }
      const app = conditionalGet(respondingWith(OK, headers, () => ['body']))
      const response = await through(gateway, app, (ask) => ask(request))
      const names = new Set(['date', 'server', 'connection', 'keep-alive'])
      const kept = response.headers.filter(([name]) => !names.has(name.toLowerCase()))
      expect(kept).toEqual([['Cache-Control', 'max-age=5'], ['Vary', 'Accept'], ...full])
    },
  )

  it('takes linear time for a list of many quotes', async () => {
    const headers: HeaderList = [['If-None-Match', '"'.repeat(50_001)]]
    const app = conditionalGet(respondingWith(OK, full, () => ['body']))
    expect((await runCgi(app, { target: '/', headers })).status).toBe(OK)
  })
})

const read =
  (how: (environ: Parameters<Application>[0]) => Promise<unknown>): Application =>
  async (environ, startResponse) => {
    const seen = await how(environ)
    startResponse(OK, [])
    return [String(seen)]
  }

describe('bodyLimit', () => {
  const closers: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const close of closers.splice(0)) await close()
  })

  const app = bodyLimit(
    read((environ) => environ['wsgi.input'].read()),
    5,
  )

  it.each(GATEWAYS)('checks CONTENT_LENGTH over %s', async (gateway) => {
    await through(gateway, app, async (ask) => {
      const post = (body: string) => ask({ method: 'POST', target: '/', body })
      expect(brief(await post(''))).toEqual([OK, ''])
      expect(brief(await post('12345'))).toEqual([OK, '12345'])
      expect(brief(await post('123456'))).toEqual(['413 Content Too Large', 'Content Too Large\n'])
    })
  })

  it('does not run the application if CONTENT_LENGTH is over the limit', async () => {
    let ran = false
    const never = bodyLimit(
      read(async () => (ran = true)),
      5,
    )
    await runCgi(never, { method: 'POST', target: '/', body: '123456' })
    expect(ran).toBe(false)
  })

  /** Sends a chunked body; each chunk waits until the one before was read. */
  async function chunked(
    application: Application,
    texts: Iterable<string> | AsyncIterable<string>,
  ) {
    const server = await new HTTPHandler({ listen: '127.0.0.1:0' }).run(application)
    closers.push(() => server.close())
    const connection = await openHttp(addressOf(server))
    closers.push(async () => connection.close())
    return connection.request({
      method: 'POST',
      headers: [['Transfer-Encoding', 'chunked']],
      body: texts,
    })
  }

  it.each<[texts: string[], status: number, body: string]>([
    [['12', '345'], 200, '12345'],
    [['12', '345', '6'], 413, 'Content Too Large\n'],
    [['123456'], 413, 'Content Too Large\n'],
    [[], 200, ''],
  ])('counts a body without CONTENT_LENGTH: %j', async (texts, status, body) => {
    const response = await chunked(app, texts)
    expect([response.status, String(response.body)]).toEqual([status, body])
  })

  it.each<
    [name: string, how: (environ: Parameters<Application>[0]) => Promise<unknown>, seen: string]
  >([
    [
      'read(size)',
      async (environ) =>
        `${String(await environ['wsgi.input'].read(2))}|${String(await environ['wsgi.input'].read(9))}`,
      'a\n|bcd',
    ],
    [
      'readline()',
      async (environ) =>
        `${String(await environ['wsgi.input'].readline())}|${String(await environ['wsgi.input'].readline())}`,
      'a\n|bcd',
    ],
    [
      'chunks()',
      async (environ) => {
        const chunks: Buffer[] = []
        for await (const chunk of environ['wsgi.input'].chunks()) chunks.push(chunk)
        return Buffer.concat(chunks)
      },
      'a\nbcd',
    ],
  ])('does not change %s', async (_name, how, seen) => {
    expect(String((await chunked(bodyLimit(read(how), 5), ['a\nb', 'cd'])).body)).toBe(seen)
  })

  it('passes a chunk on before the next one arrives', async () => {
    const gate = new EventEmitter()
    async function* texts() {
      yield 'ab'
      await once(gate, 'read')
      yield 'cd'
    }
    const how = read(async (environ) => {
      let text = ''
      for await (const chunk of environ['wsgi.input'].chunks()) {
        text += `${String(chunk)}.`
        gate.emit('read')
      }
      return text
    })
    expect(String((await chunked(bodyLimit(how, 5), texts())).body)).toBe('ab.cd.')
  })

  it('refuses again when the application reads again', async () => {
    const how = read(async (environ) => {
      const errors: unknown[] = []
      for (let i = 0; i < 2; i += 1) {
        await environ['wsgi.input'].read().catch((error: unknown) => errors.push(error))
      }
      return errors.map((error) => error instanceof PeerError && error.code)
    })
    const response = await chunked(bodyLimit(how, 5), ['123456'])
    expect(String(response.body)).toBe('PORTICO_TOO_LARGE,PORTICO_TOO_LARGE')
  })

  it.each([-1, 0.5, Number.NaN, Infinity])('refuses the limit %d', (limit) => {
    expect(() => bodyLimit(app, limit)).toThrow(ConfigurationError)
  })
})
