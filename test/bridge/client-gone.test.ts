/**
 * A client that disconnects before the response: what a node:http listener notices is the same over
 * each gateway as on node:http itself.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { fromNode } from '../../src/bridge/from-node.ts'
import { FCGI_RESPONDER } from '../../src/protocol/fastcgi.ts'
import { WebServerConnection } from '../../src/protocol/fastcgi-web-server.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import type { Application } from '../../src/types.ts'
import { temporaryDirectory } from '../server/child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

let sockets = 0
const socketPath = () => join(directory.path, `${(sockets += 1)}.sock`)

interface Body {
  /** CONTENT_LENGTH; null for a GET without a body. */
  readonly length: number | null
  readonly sent: string
  readonly read: boolean
}

/** What the listener noticed. */
interface Noticed {
  readonly socketError: boolean
  readonly requestError: boolean
  readonly aborted: boolean
  readonly finished: boolean
}

const rows: [what: string, body: Body, noticed: Noticed][] = [
  [
    'a request without a body',
    { length: null, sent: '', read: false },
    { socketError: false, requestError: true, aborted: true, finished: false },
  ],
  [
    'a request whose body has been read',
    { length: 3, sent: 'abc', read: true },
    { socketError: false, requestError: false, aborted: false, finished: false },
  ],
  [
    'a request whose body has arrived and has not been read',
    { length: 3, sent: 'abc', read: false },
    { socketError: false, requestError: true, aborted: true, finished: false },
  ],
  [
    'an incomplete body that is being read',
    { length: 9, sent: 'abc', read: true },
    { socketError: true, requestError: true, aborted: true, finished: false },
  ],
  [
    'an incomplete body that is not read',
    { length: 9, sent: 'abc', read: false },
    { socketError: true, requestError: true, aborted: true, finished: false },
  ],
]

/** A running server. `send` sends a request, and resolves to a function that disconnects. */
interface Serving {
  send(body: Body): Promise<() => void>
  close(): Promise<unknown>
}

const starts: Record<string, (listener: RequestListener) => Promise<Serving>> = {
  async 'node:http'(listener) {
    const server = createServer(listener).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    return {
      send: (body) => overHttp(connect(port, '127.0.0.1'), body),
      close: async () => server.close(),
    }
  },
  HTTPHandler: (listener) => overHTTPHandler(fromNode(listener)),
  'HTTPHandler, in a middleware'(listener) {
    const application = fromNode(listener)
    return overHTTPHandler((environ, startResponse) => application(environ, startResponse))
  },
  async 'FastCGIHandler, ABORT_REQUEST'(listener) {
    return overFastcgi(listener, (socket, protocol) => {
      socket.write(protocol.abort(1))
    })
  },
  async 'FastCGIHandler, connection closed'(listener) {
    return overFastcgi(listener, (socket) => socket.destroy())
  },
  async SCGIHandler(listener) {
    const path = socketPath()
    const server = await new SCGIHandler({ listen: `unix:${path}` }).run(fromNode(listener))
    return {
      async send(body) {
        const socket = connect(path).on('error', () => {})
        socket.write(encodeRequest(variablesOf(body).flat(), body.length ?? 0))
        socket.write(body.sent)
        return () => socket.destroy()
      },
      close: () => server.close({ timeout: 0 }),
    }
  },
}

async function overHTTPHandler(application: Application): Promise<Serving> {
  const server = await new HTTPHandler({ listen: 0 }).run(application)
  const { port } = server.address as { port: number }
  return {
    send: (body) => overHttp(connect(port, '127.0.0.1'), body),
    close: () => server.close({ timeout: 0 }),
  }
}

async function overHttp(socket: Socket, { length, sent }: Body): Promise<() => void> {
  socket.on('error', () => {})
  const announced = length === null ? '' : `Content-Length: ${length}\r\n`
  socket.write(`${length === null ? 'GET' : 'POST'} / HTTP/1.1\r\nHost: x\r\n${announced}\r\n`)
  socket.write(sent)
  return () => socket.destroy()
}

async function overFastcgi(
  listener: RequestListener,
  leave: (socket: Socket, protocol: WebServerConnection) => void,
): Promise<Serving> {
  const path = socketPath()
  const server = await new FastCGIHandler({ listen: `unix:${path}` }).run(fromNode(listener))
  return {
    async send(body) {
      const socket = connect(path).on('error', () => {})
      const protocol = new WebServerConnection()
      socket.write(protocol.begin(1, FCGI_RESPONDER, true))
      const length: [string, string] = ['CONTENT_LENGTH', String(body.length ?? '')]
      for (const bytes of protocol.params(1, [...variablesOf(body), length])) socket.write(bytes)
      for (const bytes of protocol.stdin(1, Buffer.from(body.sent))) socket.write(bytes)
      if (body.sent.length === (body.length ?? 0)) socket.write(protocol.endStdin(1))
      return () => leave(socket, protocol)
    },
    close: () => server.close({ timeout: 0 }),
  }
}

function variablesOf({ length }: Body): [string, string][] {
  return [
    ['REQUEST_METHOD', length === null ? 'GET' : 'POST'],
    ['SCRIPT_NAME', ''],
    ['PATH_INFO', '/'],
    ['QUERY_STRING', ''],
    ['SERVER_NAME', 'localhost'],
    ['SERVER_PORT', '80'],
    ['SERVER_PROTOCOL', 'HTTP/1.1'],
  ]
}

describe.each(Object.keys(starts))('A client of %s that disconnects', (name) => {
  test.each(rows)('after %s is noticed as on node:http', async (_, body, noticed) => {
    let notice: (it: Noticed) => void
    const heard = new Promise<Noticed>((resolve) => (notice = resolve))
    let arrive: () => void
    const arrived = new Promise<void>((resolve) => (arrive = resolve))
    const serving = await starts[name]!((request, response) => {
      const errors = { socketError: false, requestError: false, aborted: false }
      request.socket.on('error', () => (errors.socketError = true))
      request.on('error', () => (errors.requestError = true))
      request.on('aborted', () => (errors.aborted = true))
      response.on('close', () => {
        setImmediate(() => notice({ ...errors, finished: response.writableFinished }))
      })
      if (body.read) void read(request, body.sent.length).then(arrive)
      else setImmediate(arrive)
    })
    const leave = await serving.send(body)
    await arrived
    leave()
    expect(await heard).toEqual(noticed)
    await serving.close()
  })
})

/** Resolves when `size` bytes of the body have come. */
function read(request: IncomingMessage, size: number): Promise<void> {
  return new Promise((resolve) => {
    let count = 0
    request.on('data', (chunk: Buffer) => {
      count += chunk.length
      if (count === size) setImmediate(resolve)
    })
  })
}
