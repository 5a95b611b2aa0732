/** A response that is complete while the application is still reading the request body. */
import { connect, type Socket } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { fromFetch } from '../../src/exports/fetch.ts'
import { accessLog } from '../../src/exports/middleware.ts'
import { fromNode } from '../../src/exports/node.ts'
import { FCGI_RESPONDER } from '../../src/protocol/fastcgi.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { addressOf } from '../fixtures/gateways.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'portico-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

/** Gets the number of bytes that were read, or the error. */
type Report = (outcome: number | string) => void

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error)

/** Responds at once, and reads on. */
const applications: [string, (report: Report) => Application][] = [
  [
    'a listener of data events',
    (report) =>
      fromNode((req, res) => {
        let size = 0
        req.on('data', (chunk: Buffer) => (size += chunk.length))
        req.on('end', () => report(size))
        req.on('error', (error) => report(codeOf(error)))
        res.writeHead(202).end('Accepted')
      }),
  ],
  [
    'a listener with a slow pipe',
    (report) =>
      fromNode((req, res) => {
        let size = 0
        const slow = new Writable({
          highWaterMark: 1,
          write(chunk: Buffer, _, done) {
            size += chunk.length
            setTimeout(done, 5)
          },
          final: () => report(size),
        })
        req.on('error', (error) => report(codeOf(error)))
        req.pipe(slow)
        req.once('data', () => setImmediate(() => res.writeHead(202).end('Accepted')))
      }),
  ],
  [
    'a Fetch API handler',
    (report) =>
      fromFetch((request) => {
        request.text().then(
          (text) => report(text.length),
          (error: unknown) => report(codeOf(error)),
        )
        return new Response('Accepted', { status: 202 })
      }),
  ],
  [
    'an application that does not wait for read()',
    (report) => (environ, startResponse) => {
      environ['wsgi.input'].read().then(
        (body) => report(body.length),
        (error: unknown) => report(codeOf(error)),
      )
      startResponse('202 Accepted', [])
      return ['Accepted']
    },
  ],
]

/** A client of one gateway: the bytes of a request whose body is sent in two parts. */
interface Client {
  readonly name: string
  serve(application: Application): Promise<GatewayServer>
  head(length: number): (string | Buffer)[]
  body(part: Buffer): (string | Buffer)[]
  readonly end: (string | Buffer)[]
  /** What ends the response. */
  readonly complete: RegExp
}

const protocol = new WebServerConnection()
protocol.begin(1)
let sockets = 0
const path = () => `unix:${join(directory, `${(sockets += 1)}.sock`)}`
const VARIABLES = { SCRIPT_NAME: '', PATH_INFO: '/', SERVER_NAME: 'x', SERVER_PORT: '80' }
const variables = (length: number) => ({
  CONTENT_LENGTH: String(length),
  REQUEST_METHOD: 'POST',
  SERVER_PROTOCOL: 'HTTP/1.1',
  ...VARIABLES,
})

const fastcgi = (name: string, keepConn: boolean): Client => ({
  name,
  serve: (application) => new FastCGIHandler({ listen: path() }).run(application),
  head: (length) => [
    new WebServerConnection().begin(1, FCGI_RESPONDER, keepConn),
    ...protocol.params(1, Object.entries(variables(length))),
  ],
  body: (part) => protocol.stdin(1, part),
  end: [protocol.endStdin(1)],
  // oxlint-disable-next-line no-control-regex -- The header of END_REQUEST.
  complete: /\x01\x03\0\x01\0\x08/,
})

const clients: Client[] = [
  {
    name: 'HTTPHandler',
    serve: (application) => new HTTPHandler({ listen: 0 }).run(application),
    head: (length) => [`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`],
    body: (part) => [part],
    end: [],
    complete: /Accepted/,
  },
  {
    name: 'HTTPHandler with a chunked body',
    serve: (application) => new HTTPHandler({ listen: 0 }).run(application),
    head: () => ['POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'],
    body: (part) => [`${part.length.toString(16)}\r\n`, part, '\r\n'],
    end: ['0\r\n\r\n'],
    complete: /Accepted/,
  },
  fastcgi('FastCGIHandler with a kept-alive connection', true),
  fastcgi('FastCGIHandler with a connection for each request', false),
  {
    name: 'SCGIHandler',
    serve: (application) => new SCGIHandler({ listen: path() }).run(application),
    head: (length) => {
      const pairs = Object.entries({ ...variables(length), SCGI: '1' }).flat()
      const block = `${pairs.join('\0')}\0`
      return [`${block.length}:${block},`]
    },
    body: (part) => [part],
    end: [],
    complete: /Accepted/,
  },
]

/** Opens a connection, and gathers what arrives on it. */
function open(server: GatewayServer): { socket: Socket; received: { text: string } } {
  const address = addressOf(server)
  const target = 'path' in address ? { path: address.path } : { port: address.port }
  const socket = connect({ ...target, allowHalfOpen: true })
  const received = { text: '' }
  socket.on('error', () => {})
  socket.on('data', (bytes) => (received.text += bytes.toString('latin1')))
  return { socket, received }
}

const send = (socket: Socket, bytes: readonly (string | Buffer)[]) => {
  for (const each of bytes) socket.write(each)
}

const HALF = Buffer.alloc(100_000, 'x')

const cases = clients.flatMap((client) =>
  applications.map(([kind, make]) => ({ kind, name: client.name, client, make })),
)

describe('A response before the end of the request body', () => {
  test.each(cases)(
    'of $kind is complete at once over $name, and the body can be read to its end',
    async ({ client, make }) => {
      const outcomes: (number | string)[] = []
      const lines: string[] = []
      const application = accessLog(
        make((outcome) => outcomes.push(outcome)),
        { write: (line) => lines.push(line), format: '%s %b' },
      )
      const server = await client.serve(application)
      const { socket, received } = open(server)
      send(socket, [...client.head(2 * HALF.length), ...client.body(HALF)])
      await expect.poll(() => received.text).toMatch(client.complete)
      expect(received.text).toMatch(/\r\nContent-Length: 8\r\n/)
      expect(outcomes).toEqual([])
      await expect.poll(() => lines).toEqual(['202 8\n'])
      send(socket, [...client.body(HALF), ...client.end])
      await expect.poll(() => outcomes).toEqual([2 * HALF.length])
      socket.destroy()
      await server.close()
    },
  )

  test.each(cases)(
    'of $kind over $name reports a client that disconnects to the reader',
    async ({ client, make }) => {
      const outcomes: (number | string)[] = []
      const application = make((outcome) => outcomes.push(outcome))
      const server = await client.serve(accessLog(application, { write: () => {} }))
      const { socket, received } = open(server)
      send(socket, [...client.head(2 * HALF.length), ...client.body(HALF)])
      await expect.poll(() => received.text).toMatch(client.complete)
      socket.destroy()
      await expect.poll(() => outcomes).toEqual([expect.stringMatching(/^(?:ECONNRESET|PORTICO_)/)])
      await server.close()
    },
  )
})
