/** `fromNode` on plain listeners: every byte that is sent, and every event that frameworks use. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners, once } from 'node:events'
import { createServer, IncomingMessage, ServerResponse, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import express from 'express'
import { describe, expect, test } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { fromFetch } from '../../src/exports/fetch.ts'
import { bodyLimit } from '../../src/exports/middleware.ts'
import { fromNode, type NodeListener, type NodeRequest } from '../../src/exports/node.ts'
import { PeerError } from '../../src/errors.ts'
import type { Application } from '../../src/types.ts'
import { httpRequest, openHttp } from '../../src/testing/raw-http-client.ts'
import { addressOf } from '../fixtures/gateways.ts'
import { validator } from '../../src/validate/validator.ts'
import { respond, ERROR_PAGE, start, turns, type Request } from './harness.ts'

const seen = (request: IncomingMessage): NodeRequest => request as NodeRequest

const OK = 'Status: 200 OK\r\n'

describe('A response of a node:http listener', () => {
  test.each<[string, NodeListener, string, Request?]>([
    [
      'has a Content-Length if it is one chunk',
      (_, res) => res.end('hello'),
      `${OK}Content-Length: 5\r\n\r\nhello`,
    ],
    [
      'has Content-Length 0 if it has no body',
      (_, res) => res.end(),
      `${OK}Content-Length: 0\r\n\r\n`,
    ],
    [
      'has no Content-Length and no chunked framing if its chunks come one by one',
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
      'has no chunked framing and no Content-Length if the listener sets Transfer-Encoding',
      (_, res) => {
        res.setHeader('Transfer-Encoding', 'chunked')
        res.write('a')
        res.end(String(res.getHeader('transfer-encoding')))
      },
      `${OK}\r\nachunked`,
    ],
    [
      'has no Content-Length if the listener removes it',
      (_, res) => {
        res.setHeader('Content-Length', 1)
        res.removeHeader('Content-Length')
        res.end('x')
      },
      `${OK}\r\nx`,
    ],
    [
      'has no headers about the connection, no trailers, and no second status',
      (_, res) => {
        res.setHeader('Status', '404 Not Found')
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
      'has the headers of writeHead() in their order, with repeated ones',
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
      'has one Set-Cookie header for each cookie of a list',
      (_, res) => res.setHeader('Set-Cookie', ['a=1', 'b=2']).end('x'),
      `${OK}Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      'may have an empty reason phrase',
      (_, res) => res.writeHead(299, ' ').end('x'),
      'Status: 299  \r\nContent-Length: 1\r\n\r\nx',
    ],
    [
      'does not contain 1xx responses, whose callbacks are called',
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
      'to HEAD has the Content-Length but no body',
      (_, res) => {
        res.setHeader('Content-Length', 5)
        res.write('hello')
        res.end()
      },
      `${OK}Content-Length: 5\r\n\r\n`,
      { variables: { REQUEST_METHOD: 'HEAD' } },
    ],
    [
      'with status 204 has no body',
      (_, res) => res.writeHead(204).end('x'),
      'Status: 204 No Content\r\n\r\n',
    ],
    [
      'with status 304 has no body',
      (_, res) => res.writeHead(304, { ETag: '"1"' }).end('x'),
      'Status: 304 Not Modified\r\nETag: "1"\r\n\r\n',
    ],
    [
      'has Latin-1 in its head and UTF-8 in its body',
      (_, res) => {
        res.setHeader('X-Name', 'J\xfcrgen')
        res.end('J\xfcrgen')
      },
      `${OK}X-Name: J\xfcrgen\r\nContent-Length: 7\r\n\r\nJ\xc3\xbcrgen`,
    ],
    [
      'is decoded from the encoding that the listener names',
      (_, res) => res.end('aGVsbG8=', 'base64'),
      `${OK}Content-Length: 5\r\n\r\nhello`,
    ],
    [
      'to HTTP/1.0 has a Content-Length',
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
      `${OK}Content-Length: 3\r\n\r\nabc`,
    ],
    [
      'may get null as headers',
      (_, res) => res.writeHead(201, 'Made', null as never).end(),
      'Status: 201 Made\r\nContent-Length: 0\r\n\r\n',
    ],
    [
      'is complete if it is destroyed after its end',
      (_, res) => {
        res.write('a')
        res.end('b').destroy()
      },
      `${OK}Content-Length: 2\r\n\r\nab`,
    ],
  ])('%s', async (_, listener, out, request) => {
    expect(await respond(fromNode(listener), request)).toEqual({ out, err: '' })
  })

  test('to HTTP/1.0 has a Content-Length even if it is larger than 64 KiB', async () => {
    const variables = { SERVER_PROTOCOL: 'HTTP/1.0' }
    const application = fromNode((_, res) => res.end('x'.repeat(100_000)))
    const { out } = await respond(application, { variables })
    expect(out.split('x')[0]).toBe(`${OK}Content-Length: 100000\r\n\r\n`)
  })

  test.each([
    ['ASCII', 'a'.repeat(20_000)],
    ['Latin-1', 'J\xfcrgen '.repeat(5_000)],
    ['other characters', '\u20ac\ud83d\ude00\ud800!'.repeat(10_000)],
  ])('of a long string of %s is sent as UTF-8', async (_, long) => {
    const bytes = Buffer.from(long).toString('latin1')
    const length = `Content-Length: ${bytes.length}\r\n\r\n`
    let written = 0
    const whole = await respond(
      fromNode((_req, res) => {
        res.end(long)
        written = res.socket!.bytesWritten
      }),
    )
    expect(whole).toEqual({ out: OK + length + bytes, err: '' })
    expect(written).toBe(bytes.length)
    const latin1 = await respond(fromNode((_req, res) => res.end(long, 'latin1')))
    expect(latin1.out.split('\r\n\r\n')[1]).toBe(Buffer.from(long, 'latin1').toString('latin1'))
    const fetched = await respond(fromFetch(() => new Response(long)))
    expect(fetched.out).toBe(`${OK}content-type: text/plain;charset=UTF-8\r\n${length}${bytes}`)
  })

  test('finishes only after the gateway has sent a large body', async () => {
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

  test('that is sent late leaves no listener on portico.signal', async () => {
    let signal!: AbortSignal
    const application = fromNode(async (req, res) => {
      signal = seen(req).environ['portico.signal']
      await turns()
      expect(getEventListeners(signal, 'abort')).toHaveLength(1)
      res.end('x')
    })
    expect((await respond(application)).err).toBe('')
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('of 1 MB is complete', async () => {
    const body = 'x'.repeat(1_000_000)
    const { out, err } = await respond(fromNode((_, res) => res.end(body)))
    expect(err).toBe('')
    expect(out === `${OK}Content-Length: 1000000\r\n\r\n${body}`).toBe(true)
  })

  test('begins with its head as soon as flushHeaders() is called', async () => {
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

  test('is written no faster than the gateway sends it, and emits drain', async () => {
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

  test('of a pipeline with 500 chunks is complete', async () => {
    const texts = Array.from({ length: 500 }, (_, i) => `${i}\n`.repeat(100))
    const application = fromNode((_, res) => pipeline(Readable.from(texts), res))
    expect(await respond(application)).toEqual({ out: `${OK}\r\n${texts.join('')}`, err: '' })
  })

  test('emits finish and close if it is corked after its end', async () => {
    const events: string[] = []
    const application = fromNode((_, res) => {
      for (const event of ['finish', 'close']) res.on(event, () => events.push(event))
      res.end('x').cork()
    })
    await respond(application)
    await turns()
    expect(events).toEqual(['finish', 'close'])
  })

  test('emits finish and then close, once each, after its socket is destroyed', async () => {
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
    await respond(application)
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

describe('An error of a node:http listener', () => {
  const boom = new Error('Boom')
  test.each<[string, NodeListener]>([
    [
      'thrown by the listener',
      () => {
        throw boom
      },
    ],
    ['that the listener rejects with', () => Promise.reject(boom)],
    ['passed to response.destroy()', (_, res) => res.destroy(boom)],
    ['passed to request.destroy()', (req) => req.destroy(boom)],
    ['emitted by the response', (_, res) => res.emit('error', boom)],
    [
      'that destroys a response which is ended later, incomplete,',
      (_, res) => {
        res.write('part')
        res.destroy(boom).end()
      },
    ],
  ])('%s leads to the error page and is logged', async (_, listener) => {
    const { out, err } = await respond(fromNode(listener))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('Error: Boom')
  })

  test('after the head truncates the response and is logged', async () => {
    const application = fromNode(async (_, res) => {
      res.setHeader('Content-Length', '10')
      res.write('part')
      await turns()
      throw boom
    })
    const { out, err } = await respond(application)
    expect(out).toBe(`${OK}Content-Length: 10\r\n\r\npart`)
    expect(err).toContain('Error: Boom')
  })

  test('after the response is logged', async () => {
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

  test.each([1, 100_000])('thrown by a finish listener after %i bytes is logged', async (size) => {
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

  test.each([1, 100_000])(
    'of a write after the end, at %i bytes, is logged, and the response is complete',
    async (size) => {
      const events: string[] = []
      const application = fromNode((req, res) => {
        for (const event of ['aborted', 'end', 'close']) req.on(event, () => events.push(event))
        res.end('x'.repeat(size))
        res.write('y')
      })
      let out = ''
      const write = async (bytes: Buffer) => {
        await turns(1) // The error comes while the response is being sent.
        out += bytes.toString('latin1')
      }
      const running = start(application, { output: { write } })
      await running.done
      await turns()
      expect(out.split('\r\n\r\n')[1]).toBe('x'.repeat(size))
      expect(events).toEqual(['end', 'close']) // As on node:http.
      expect(running.err).toContain('ERR_STREAM_WRITE_AFTER_END')
    },
  )

  test.each<[string, NodeListener]>([
    [
      'thrown',
      (_, res) => {
        res.end('x'.repeat(100_000))
        throw boom
      },
    ],
    [
      'rejected with',
      (_, res) => {
        res.end('x'.repeat(100_000))
        return Promise.reject(boom)
      },
    ],
  ])('%s after the end is logged, and the response is complete', async (_, listener) => {
    const { out, err } = await respond(fromNode(listener))
    expect(out.split('\r\n\r\n')[1]).toBe('x'.repeat(100_000))
    expect(err).toContain('Error: Boom')
  })

  test.each<[string, NodeListener]>([
    ['response.destroy()', (_, res) => res.destroy()],
    ['request.destroy()', (req) => req.destroy()],
    ['request.socket.destroy()', (req) => req.socket.destroy()],
    ['request.socket.end()', (req) => req.socket.end()],
    ['response.socket.destroySoon()', (_, res) => res.socket!.destroySoon()],
  ])('is logged for %s without a response', async (_, listener) => {
    const { out, err } = await respond(fromNode(listener))
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('ApplicationError: The application destroyed its response')
  })

  test('is not caused by socket.end() after the response, which is sent completely', async () => {
    const application = fromNode((req, res) => {
      res.write('x'.repeat(100_000))
      res.end('y')
      req.socket.end()
    })
    expect((await respond(application)).out.slice(-3)).toBe('xxy')
  })

  test('that the request body is incomplete leads to 400 and aborts the request', async () => {
    const request = { body: 'ab', variables: { CONTENT_LENGTH: '5' } }
    const events: string[] = []
    const application = fromNode(async (req, res) => {
      req.on('aborted', () => events.push('aborted'))
      res.on('close', () => events.push('close'))
      await text(req)
    })
    const { out, err } = await respond(application, request)
    expect(out).toMatch(/^Status: 400 Bad Request\r\n/)
    expect(err).toContain('PORTICO_BODY_CUT_SHORT')
    await turns()
    expect(events).toEqual(['aborted', 'close'])
  })
})

const targets = (req: IncomingMessage): string[] => {
  const { url, baseUrl, originalUrl } = seen(req)
  return [url!, baseUrl, originalUrl]
}

describe('A request to a node:http listener', () => {
  test.each<[string, Record<string, string>, unknown]>([
    ['the root', { PATH_INFO: '/' }, ['/', '', '/']],
    ['an empty path', { PATH_INFO: '' }, ['/', '', '/']],
    ['a query', { PATH_INFO: '/a', QUERY_STRING: 'b=%20' }, ['/a?b=%20', '', '/a?b=%20']],
    ['a mount point', { SCRIPT_NAME: '/m', PATH_INFO: '/a' }, ['/a', '/m', '/m/a']],
    [
      'the mount point itself with a query',
      { SCRIPT_NAME: '/m', PATH_INFO: '', QUERY_STRING: 'q' },
      ['/?q', '/m', '/m?q'],
    ],
    [
      'bytes that are not UTF-8',
      { SCRIPT_NAME: '/\xfc', PATH_INFO: '/a b%/\xc3\xbc"<>' },
      ['/a%20b%25/%C3%BC%22%3C%3E', '/%FC', '/%FC/a%20b%25/%C3%BC%22%3C%3E'],
    ],
    [
      'the percent-encoding of the client',
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
      'a percent sign that is not an escape',
      { SCRIPT_NAME: '/%', PATH_INFO: '/%zz', REQUEST_URI: '/%/%zz' },
      ['/%zz', '/%', '/%/%zz'],
    ],
  ])('has the url, baseUrl and originalUrl of %s', async (_, variables, expected) => {
    let result: unknown
    const application = fromNode((req, res) => {
      result = targets(req)
      res.end()
    })
    await respond(application, { variables })
    expect(result).toEqual(expected)
  })

  test('has the properties that the parser of node:http sets', async () => {
    let result: unknown
    const application = fromNode((req, res) => {
      const { socket } = req
      result = {
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
    await respond(application, {
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
    expect(result).toEqual({
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
  ])('of %s has the httpVersion %s', async (protocol, version) => {
    const application = fromNode((req, res) => res.end(req.httpVersion))
    const { out } = await respond(application, { variables: { SERVER_PROTOCOL: protocol } })
    expect(out).toContain(`\r\n\r\n${version}`)
  })

  test('reads its body only when the listener reads', async () => {
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

  test.each(['GET', 'POST'])(
    'is not aborted if the listener does not read the body of a %s',
    async (method) => {
      const events: string[] = []
      const application = fromNode((req, res) => {
        for (const event of ['aborted', 'end', 'close', 'error']) {
          req.on(event, () => events.push(event))
        }
        res.end('x')
      })
      await respond(application, { body: 'unread', variables: { REQUEST_METHOD: method } })
      await turns()
      expect(events).toEqual(['end', 'close'])
    },
  )

  const consumers: [string, (req: IncomingMessage) => Promise<number>][] = [
    ['with a stream consumer', async (req) => (await text(req)).length],
    [
      'with data events',
      async (req) => {
        let size = 0
        req.on('data', (chunk: Buffer) => (size += chunk.length))
        await once(req, 'end')
        return size
      },
    ],
  ]
  test.each(consumers)('can be read after the response %s', async (_, read) => {
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
      const { out, err } = await respond(application, { body: 'y'.repeat(size), variables })
      await turns()
      expect([out.split('\r\n')[0], out.endsWith('Accepted'), err]).toEqual([
        'Status: 202 Accepted',
        true,
        '',
      ])
      expect(events.toSorted()).toEqual(['close', `read ${size}`])
    }
  })

  test('that is read after the response ends when the client disconnects', async () => {
    const events: string[] = []
    const gone = new PeerError('PORTICO_DISCONNECTED', 'The client disconnected')
    let disconnect: ((error: Error) => void) | undefined
    const source = {
      read: () =>
        new Promise<never>((_, reject) => {
          disconnect = reject
        }),
    }
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
    await running.done
    disconnect!(gone)
    await turns()
    expect([events, running.err]).toEqual([['ECONNRESET', 'close'], ''])
  })

  test('is aborted when the application destroys the response', async () => {
    const events: string[] = []
    const application = fromNode((req, res) => {
      for (const event of ['aborted', 'end', 'close']) req.on(event, () => events.push(event))
      req.on('error', (error: NodeJS.ErrnoException) => events.push(error.code!))
      res.on('close', () => events.push('response close'))
      res.destroy()
    })
    await respond(application, { body: 'unread', variables: { REQUEST_METHOD: 'POST' } })
    await turns()
    expect(events).toEqual(['aborted', 'response close', 'ECONNRESET', 'close'])
  })

  test('has a body that middleware has read, which is a 500 and not a 400', async () => {
    const app = express()
    app.use(express.urlencoded({ extended: false }))
    const bridged = fromNode(app)
    const application: Application = async (environ, startResponse) => {
      await environ['wsgi.input'].read()
      return bridged(environ, startResponse)
    }
    const { out, err } = await respond(application, {
      body: 'a=1',
      variables: {
        REQUEST_METHOD: 'POST',
        CONTENT_TYPE: 'application/x-www-form-urlencoded',
      },
    })
    expect(out).toBe(ERROR_PAGE)
    expect(err).toContain('PORTICO_BODY_ALREADY_READ')
  })

  test.each(['unix:', '', '127.0.0.1:80'])(
    'has no address if REMOTE_ADDR is %j',
    async (address) => {
      let result: unknown
      const application = fromNode(({ socket }, res) => {
        result = [socket.remoteAddress, socket.remoteFamily]
        res.end()
      })
      await respond(application, { variables: { REMOTE_ADDR: address } })
      expect(result).toEqual([undefined, undefined])
    },
  )

  test('has a complete body of 300 kB', async () => {
    const application = fromNode(async (req, res) => {
      const body = await text(req)
      res.end(`${req.complete} ${body.length}`)
    })
    const body = 'y'.repeat(300_000)
    const { out } = await respond(application, { body, variables: { REQUEST_METHOD: 'POST' } })
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
])('fromNode responds to a request to upgrade to %s', async (upgrade, head, body) => {
  const application = fromNode((_, res) => res.end('ordinary'))
  const variables = { HTTP_UPGRADE: upgrade, HTTP_CONNECTION: 'Upgrade' }
  const { out } = await respond(application, { variables })
  expect(out.startsWith(head) && out.endsWith(`\r\n\r\n${body}`)).toBe(true)
})

describe('A time limit of a node:http listener', () => {
  const late = 'Late'
  const closed = 'The application destroyed its response'
  type Case = [string, (req: IncomingMessage, res: ServerResponse) => void, string]
  const onResponse: Case = [
    'a listener of the response',
    (_, res) => res.setTimeout(1, () => res.end(late)),
    late,
  ]
  const onRequest = (outcome: string): Case => [
    'a listener of the request',
    (req, res) => req.setTimeout(1, () => res.end(late)),
    outcome,
  ]
  const onSocket: Case = [
    'a listener of the socket',
    (req, res) => req.socket.setTimeout(1, () => res.end(late)),
    closed,
  ]
  const onNothing: Case = ['no listener', (req) => req.socket.setTimeout(1), closed]

  // As in node:http: a listener of the socket, or of a complete request, does not keep it open.
  test.each([onResponse, onRequest(closed), onSocket, onNothing])(
    'of a complete request with %s has the outcome of node:http',
    async (_, listener, expected) => {
      const { out, err } = await respond(fromNode(listener))
      expect(out + err).toContain(expected)
    },
  )

  test.each([onResponse, onRequest(late), onSocket, onNothing])(
    'of an incomplete request with %s has the outcome of node:http',
    async (_, listener, expected) => {
      const body = { read: () => new Promise<never>(() => {}) }
      const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '5' }
      const { out, err } = await respond(fromNode(listener), { body, variables })
      expect(out + err).toContain(expected)
    },
  )

  test('that expires is also an event of the socket', async () => {
    const events: string[] = []
    const application = fromNode((req, res) => {
      req.socket.on('timeout', () => events.push(`socket ${req.socket.destroyed}`))
      req.socket.setTimeout(1)
      res.on('close', () => events.push('close'))
    })
    await respond(application)
    await turns()
    expect(events).toEqual(['socket true', 'close'])
  })
})

test('A time limit of node:http does not expire while the body arrives slowly', async () => {
  let left = 6
  const body = {
    async read() {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return (left -= 1) > 0 ? Buffer.from('x') : null
    },
  }
  const application = fromNode((req, res) => {
    req.setTimeout(400, () => res.end('late'))
    req.resume().on('end', () => res.writableEnded || res.end('read'))
  })
  const variables = { REQUEST_METHOD: 'POST', CONTENT_LENGTH: '5' }
  expect((await respond(application, { body, variables })).out).toContain('\r\n\r\nread')
})

test.each([
  ['short', 'x'],
  ['long', 'x'.repeat(100_000)],
])('The end of a %s response has the AsyncLocalStorage of its request', async (_, long) => {
  const context = new AsyncLocalStorage<string>()
  const result: unknown[] = []
  const application = fromNode((_req, res) => {
    context.run('this one', () => {
      for (const event of ['finish', 'close']) res.on(event, () => result.push(context.getStore()))
      setImmediate(() => res.end(long, () => result.push(context.getStore())))
    })
  })
  await respond(application)
  await turns()
  expect(result).toEqual(['this one', 'this one', 'this one'])
})

describe('fromNode', () => {
  test('runs an http.Server that does not listen', async () => {
    const server = createServer()
    const calls: string[] = []
    server.on('request', () => calls.push('first'))
    server.on('request', (_, res) => res.end('request'))
    expect((await respond(fromNode(server))).out).toContain('\r\n\r\nrequest')
    const variables = { HTTP_EXPECT: '100-continue' }
    expect((await respond(fromNode(server), { variables })).out).toContain('\r\n\r\nrequest')
    server.on('checkContinue', (_, res) => res.end('checked'))
    expect((await respond(fromNode(server), { variables })).out).toContain('\r\n\r\nchecked')
    expect(calls).toEqual(['first', 'first'])
  })

  test.each([
    [undefined, 'request'],
    ['100-continue', 'checked'],
    ['100-Continue', 'checked'],
    ['a miracle', 'expected'],
  ])('emits the event of an http.Server for Expect: %s', async (expectation, said) => {
    const server = createServer((_, res) => res.end('request'))
    const variables = { ...(expectation && { HTTP_EXPECT: expectation }) }
    expect((await respond(fromNode(server), { variables })).out).toContain('\r\n\r\nrequest')
    server.on('checkContinue', (_, res) => res.end('checked'))
    server.on('checkExpectation', (_, res) => res.writeHead(417).end('expected'))
    expect((await respond(fromNode(server), { variables })).out).toContain(`\r\n\r\n${said}`)
  })

  test.each<[string, (server: Server) => void, string]>([
    ['without a listener', () => {}, 'The application destroyed its response'],
    [
      'with a listener of the server',
      (server) => server.on('timeout', (socket: Socket & { late?: () => void }) => socket.late!()),
      '\r\n\r\nlate',
    ],
  ])('applies the time limit of an http.Server %s', async (_, listen, expected) => {
    const server = createServer((req, res) => {
      Object.assign(req.socket, { late: () => res.end('late') })
    })
    server.setTimeout(1)
    listen(server)
    const { out, err } = await respond(fromNode(server))
    expect(out + err).toContain(expected)
  })

  test('refuses an http.Server without a listener', () => {
    expect(() => fromNode(createServer())).toThrow('has no listener for requests')
  })

  test('calls ready() of a router until it succeeds', async () => {
    let attempts = 0
    const router = {
      ready: () => ((attempts += 1) === 1 ? Promise.reject(new Error('Early')) : Promise.resolve()),
      routing: (_: IncomingMessage, res: ServerResponse) => res.end(`attempt ${attempts}`),
    }
    const application = fromNode(router)
    expect((await respond(application)).err).toContain('Error: Early')
    expect((await respond(application)).out).toContain('attempt 2')
    expect((await respond(application)).out).toContain('attempt 2')
  })

  test.each([[{}], [null], [42]])('refuses %j', (source) => {
    expect(() => fromNode(source as never)).toThrow('fromNode() takes a listener')
  })
})

async function serving(
  listener: NodeListener,
  ask: (port: ReturnType<typeof addressOf>) => Promise<void>,
  wrap = (inner: Application): Application => inner,
): Promise<void> {
  const application = wrap(fromNode(listener))
  // Not the bridged application itself, which HTTPHandler would replace with the listener.
  const middleware: Application = (environ, startResponse) => application(environ, startResponse)
  const server = await new HTTPHandler({ listen: 0 }).run(middleware)
  try {
    await ask(addressOf(server))
  } finally {
    await server.close()
  }
}

const headersOf: NodeListener = async (req, res) => {
  const { 'transfer-encoding': encoding, 'content-length': length } = req.headers
  res.setHeader('Content-Type', 'application/json')
  res.end(JSON.stringify([encoding, length, await text(req)]))
}

describe('fromNode inside middleware over HTTPHandler', () => {
  test.each([
    ['a chunked body of a POST', 'POST', ['ab', 'c'], ['chunked', null, 'abc']],
    ['a chunked body of a GET', 'GET', ['ab', 'c'], ['chunked', null, 'abc']],
    ['a chunked body of an OPTIONS', 'OPTIONS', ['ab', 'c'], ['chunked', null, 'abc']],
    ['no body', 'POST', undefined, [null, null, '']],
    ['no body of a GET', 'GET', undefined, [null, null, '']],
    ['an empty chunked body', 'DELETE', [], ['chunked', null, '']],
    ['a body with a length', 'PUT', 'abc', [null, '3', 'abc']],
    ['an empty chunked body with a type', 'POST', [], ['chunked', null, ''], 'text/plain'],
  ] as const)(
    'announces %s as node:http does, also inside bodyLimit and the validator',
    async (_, method, body, expected, type?: string) => {
      const ask = async (bound: ReturnType<typeof addressOf>): Promise<void> => {
        const headers: [string, string][] = type === undefined ? [] : [['Content-Type', type]]
        const request = { method, headers, ...(body === undefined ? {} : { body }) }
        const response = await httpRequest(bound, request)
        expect(JSON.parse(String(response.body))).toEqual(expected)
      }
      await serving(headersOf, ask)
      await serving(headersOf, ask, (inner) => bodyLimit(inner, 1000))
      await serving(headersOf, ask, (inner) => validator(bodyLimit(inner, 1000)))
    },
  )

  test('sends 100 (Continue) when the listener reads the body', async () => {
    await serving(headersOf, async (bound) => {
      const headers: [string, string][] = [['Expect', '100-continue']]
      const response = await httpRequest(bound, { method: 'POST', headers, body: 'abc' })
      expect(response.informational.map(({ status }) => status)).toEqual([100])
      expect(JSON.parse(String(response.body))).toEqual([null, '3', 'abc'])
    })
  })

  test('emits finish only after the client has read a large response', async () => {
    const state = { finished: false }
    const body = Buffer.alloc(32 * 1024 * 1024)
    const listener: NodeListener = (_, res) => res.end(body, () => (state.finished = true))
    await serving(listener, async (bound) => {
      const connection = await openHttp(bound)
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

  test('aborts request and response when the client disconnects', async () => {
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
    await serving(listener, async (bound) => {
      const connection = await openHttp(bound)
      await connection.stream({})
      connection.close()
      await closed
    })
    expect(events.toSorted()).toEqual(['aborted', 'close false true', 'error ECONNRESET'])
  })

  test('aborts the request of an incomplete upload, and serves the next one', async () => {
    const failures: unknown[] = []
    const listener: NodeListener = async (req, res) => {
      if (req.method === 'GET') return res.end('alive')
      return text(req).catch((error: unknown) => failures.push(error))
    }
    await serving(listener, async (bound) => {
      const connection = await openHttp(bound)
      await connection.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
      await turns()
      connection.close()
      while (failures.length === 0) await turns(1)
      expect(failures[0]).toSatisfy((error) => error instanceof Error)
      expect(String((await httpRequest(bound)).body)).toBe('alive')
    })
  })
})

test('An abort before the response is an event for the listener only', async () => {
  const events: string[] = []
  const running = start(
    fromNode((_, res) => {
      res.on('close', () => {
        events.push('close')
        res.end('too late')
      })
    }),
  )
  await turns()
  running.handler.abort(new PeerError('PORTICO_DISCONNECTED', 'gone'))
  await running.done
  expect(events).toEqual(['close'])
  expect([running.out, running.err]).toEqual(['', ''])
})
