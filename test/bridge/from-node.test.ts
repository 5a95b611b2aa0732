/** `fromNode` on plain listeners: every byte that leaves, every event that a framework waits for. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners, once } from 'node:events'
import { createServer, IncomingMessage, ServerResponse, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { fromFetch } from '../../src/exports/fetch.ts'
import { fromNode, type NodeListener, type NodeRequest } from '../../src/exports/node.ts'
import { PeerError } from '../../src/errors.ts'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import { placeOf } from '../fixtures/gateways.ts'
import { answer, ERROR_PAGE, start, turns, type Request } from './harness.ts'

const seen = (request: IncomingMessage): NodeRequest => request as NodeRequest

const OK = 'Status: 200 OK\r\n'

describe('the answer', () => {
  test.each<[string, NodeListener, string, Request?]>([
    [
      'of one piece has a length',
      (_, res) => res.end('hello'),
      `${OK}Content-Length: 5\r\n\r\nhello`,
    ],
    ['without a body has the length 0', (_, res) => res.end(), `${OK}Content-Length: 0\r\n\r\n`],
    [
      'of several pieces has none, and no framing',
      (_, res) => {
        res.write('a')
        setImmediate(() => {
          res.write('b')
          res.end('c')
        })
      },
      `${OK}\r\nabc`,
    ],
    [
      'has no framing though the listener asks for it',
      (_, res) => {
        res.setHeader('Transfer-Encoding', 'chunked')
        res.write('a')
        res.end(String(res.getHeader('transfer-encoding')))
      },
      `${OK}Content-Length: 8\r\n\r\nachunked`,
    ],
    [
      'has no header that concerns the connection, and no trailers',
      (_, res) => {
        res.writeHead(200, {
          Connection: 'keep-alive',
          'Keep-Alive': 'timeout=5',
          Upgrade: 'h2c',
          Trailer: 'X-Sum',
          'X-Own': 'yes',
        })
        res.addTrailers({ 'X-Sum': '1' })
        res.write('')
        setImmediate(() => res.end('x'))
      },
      `${OK}X-Own: yes\r\n\r\nx`,
    ],
    [
      'has the headers of writeHead in their order, repeated ones each',
      (_, res) => {
        res.writeHead(201, 'Made it', [
          'X-B',
          '1',
          'Set-Cookie',
          'a',
          'X-A',
          '2',
          'set-cookie',
          'b',
        ])
        res.end('x')
      },
      'Status: 201 Made it\r\nX-B: 1\r\nSet-Cookie: a\r\nX-A: 2\r\nset-cookie: b\r\n' +
        'Content-Length: 1\r\n\r\nx',
    ],
    [
      'has several cookies that were set as a list',
      (_, res) => res.setHeader('Set-Cookie', ['a=1', 'b=2']).end('x'),
      `${OK}Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'may lack a reason',
      (_, res) => res.writeHead(299, ' ').end('x'),
      'Status: 299  \r\nContent-Length: 1\r\n\r\nx',
    ],
    [
      'is not mixed up with interim answers, whose callbacks are called',
      (_, res) => {
        res.writeContinue(() => {
          res.writeProcessing(() => {
            res.writeEarlyHints({ link: '</a.css>; rel=preload' }, () => res.end('x'))
          })
        })
      },
      `${OK}Content-Length: 1\r\n\r\nx`,
    ],
    [
      'to HEAD has the length but no body',
      (_, res) => {
        res.setHeader('Content-Length', 5)
        res.write('hello')
        res.end()
      },
      `${OK}Content-Length: 5\r\n\r\n`,
      { variables: { REQUEST_METHOD: 'HEAD' } },
    ],
    [
      'of status 204 has no body',
      (_, res) => res.writeHead(204).end('x'),
      'Status: 204 No Content\r\n\r\n',
    ],
    [
      'of status 304 has no body',
      (_, res) => res.writeHead(304, { ETag: '"1"' }).end('x'),
      'Status: 304 Not Modified\r\nETag: "1"\r\n\r\n',
    ],
    [
      'has latin-1 in its head beside UTF-8 in its body',
      (_, res) => {
        res.setHeader('X-Name', 'J\xfcrgen')
        res.end('J\xfcrgen')
      },
      `${OK}X-Name: J\xfcrgen\r\nContent-Length: 7\r\n\r\nJ\xc3\xbcrgen`,
    ],
    [
      'is encoded as the listener says',
      (_, res) => res.end('aGVsbG8=', 'base64'),
      `${OK}Content-Length: 5\r\n\r\nhello`,
    ],
    [
      'to HTTP/1.0 has a length as well',
      (_, res) => res.end('hello'),
      `${OK}Content-Length: 5\r\n\r\nhello`,
      { variables: { SERVER_PROTOCOL: 'HTTP/1.0' } },
    ],
    [
      'may be corked',
      (_, res) => {
        res.cork()
        res.write('a')
        res.write('b')
        res.uncork()
        res.end('c')
      },
      `${OK}\r\nabc`,
    ],
  ])('%s', async (_, listener, out, request) => {
    expect(await answer(fromNode(listener), request)).toEqual({ out, err: '' })
  })

  test('larger than what goes out at once has its length for HTTP/1.0, too', async () => {
    const variables = { SERVER_PROTOCOL: 'HTTP/1.0' }
    const application = fromNode((_, res) => res.end('x'.repeat(100_000)))
    const { out } = await answer(application, { variables })
    expect(out.split('x')[0]).toBe(`${OK}Content-Length: 100000\r\n\r\n`)
  })

  test.each([
    ['ASCII', 'a'.repeat(20_000)],
    ['of Latin-1', 'J\xfcrgen '.repeat(5_000)],
    ['of other characters', '\u20ac\ud83d\ude00\ud800!'.repeat(10_000)],
  ])('of a long text, %s, is its bytes in UTF-8', async (_, long) => {
    const bytes = Buffer.from(long).toString('latin1')
    const length = `Content-Length: ${bytes.length}\r\n\r\n`
    let written = 0
    const whole = await answer(
      fromNode((_req, res) => {
        res.end(long)
        written = res.socket!.bytesWritten
      }),
    )
    expect(whole).toEqual({ out: OK + length + bytes, err: '' })
    expect(written).toBe(bytes.length)
    const latin1 = await answer(fromNode((_req, res) => res.end(long, 'latin1')))
    expect(latin1.out.split('\r\n\r\n')[1]).toBe(Buffer.from(long, 'latin1').toString('latin1'))
    const fetched = await answer(fromFetch(() => new Response(long)))
    expect(fetched.out).toBe(`${OK}content-type: text/plain;charset=UTF-8\r\n${length}${bytes}`)
  })

  test('that is large is finished only when it has been taken', async () => {
    let release!: () => void
    const output = {
      write: () => false,
      on: (event: string, listener: (error: Error) => void) => {
        if (event === 'drain') release = listener as () => void
      },
    }
    let finished = false
    const running = start(
      fromNode((_, res) => res.end(Buffer.alloc(100_000), () => (finished = true))),
      { output },
    )
    await turns()
    expect(finished).toBe(false)
    release() // The head
    await turns()
    expect(finished).toBe(false)
    release()
    await running.done
    expect(finished).toBe(true)
  })

  test('leaves no listener to the signal, though it took its time', async () => {
    let signal!: AbortSignal
    const application = fromNode(async (req, res) => {
      signal = seen(req).environ['portico.signal']
      await turns()
      expect(getEventListeners(signal, 'abort')).toHaveLength(1)
      res.end('x')
    })
    expect((await answer(application)).err).toBe('')
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('larger than what goes out at once is complete', async () => {
    const body = 'x'.repeat(1_000_000)
    const { out, err } = await answer(fromNode((_, res) => res.end(body)))
    expect(err).toBe('')
    expect(out === `${OK}Content-Length: 1000000\r\n\r\n${body}`).toBe(true)
  })

  test('begins with its head as soon as that is flushed', async () => {
    let response!: ServerResponse
    const running = start(
      fromNode((_, res) => {
        response = res
        res.setHeader('Content-Type', 'text/event-stream')
        res.flushHeaders()
      }),
    )
    await turns()
    expect(running.out).toBe(`${OK}Content-Type: text/event-stream\r\n\r\n`)
    response.write('data: 1\n\n')
    await turns()
    expect(running.out).toBe(`${OK}Content-Type: text/event-stream\r\n\r\ndata: 1\n\n`)
    response.end()
    expect(await running.done).toMatchObject({ err: '' })
  })

  test('is written no faster than it is taken, and drains', async () => {
    let release!: () => void
    let taken = 0
    const output = {
      write: (bytes: Buffer) => {
        taken += bytes.length
        return false
      },
      on: (event: string, listener: (error: Error) => void) => {
        if (event === 'drain') release = listener as () => void
      },
    }
    let response!: ServerResponse
    let drains = 0
    const running = start(
      fromNode((_, res) => {
        response = res
        res.on('drain', () => (drains += 1))
        res.flushHeaders()
      }),
      { output },
    )
    await turns()
    const head = taken
    let written = 0
    while (response.write(Buffer.alloc(1024))) written += 1024
    written += 1024
    expect(written).toBe(response.writableHighWaterMark)
    expect(response.writableNeedDrain).toBe(true)
    await turns()
    expect([taken, drains]).toEqual([head, 0])
    release()
    await turns()
    expect([taken, drains]).toEqual([head + written, 0])
    release()
    await turns()
    expect([drains, response.writableNeedDrain]).toEqual([1, false])
    response.end()
    await running.done
  })

  test('of a pipeline of many pieces is complete', async () => {
    const pieces = Array.from({ length: 500 }, (_, i) => `${i}\n`.repeat(100))
    const application = fromNode((_, res) => pipeline(Readable.from(pieces), res))
    expect(await answer(application)).toEqual({ out: `${OK}\r\n${pieces.join('')}`, err: '' })
  })

  test('ends with finish and then close, once each, and a socket that is gone', async () => {
    const events: string[] = []
    let calls = 0
    const application = fromNode((req, res) => {
      for (const event of ['prefinish', 'finish', 'close', 'error']) {
        res.on(event, () => events.push(`response ${event}`))
      }
      for (const event of ['aborted', 'end', 'close', 'error']) {
        req.on(event, () => events.push(`request ${event}`))
      }
      res.on('close', () => events.push(String([res.writableFinished, req.socket.destroyed])))
      res.end('x', () => (calls += 1))
    })
    await answer(application)
    await turns()
    expect(calls).toBe(1)
    expect(events.filter((event) => !event.startsWith('request'))).toEqual([
      'response prefinish',
      'response finish',
      'response close',
      'true,true',
    ])
    expect(events.filter((event) => event.startsWith('request'))).toEqual([
      'request end',
      'request close',
    ])
  })
})

describe('an error', () => {
  const boom = new Error('Boom')
  test.each<[string, NodeListener]>([
    [
      'that the listener throws',
      () => {
        throw boom
      },
    ],
    ['that the listener rejects with', () => Promise.reject(boom)],
    ['that the response is destroyed for', (_, res) => res.destroy(boom)],
    ['that the request is destroyed for', (req) => req.destroy(boom)],
    ['that the response emits', (_, res) => res.emit('error', boom)],
  ])('%s is answered with the error page', async (_, listener) => {
    const { out, err } = await answer(fromNode(listener))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('Error: Boom')
  })

  test('after the head breaks the answer off', async () => {
    const application = fromNode(async (_, res) => {
      res.setHeader('Content-Length', '10')
      res.write('part')
      await turns()
      throw boom
    })
    const { out, err } = await answer(application)
    expect(out).toBe(`${OK}Content-Length: 10\r\n\r\npart`)
    expect(err).toContain('Error: Boom')
  })

  test('after the answer is logged', async () => {
    const application = fromNode(async (_, res) => {
      res.end('x')
      await turns()
      throw boom
    })
    const running = start(application)
    expect((await running.done).out).toBe(`${OK}Content-Length: 1\r\n\r\nx`)
    await turns(10)
    expect(running.err).toContain('Error: Boom')
  })

  test.each([1, 100_000])('of who hears that %i bytes have been sent is logged', async (size) => {
    const application = fromNode((_, res) => {
      res.on('finish', () => {
        throw boom
      })
      res.end('x'.repeat(size))
    })
    const running = start(application)
    expect((await running.done).out).toBe(`${OK}Content-Length: ${size}\r\n\r\n${'x'.repeat(size)}`)
    await turns()
    expect(running.err).toContain('Error: Boom')
  })

  test('of a write after the end is logged and ends nothing', async () => {
    const application = fromNode((_, res) => {
      res.end('x')
      res.write('y')
    })
    const running = start(application)
    await running.done
    await turns()
    expect(running.err).toContain('ERR_STREAM_WRITE_AFTER_END')
  })

  test.each<[string, NodeListener]>([
    ['response that is destroyed', (_, res) => res.destroy()],
    ['request that is destroyed', (req) => req.destroy()],
    ['socket that is destroyed', (req) => req.socket.destroy()],
    ['socket that is ended', (req) => req.socket.end()],
    ['socket that is to be destroyed', (_, res) => res.socket!.destroySoon()],
  ])('a %s for no reason is one', async (_, listener) => {
    const { out, err } = await answer(fromNode(listener))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('ApplicationError: The application destroyed its response')
  })

  test('a socket that is ended behind the answer lets that go out', async () => {
    const application = fromNode((req, res) => {
      res.write('x'.repeat(100_000))
      res.end('y')
      req.socket.end()
    })
    expect((await answer(application)).out.slice(-3)).toBe('xxy')
  })

  test.each([
    ['of the body', 'PORTICO_BODY_CUT_SHORT', { body: 'ab', variables: { CONTENT_LENGTH: '5' } }],
  ] as const)('%s is the client’s: 400', async (_, code, request) => {
    const events: string[] = []
    const application = fromNode(async (req, res) => {
      req.on('aborted', () => events.push('aborted'))
      res.on('close', () => events.push('close'))
      await text(req)
    })
    const { out, err } = await answer(application, request)
    expect(out).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(err).toContain(code)
    await turns()
    expect(events).toEqual(['aborted', 'close'])
  })
})

const targets = (req: IncomingMessage): string[] => {
  const { url, baseUrl, originalUrl } = seen(req)
  return [url!, baseUrl, originalUrl]
}

describe('the request', () => {
  test.each<[string, Record<string, string>, unknown]>([
    ['root', { PATH_INFO: '/' }, ['/', '', '/']],
    ['nothing', { PATH_INFO: '' }, ['/', '', '/']],
    ['query', { PATH_INFO: '/a', QUERY_STRING: 'b=%20' }, ['/a?b=%20', '', '/a?b=%20']],
    ['mount', { SCRIPT_NAME: '/m', PATH_INFO: '/a' }, ['/a', '/m', '/m/a']],
    [
      'the bare mount with a query',
      { SCRIPT_NAME: '/m', PATH_INFO: '', QUERY_STRING: 'q' },
      ['/?q', '/m', '/m?q'],
    ],
    [
      'bytes',
      { SCRIPT_NAME: '/\xfc', PATH_INFO: '/a b%/\xc3\xbc"<>' },
      ['/a%20b%25/%C3%BC%22%3C%3E', '/%FC', '/%FC/a%20b%25/%C3%BC%22%3C%3E'],
    ],
    [
      'the client’s own spelling',
      {
        SCRIPT_NAME: '/m x',
        PATH_INFO: "/a/b'é".replace('é', '\xe9'),
        REQUEST_URI: "/%6d%20x/a%2Fb'%E9?ignored",
      },
      ["/a%2Fb'%E9", '/%6d%20x', "/%6d%20x/a%2Fb'%E9"],
    ],
    [
      'an absolute target',
      { PATH_INFO: '/a b', REQUEST_URI: 'http://other/a%20b?q', QUERY_STRING: 'q' },
      ['/a%20b?q', '', '/a%20b?q'],
    ],
    ['a rewritten path', { PATH_INFO: '/new', REQUEST_URI: '/old' }, ['/new', '', '/new']],
    ['repeated slashes', { PATH_INFO: '//a//', REQUEST_URI: '//a//' }, ['//a//', '', '//a//']],
    ['an asterisk', { REQUEST_METHOD: 'OPTIONS', PATH_INFO: '', REQUEST_URI: '*' }, ['*', '', '*']],
    [
      'a percent sign that is none',
      { SCRIPT_NAME: '/%', PATH_INFO: '/%zz', REQUEST_URI: '/%/%zz' },
      ['/%zz', '/%', '/%/%zz'],
    ],
  ])('has a target that comes of %s', async (_, variables, expected) => {
    let told: unknown
    const application = fromNode((req, res) => {
      told = targets(req)
      res.end()
    })
    await answer(application, { variables })
    expect(told).toEqual(expected)
  })

  test('has what a parser of node:http would have put there', async () => {
    let told: unknown
    const application = fromNode((req, res) => {
      const { socket } = req
      told = {
        real: req instanceof IncomingMessage && res instanceof ServerResponse,
        version: [req.httpVersion, req.httpVersionMajor, req.httpVersionMinor],
        raw: req.rawHeaders,
        headers: req.headers,
        from: [socket.remoteAddress, socket.remotePort, socket.remoteFamily],
        to: [socket.localAddress, socket.localPort, socket.localFamily, socket.address()],
        encrypted: 'encrypted' in socket && socket.encrypted,
        user: seen(req).environ['REMOTE_USER'],
        open: [socket.readable, socket.writable, socket.destroyed, socket.readyState],
        complete: req.complete,
      }
      socket.setNoDelay(true).setKeepAlive(true).ref().unref()
      res.end()
    })
    await answer(application, {
      variables: {
        HTTP_HOST: 'a.example',
        HTTP_X_FORWARDED_FOR: '10.0.0.1',
        HTTP_COOKIE: 'a=1; b=2',
        CONTENT_TYPE: 'text/plain',
        CONTENT_LENGTH: '', // As nginx's fastcgi_params have it on a GET.
        HTTPS: 'on',
        SERVER_PORT: '443',
        SERVER_ADDR: '192.0.2.1',
        REMOTE_ADDR: '2001:db8::1',
        REMOTE_PORT: '5000',
        REMOTE_USER: 'ada',
      },
    })
    expect(told).toEqual({
      real: true,
      version: ['1.1', 1, 1],
      raw: 'Host a.example X-Forwarded-For 10.0.0.1 Cookie a=1;+b=2 Content-Type text/plain'
        .split(' ')
        .map((word) => word.replace('+', ' ')),
      headers: {
        host: 'a.example',
        'x-forwarded-for': '10.0.0.1',
        cookie: 'a=1; b=2',
        'content-type': 'text/plain',
      },
      from: ['2001:db8::1', 5000, 'IPv6'],
      to: ['192.0.2.1', 443, 'IPv4', { address: '192.0.2.1', family: 'IPv4', port: 443 }],
      encrypted: true,
      user: 'ada',
      open: [true, true, false, 'open'],
      complete: true,
    })
  })

  test.each([
    ['HTTP/1.0', '1.0'],
    ['HTTP/1.1', '1.1'],
    ['HTTP/2.0', '1.1'],
    ['INCLUDED', '1.1'],
  ])('of %s says %s', async (protocol, version) => {
    const application = fromNode((req, res) => res.end(req.httpVersion))
    const { out } = await answer(application, { variables: { SERVER_PROTOCOL: protocol } })
    expect(out).toContain(`\r\n\r\n${version}`)
  })

  test('is read only when the listener reads it', async () => {
    const asked: number[] = []
    const body = {
      read: (size: number) => {
        asked.push(size)
        return Buffer.alloc(Math.min(size, 1000), 'x')
      },
    }
    const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '1000000' }
    let sizes: number[] = []
    const application = fromNode(async (req, res) => {
      await turns()
      sizes = [asked.length]
      await req[Symbol.asyncIterator]().next()
      res.end('enough')
    })
    void start(application, { body, variables })
    await turns(20)
    expect(sizes).toEqual([0])
    expect(asked.length).toBeGreaterThan(0)
    // Node fills its buffer, and no more.
    expect(asked.length).toBeLessThan(100)
  })

  test.each(['GET', 'POST'])('of %s whose body nobody reads is no abort', async (method) => {
    const events: string[] = []
    const application = fromNode((req, res) => {
      for (const event of ['aborted', 'end', 'close', 'error']) {
        req.on(event, () => events.push(event))
      }
      res.end('x')
    })
    await answer(application, { body: 'unread', variables: { REQUEST_METHOD: method } })
    await turns()
    expect(events).toEqual(['end', 'close'])
  })

  const behind: [string, (req: IncomingMessage) => Promise<number>][] = [
    ['in pieces', async (req) => (await text(req)).length],
    [
      'as events',
      async (req) => {
        let size = 0
        req.on('data', (chunk: Buffer) => (size += chunk.length))
        await once(req, 'end')
        return size
      },
    ],
  ]
  test.each(behind)('can be read behind the answer, %s', async (_, read) => {
    for (const size of [10, 300_000]) {
      const events: string[] = []
      const application = fromNode((req, res) => {
        req.on('aborted', () => events.push('aborted'))
        res.on('close', () => events.push('close'))
        res.writeHead(202).end('Accepted')
        void read(req).then(
          (count) => events.push(`read ${count}`),
          () => events.push('lost'),
        )
      })
      const variables = { REQUEST_METHOD: 'POST' }
      const { out, err } = await answer(application, { body: 'y'.repeat(size), variables })
      await turns()
      expect([out.split('\r\n')[0], out.endsWith('Accepted'), err]).toEqual([
        'Status: 202 Accepted',
        true,
        '',
      ])
      expect(events.toSorted()).toEqual(['close', `read ${size}`])
    }
  })

  test('that is read behind the answer ends when the client goes away', async () => {
    const events: string[] = []
    const source = { read: () => new Promise<never>(() => {}) }
    const running = start(
      fromNode((req, res) => {
        req.on('error', (error: NodeJS.ErrnoException) => events.push(error.code!))
        req.resume().on('close', () => events.push('close'))
        res.end('Accepted')
      }),
      { body: source, variables: { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '10' } },
    )
    await turns()
    expect(running.out).toContain('\r\n\r\nAccepted')
    expect(events).toEqual([])
    running.handler.abort()
    await running.done
    expect([events, running.err]).toEqual([['ECONNRESET', 'close'], ''])
  })

  test('ends with the response that the application destroys', async () => {
    const events: string[] = []
    const application = fromNode((req, res) => {
      for (const event of ['aborted', 'end', 'close']) req.on(event, () => events.push(event))
      req.on('error', (error: NodeJS.ErrnoException) => events.push(error.code!))
      res.destroy()
    })
    await answer(application, { body: 'unread', variables: { REQUEST_METHOD: 'POST' } })
    await turns()
    expect(events).toEqual(['aborted', 'ECONNRESET', 'close'])
  })

  test('has a body that is whole, though it comes in pieces', async () => {
    const application = fromNode(async (req, res) => {
      const body = await text(req)
      res.end(`${req.complete} ${body.length}`)
    })
    const body = 'y'.repeat(300_000)
    const { out } = await answer(application, { body, variables: { REQUEST_METHOD: 'POST' } })
    expect(out).toContain('\r\n\r\ntrue 300000')
  })
})

test.each([
  [
    'websocket',
    'Status: 501 Not Implemented\r\n',
    'WebSockets cannot pass through this gateway.\n',
  ],
  ['h2c', OK, 'ordinary'], // A server may ignore it (RFC 9110, section 7.8).
])('a request to upgrade to %s is answered', async (upgrade, head, body) => {
  const application = fromNode((_, res) => res.end('ordinary'))
  const variables = { HTTP_UPGRADE: upgrade, HTTP_CONNECTION: 'Upgrade' }
  const { out } = await answer(application, { variables })
  expect(out.startsWith(head) && out.endsWith(`\r\n\r\n${body}`)).toBe(true)
})

test.each<[string, (req: IncomingMessage, res: ServerResponse) => void, string]>([
  ['the response', (_, res) => res.setTimeout(1, () => res.end('late')), 'late'],
  ['the request', (req, res) => req.setTimeout(1, () => res.end('late')), 'late'],
  ['the socket', (req, res) => req.socket.setTimeout(1, () => res.end('late')), 'late'],
  ['nobody', (req) => req.socket.setTimeout(1), 'The application destroyed its response'],
])('a timeout is heard by %s', async (_, listener, expected) => {
  const { out, err } = await answer(fromNode(listener))
  expect(out + err).toContain(expected)
})

test('a body that comes slowly is no timeout', async () => {
  let left = 6
  const body = {
    async read() {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return (left -= 1) > 0 ? Buffer.from('x') : null
    },
  }
  const application = fromNode((req, res) => {
    req.setTimeout(80, () => res.end('late'))
    req.resume().on('end', () => res.writableEnded || res.end('read'))
  })
  const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '5' }
  expect((await answer(application, { body, variables })).out).toContain('\r\n\r\nread')
})

test.each([
  ['short', 'x'],
  ['long', 'x'.repeat(100_000)],
])('the end of a %s answer is in the context of its request', async (_, long) => {
  const context = new AsyncLocalStorage<string>()
  const told: unknown[] = []
  const application = fromNode((_req, res) => {
    context.run('this one', () => {
      for (const event of ['finish', 'close']) res.on(event, () => told.push(context.getStore()))
      setImmediate(() => res.end(long, () => told.push(context.getStore())))
    })
  })
  await answer(application)
  await turns()
  expect(told).toEqual(['this one', 'this one', 'this one'])
})

describe('what is no listener', () => {
  test('an http.Server that never listens', async () => {
    const server = createServer()
    const calls: string[] = []
    server.on('request', () => calls.push('first'))
    server.on('request', (_, res) => res.end('request'))
    expect((await answer(fromNode(server))).out).toContain('\r\n\r\nrequest')
    const variables = { HTTP_EXPECT: '100-continue' }
    expect((await answer(fromNode(server), { variables })).out).toContain('\r\n\r\nrequest')
    server.on('checkContinue', (_, res) => res.end('checked'))
    expect((await answer(fromNode(server), { variables })).out).toContain('\r\n\r\nchecked')
    expect(calls).toEqual(['first', 'first'])
  })

  test.each([
    [undefined, 'request'],
    ['100-continue', 'checked'],
    ['100-Continue', 'checked'],
    ['a miracle', 'expected'],
  ])('an http.Server that is asked what it says to Expect: %s', async (expectation, said) => {
    const server = createServer((_, res) => res.end('request'))
    const variables = { ...(expectation && { HTTP_EXPECT: expectation }) }
    expect((await answer(fromNode(server), { variables })).out).toContain('\r\n\r\nrequest')
    server.on('checkContinue', (_, res) => res.end('checked'))
    server.on('checkExpectation', (_, res) => res.writeHead(417).end('expected'))
    expect((await answer(fromNode(server), { variables })).out).toContain(`\r\n\r\n${said}`)
  })

  test.each<[string, (server: Server) => void, string]>([
    ['nobody', () => {}, 'The application destroyed its response'],
    [
      'the server',
      (server) => server.on('timeout', (socket: Socket & { late?: () => void }) => socket.late!()),
      '\r\n\r\nlate',
    ],
  ])('an http.Server’s time limit is heard by %s', async (_, listen, expected) => {
    const server = createServer((req, res) => {
      Object.assign(req.socket, { late: () => res.end('late') })
    })
    server.setTimeout(1)
    listen(server)
    const { out, err } = await answer(fromNode(server))
    expect(out + err).toContain(expected)
  })

  test('an http.Server without a listener is refused', () => {
    expect(() => fromNode(createServer())).toThrow('has no listener for requests')
  })

  test('a router that has to be ready is asked until it is', async () => {
    let attempts = 0
    const router = {
      ready: () => ((attempts += 1) === 1 ? Promise.reject(new Error('Early')) : Promise.resolve()),
      routing: (_: IncomingMessage, res: ServerResponse) => res.end(`attempt ${attempts}`),
    }
    const application = fromNode(router)
    expect((await answer(application)).err).toContain('Error: Early')
    expect((await answer(application)).out).toContain('attempt 2')
    expect((await answer(application)).out).toContain('attempt 2')
  })

  test.each([[{}], [null], [42]])('%j is refused', (source) => {
    expect(() => fromNode(source as never)).toThrow('fromNode() takes a listener')
  })
})

async function serving(
  listener: NodeListener,
  ask: (port: ReturnType<typeof placeOf>) => Promise<void>,
): Promise<void> {
  const server = await new HTTPHandler({ listen: 0 }).run(fromNode(listener))
  try {
    await ask(placeOf(server))
  } finally {
    await server.close()
  }
}

const headersOf: NodeListener = async (req, res) => {
  const { 'transfer-encoding': encoding, 'content-length': length } = req.headers
  res.end(JSON.stringify([encoding, length, await text(req)]))
}

describe('behind HTTPHandler', () => {
  test.each([
    ['sent chunked is announced', 'POST', ['ab', 'c'], ['chunked', null, 'abc']],
    ['that is not there is not', 'POST', undefined, [null, null, '']],
    ['sent chunked that is empty is not', 'DELETE', [], [null, null, '']],
    ['with a length has that', 'PUT', 'abc', [null, '3', 'abc']],
    ['of a type that is empty has the length 0', 'POST', [], [null, '0', ''], 'text/plain'],
  ] as const)('a body %s', async (_, method, body, expected, type?: string) => {
    await serving(headersOf, async (place) => {
      const headers: [string, string][] = type === undefined ? [] : [['Content-Type', type]]
      const request = { method, headers, ...(body === undefined ? {} : { body }) }
      const response = await httpRequest(place, request)
      expect(JSON.parse(String(response.body))).toEqual(expected)
    })
  })

  test('a client that waits for 100 (Continue) gets it when the body is read', async () => {
    await serving(headersOf, async (place) => {
      const headers: [string, string][] = [['Expect', '100-continue']]
      const response = await httpRequest(place, { method: 'POST', headers, body: 'abc' })
      expect(response.informational.map(({ status }) => status)).toEqual([100])
      expect(JSON.parse(String(response.body))).toEqual([null, '3', 'abc'])
    })
  })

  test('an answer is finished only when the client has taken it', async () => {
    const state = { finished: false }
    const body = Buffer.alloc(32 * 1024 * 1024)
    const listener: NodeListener = (_, res) => res.end(body, () => (state.finished = true))
    await serving(listener, async (place) => {
      const connection = await openHttp(place)
      const response = await connection.stream()
      await turns(20)
      expect(state.finished).toBe(false)
      let size = 0
      for await (const chunk of response.chunks()) size += chunk.length
      expect(size).toBe(body.length)
      await turns(20)
      expect(state.finished).toBe(true)
      connection.close()
    })
  })

  test('a client that goes away is an abort for request and response', async () => {
    const events: string[] = []
    let over: () => void
    const closed = new Promise<void>((resolve) => (over = resolve))
    const listener: NodeListener = (req, res) => {
      req.on('aborted', () => events.push('aborted'))
      req.on('error', (error: NodeJS.ErrnoException) => events.push(`error ${error.code}`))
      res.on('finish', () => events.push('finish'))
      req.socket.on('error', () => events.push('socket error')) // Koa logs those.
      res.on('close', () => {
        events.push(`close ${res.writableFinished} ${seen(req).environ['portico.signal'].aborted}`)
        over()
      })
      res.write('begun')
    }
    await serving(listener, async (place) => {
      const connection = await openHttp(place)
      await connection.stream({})
      connection.close()
      await closed
    })
    expect(events.toSorted()).toEqual(['aborted', 'close false true', 'error ECONNRESET'])
  })

  test('an upload that breaks off is an abort, and the process goes on', async () => {
    const failures: unknown[] = []
    const listener: NodeListener = async (req, res) => {
      if (req.method === 'GET') return res.end('alive')
      return text(req).catch((error: unknown) => failures.push(error))
    }
    await serving(listener, async (place) => {
      const connection = await openHttp(place)
      await connection.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
      await turns()
      connection.close()
      while (failures.length === 0) await turns(1)
      expect(failures[0]).toSatisfy((error) => error instanceof Error)
      expect(String((await httpRequest(place)).body)).toBe('alive')
    })
  })
})

test('an abort before the answer tells nobody but the listener', async () => {
  const events: string[] = []
  const running = start(
    fromNode((_, res) => {
      res.on('close', () => {
        events.push('close')
        res.end('for nobody')
      })
    }),
  )
  await turns()
  running.handler.abort(new PeerError('PORTICO_DISCONNECTED', 'gone'))
  await running.done
  expect(events).toEqual(['close'])
  expect([running.out, running.err]).toEqual(['', ''])
})
