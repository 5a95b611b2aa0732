import { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import { PassThrough, Readable, Writable } from 'node:stream'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { BaseCGIHandler, type Output, SimpleHandler } from '../../handlers/simple.ts'
import { ErrorLog } from '../../src/request/error-log.ts'
import { ApplicationError, ConfigurationError } from '../../src/errors.ts'
import { emptySource, Input } from '../../src/request/input.ts'
import type { Application, Body, Environ } from '../../src/types.ts'
import { CountingBody, deferred, ERROR_PAGE, turns } from '../support/handlers.ts'

const problems: unknown[] = []
const note = (problem: unknown) => problems.push(problem)
process.on('unhandledRejection', note)
process.on('warning', note)
afterAll(() => process.off('unhandledRejection', note).off('warning', note))
afterEach(async () => {
  await turns()
  expect(problems.splice(0)).toEqual([])
})

/** An output that keeps everything in memory. */
class Memory implements Output {
  text = ''

  write(bytes: Buffer): unknown {
    this.text += bytes.toString('latin1')
    return undefined
  }
}

interface Setting {
  environ?: Record<string, unknown>
  stdin?: Input | Readable
}

function handle(output: Output, { environ = {}, stdin = new Input(emptySource) }: Setting = {}) {
  let errors = ''
  const log = new ErrorLog((text) => (errors += text))
  const handler = new BaseCGIHandler(stdin, output, log, environ)
  return {
    handler,
    get errors() {
      return errors
    },
  }
}

/** The whole raw response, as in wsgiref's run_amock. */
async function amock(application: Application, setting?: Setting) {
  const output = new Memory()
  const handled = handle(output, setting)
  await handled.handler.run(application)
  return { output: output.text, errors: handled.errors }
}

const hello =
  (body: unknown): Application =>
  (_, startResponse) => {
    startResponse('200 OK', [])
    return body as Body
  }

async function echo(environ: Environ, startResponse: Parameters<Application>[1]) {
  startResponse('200 OK', [])
  return [await environ['wsgi.input'].read()]
}

function failing(code: string | undefined): () => never {
  return () => {
    throw Object.assign(new Error('write failed'), { code })
  }
}

describe('The raw response', () => {
  test.each([
    ['a list', hello(['http']), 'Status: 200 OK\r\nContent-Length: 4\r\n\r\nhttp'],
    ['nothing', hello([]), 'Status: 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['chunks', hello(new Set(['ht', 'tp'])), 'Status: 200 OK\r\n\r\nhttp'],
    [
      'raw bytes',
      hello([Buffer.from([0, 0xff])]),
      'Status: 200 OK\r\nContent-Length: 2\r\n\r\n\0\xff',
    ],
    ['line ends', hello(['a\nb']), 'Status: 200 OK\r\nContent-Length: 3\r\n\r\na\nb'],
  ])('of %s is what wsgiref sends', async (_, application, raw) => {
    expect(await amock(application)).toEqual({ output: raw, errors: '' })
  })

  test('of an error is the error page', async () => {
    const { output, errors } = await amock(() => {
      throw new RangeError('oops')
    })
    expect(output).toBe(ERROR_PAGE)
    expect(errors).toMatch(/^GET \/: RangeError: oops\n/)
  })

  test('of SimpleHandler begins with a status line', async () => {
    const output = new Memory()
    const handler = new SimpleHandler(new Input(emptySource), output, new ErrorLog(() => {}), {})
    await handler.run((_, startResponse) => {
      startResponse('200 OK', [['Date', 'now']])
      return ['x']
    })
    expect(output.text).toBe('HTTP/1.0 200 OK\r\nDate: now\r\nContent-Length: 1\r\n\r\nx')
  })
})

describe('The environ of a SimpleHandler', () => {
  test('is complete although none is given', async () => {
    let seen: Record<string, unknown> = {}
    await amock((environ, startResponse) => {
      seen = { ...environ }
      return hello([])(environ, startResponse)
    })
    expect(seen).toMatchObject({ REQUEST_METHOD: 'GET', 'wsgi.url_scheme': 'http' })
    expect(Object.keys(seen)).toEqual(expect.arrayContaining(['wsgi.input', 'wsgi.errors']))
  })

  test('has the given variables and the keys of the gateway', async () => {
    let seen: Record<string, unknown> = {}
    const marker = {}
    const environ = { HTTP_PROXY: 'x', A: '1', 'server.thing': marker, 'server.name': 'y' }
    await amock(
      (given, startResponse) => {
        seen = { ...given }
        return hello([])(given, startResponse)
      },
      { environ },
    )
    expect(seen).toMatchObject({ A: '1', 'server.thing': marker, 'server.name': 'y' })
    expect(seen).not.toHaveProperty('HTTP_PROXY')
  })

  test('is a new object: the given one is not changed', async () => {
    const environ = Object.freeze({ CONTENT_LENGTH: '', A: '1' })
    expect((await amock(hello([]), { environ })).errors).toBe('')
  })
})

describe('The input of a SimpleHandler', () => {
  test('can be a Node stream, of which CONTENT_LENGTH bytes are read', async () => {
    const stdin = new PassThrough()
    stdin.write('hello, and the next request')
    const { output } = await amock(echo, { stdin, environ: { CONTENT_LENGTH: '5' } })
    expect(output).toBe('Status: 200 OK\r\nContent-Length: 5\r\n\r\nhello')
  })

  test('is an error of the peer if it ends early', async () => {
    const { output, errors } = await amock(echo, {
      stdin: Readable.from(['hel']),
      environ: { CONTENT_LENGTH: '5' },
    })
    expect(output).toContain('Status: 400 Bad Request')
    expect(errors).toContain('PORTICO_BODY_CUT_SHORT')
  })

  test('ends with the stream if there is no CONTENT_LENGTH', async () => {
    const { output } = await amock(echo, { stdin: Readable.from([Buffer.from('hello')]) })
    expect(output).toContain('\r\n\r\nhello')
  })
})

test.each([42, null, {}])('run(%j) rejects, before any request', async (application) => {
  const running = handle(new Memory()).handler.run(application as unknown as Application)
  await expect(running).rejects.toThrow(ConfigurationError)
})

describe('An output of a SimpleHandler', () => {
  test('that takes 7 bytes at a time gets all bytes in order, with a warning', async () => {
    class Sevens extends Memory {
      override write(bytes: Buffer): number {
        super.write(bytes.subarray(0, 7))
        return Math.min(7, bytes.length)
      }
    }
    const output = new Sevens()
    const text = 'abcdefghijklmnopqrstuvwxyz'.repeat(100)
    await handle(output).handler.run(hello(new Set([text, 'end'])))
    expect(output.text).toBe(`Status: 200 OK\r\n\r\n${text}end`)
    await turns()
    expect(problems.splice(0)).toMatchObject([
      { name: 'DeprecationWarning', code: 'PORTICO_PARTIAL_WRITE' },
    ])
  })

  test('that takes some bytes, or none, after a while gets all bytes in order', async () => {
    const sizes = [3, 0, 0, 11, 1, 100]
    let at = 0
    class Later extends Memory {
      readonly partialWrites = true

      override write(bytes: Buffer): Promise<number> {
        const size = Math.min(sizes[at++ % sizes.length]!, bytes.length)
        return new Promise((resolve) =>
          setImmediate(() => {
            super.write(bytes.subarray(0, size))
            resolve(size)
          }),
        )
      }
    }
    const output = new Later()
    const text = '0123456789'.repeat(30)
    await handle(output).handler.run(hello(new Set([text, 'end'])))
    expect(output.text).toBe(`Status: 200 OK\r\n\r\n${text}end`)
  })

  test('that is slow gets writes in order although the application does not await them', async () => {
    class Slow extends Memory {
      readonly partialWrites = true
      #turn = 0

      override write(bytes: Buffer): number | Promise<number> {
        const size = Math.min(4, bytes.length)
        super.write(bytes.subarray(0, size))
        this.#turn += 1
        return this.#turn % 3 === 0 ? size : turns().then(() => size)
      }
    }
    const output = new Slow()
    await handle(output).handler.run((_, startResponse) => {
      const write = startResponse('200 OK', [])
      for (const text of ['first ', 'second ', 'third ']) void write(text)
      return ['end']
    })
    expect(output.text).toBe('Status: 200 OK\r\n\r\nfirst second third end')
  })

  test('whose flush() returns a promise is waited for', async () => {
    const flushed = deferred()
    let over = false
    const output = Object.assign(new Memory(), { flush: () => flushed.promise })
    const running = handle(output)
      .handler.run(hello(['x']))
      .then(() => (over = true))
    await turns()
    expect(over).toBe(false)
    flushed.resolve()
    await running
  })

  test.each(['EPIPE', 'ECONNRESET', 'ECONNABORTED'])(
    'that throws %s means that the client has disconnected: the request ends without a log entry',
    async (code) => {
      for (const write of [failing(code), async () => Promise.resolve().then(failing(code))]) {
        for (const chunks of [['a', 'b'], new Set(['a', 'b'])]) {
          const body = new CountingBody(chunks)
          const handled = handle({ write })
          await handled.handler.run(hello(body))
          expect([body.closed, handled.errors]).toEqual([1, ''])
        }
        const handled = handle({ write })
        await handled.handler.run(hello(['a']))
        expect(handled.errors).toBe('')
      }
    },
  )

  test.each(['ENOSPC', undefined])('that throws %s is logged', async (code) => {
    const body = new CountingBody(['a'])
    const handled = handle({ write: failing(code) })
    await handled.handler.run(hello(body))
    expect(handled.errors).toContain('Error: write failed')
    expect(body.closed).toBe(1)
    expect(handled.handler.status).toBe('200 OK')
  })
})

/** A stream whose reader takes nothing until `release()`. */
class Blocked extends Writable {
  text = ''
  #release: (() => void)[] = []

  constructor(highWaterMark = 1) {
    super({ highWaterMark })
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('latin1')
    this.#release.push(done)
  }

  release(): void {
    for (const done of this.#release.splice(0)) done()
  }
}

describe('A Node stream as the output of a SimpleHandler', () => {
  test('that is full is waited for', async () => {
    const output = new Blocked()
    let made = 0
    const running = handle(output).handler.run(function* app(_, startResponse) {
      startResponse('200 OK', [])
      for (; made < 3; made += 1) yield String(made)
    })
    await turns()
    expect(made).toBe(0)
    for (let i = 0; i < 10; i += 1) {
      output.release()
      await turns()
    }
    await running
    expect(output.text).toBe('Status: 200 OK\r\n\r\n012')
  })

  test('that is full often accumulates no listeners, in one request or in many', async () => {
    const output = new PassThrough({ highWaterMark: 1 })
    output.resume()
    for (let i = 0; i < 15; i += 1) {
      await handle(output).handler.run(hello(Array.from({ length: 30 }, () => 'x').values()))
    }
    const counts = ['drain', 'close', 'error'].map((event) => output.listenerCount(event))
    expect(Math.max(...counts)).toBeLessThan(4) // Some are the stream's own. And no warning.
  })

  test('that is full when it is destroyed ends the request', async () => {
    for (const error of [undefined, Object.assign(new Error('gone'), { code: 'EPIPE' })]) {
      const output = new Blocked()
      const body = new CountingBody(['a', 'b'])
      const handled = handle(output)
      const running = handled.handler.run(hello(body))
      await turns()
      output.destroy(error)
      await running
      expect([body.closed, handled.errors]).toEqual([1, ''])
      expect(handled.handler.signal.reason).toMatchObject({ code: 'PORTICO_DISCONNECTED' })
    }
  })

  test('that is destroyed before the last bytes are written ends the request', async () => {
    const output = new Blocked()
    const running = handle(output).handler.run(hello(['a']))
    await turns()
    output.destroy()
    await running
  })

  test('that fails for another reason is logged', async () => {
    const output = new Blocked()
    const handled = handle(output)
    const running = handled.handler.run(hello(new Set(['a', 'b'])))
    await turns()
    output.destroy(new Error('disk full'))
    await running
    expect(handled.errors).toContain('Error: disk full')
  })

  test('that is full when the handler is aborted ends the request, and gets no more bytes', async () => {
    const output = new Blocked()
    const body = new CountingBody(['a', 'b'])
    const { handler } = handle(output)
    const running = handler.run(hello(body))
    await turns()
    handler.abort()
    await running
    output.release()
    await turns()
    expect(body.closed).toBe(1)
    expect(output.text).toBe('Status: 200 OK\r\n\r\na')
  })

  test('that fails after the response does not end the process', async () => {
    const output = new PassThrough()
    await handle(output).handler.run(hello(['a']))
    output.destroy(new Error('late'))
    await new Promise((resolve) => output.once('close', resolve))
  })

  test('that emits its error inside write() ends the request like any other', async () => {
    const output = Object.assign(new EventEmitter(), {
      write(): boolean {
        output.emit('error', Object.assign(new Error('gone'), { code: 'EPIPE' }))
        return false
      },
    })
    const body = new CountingBody(['a', 'b'])
    const handled = handle(output)
    await handled.handler.run(hello(body))
    expect([body.closed, handled.errors]).toEqual([1, ''])
  })
})

test('write() throws an ApplicationError itself, so that it need not be awaited', async () => {
  let thrown: unknown
  await amock((_, startResponse) => {
    const write = startResponse('200 OK', [])
    try {
      void write(5 as unknown as string)
    } catch (error) {
      thrown = error
    }
    return []
  })
  expect(thrown).toBeInstanceOf(ApplicationError)
})
