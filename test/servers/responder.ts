/**
 * The smallest FastCGI (1.0) or SCGI application: it responds with what a web server sent, with
 * no code of Portico in it, so that tests of a configuration test the configuration only.
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { openSocket } from './process.ts'

/** The response of the application, as the chunks of a 200. */
export type Respond = (
  params: Record<string, string>,
  input: AsyncIterable<Buffer>,
) => Iterable<string> | AsyncIterable<string>

export interface Responder {
  /** 'unix:PATH' or 'HOST:PORT'. */
  readonly address: string
  /** How many connections the web server has made. */
  readonly connections: number
  close(): Promise<void>
}

/** Responds with the parameters and the size of the body. */
export const showAll: Respond = async function* (params, input) {
  let size = 0
  for await (const bytes of input) size += bytes.length
  yield JSON.stringify({ params, size })
}

const HEAD = 'Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n'

/** `listen`: 'unix:PATH', or a port of 127.0.0.1, 0 for any. */
export async function startFastcgi(listen: string | number, respond = showAll): Promise<Responder> {
  return start(listen, (socket) => serveFastcgi(socket, respond))
}

/** The same for SCGI. */
export async function startScgi(listen: string | number, respond = showAll): Promise<Responder> {
  return start(listen, (socket) => serveScgi(socket, respond))
}

async function start(
  listen: string | number,
  serve: (socket: Socket) => Promise<void>,
): Promise<Responder> {
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    sockets.add(socket)
    // A web server may disconnect; the test does not fail because of that.
    serve(socket).catch(() => socket.destroy())
  })
  const path = typeof listen === 'string' ? listen.slice('unix:'.length) : undefined
  if (path === undefined) server.listen(Number(listen), '127.0.0.1')
  else server.listen(path)
  await once(server, 'listening')
  if (path !== undefined) await openSocket(path)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  return {
    address: path === undefined ? `127.0.0.1:${port}` : `unix:${path}`,
    get connections() {
      return connections
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function serveFastcgi(socket: Socket, respond: Respond): Promise<void> {
  let params: Buffer[] = []
  let input = new PassThrough()
  let keep = false
  for await (const { type, id, content } of records(socket)) {
    if (type === 1) keep = (content[2]! & 1) === 1
    else if (type === 4 && content.length > 0) params.push(content)
    else if (type === 4) {
      void reply(socket, id, keep, respond(collect(pairs(Buffer.concat(params))), input))
      params = []
    } else if (type === 5 && content.length > 0) input.write(content)
    else if (type === 5) {
      input.end()
      input = new PassThrough()
    }
  }
}

async function reply(
  socket: Socket,
  id: number,
  keep: boolean,
  chunks: ReturnType<Respond>,
): Promise<void> {
  socket.write(record(6, id, Buffer.from(HEAD)))
  for await (const chunk of chunks) {
    const bytes = Buffer.from(chunk)
    // A record holds 65,535 bytes, and an empty one would end the stream.
    for (let at = 0; at < bytes.length; at += 60_000) {
      // No more than the web server takes; gone, it takes no more at all.
      if (socket.write(record(6, id, bytes.subarray(at, at + 60_000)))) continue
      if (socket.writable) await once(socket, 'drain')
    }
  }
  socket.write(record(6, id, Buffer.alloc(0)))
  socket.write(record(3, id, Buffer.alloc(8)))
  if (!keep) socket.end()
}

function record(type: number, id: number, content: Buffer): Buffer {
  const head = Buffer.from([1, type, 0, id, 0, 0, 0, 0])
  head.writeUInt16BE(content.length, 4)
  return Buffer.concat([head, content])
}

async function* records(socket: AsyncIterable<Buffer>) {
  let buffer = Buffer.alloc(0)
  for await (const bytes of socket) {
    buffer = Buffer.concat([buffer, bytes])
    while (buffer.length >= 8) {
      const end = 8 + buffer.readUInt16BE(4)
      const next = end + buffer[6]!
      if (buffer.length < next) break
      yield { type: buffer[1]!, id: buffer[3]!, content: buffer.subarray(8, end) }
      buffer = buffer.subarray(next)
    }
  }
}

/** Name-value pairs (FastCGI 1.0, section 3.4). */
function* pairs(bytes: Buffer): Generator<[string, string]> {
  let at = 0
  const length = (): number => {
    if (bytes[at]! < 128) return bytes[at++]!
    at += 4
    return bytes.readUInt32BE(at - 4) - 0x80000000
  }
  const text = (size: number): string => bytes.toString('latin1', at, (at += size))
  while (at < bytes.length) {
    const sizes = [length(), length()]
    yield [text(sizes[0]!), text(sizes[1]!)]
  }
}

async function serveScgi(socket: Socket, respond: Respond): Promise<void> {
  let buffer = Buffer.alloc(0)
  const input = new PassThrough()
  let left: number | undefined
  for await (const bytes of socket) {
    buffer = Buffer.concat([buffer, bytes])
    if (left === undefined) {
      const colon = buffer.indexOf(':')
      const size = colon === -1 ? Infinity : Number(buffer.toString('latin1', 0, colon))
      if (buffer.length < colon + size + 2) continue
      const fields = buffer.toString('latin1', colon + 1, colon + size).split('\0')
      buffer = buffer.subarray(colon + size + 2)
      const params = collect(everySecond(fields))
      left = Number(params['CONTENT_LENGTH'])
      void replyScgi(socket, respond(params, input))
    }
    left -= buffer.length
    input.write(buffer)
    buffer = Buffer.alloc(0)
    if (left <= 0) input.end()
  }
}

function* everySecond(fields: string[]): Generator<[string, string]> {
  for (let at = 0; at + 1 < fields.length; at += 2) yield [fields[at]!, fields[at + 1]!]
}

async function replyScgi(socket: Socket, chunks: ReturnType<Respond>): Promise<void> {
  socket.write(HEAD)
  for await (const chunk of chunks) socket.write(chunk)
  socket.end()
}

/** The pairs as an object. The web server's configuration has to make sure that no name is repeated. */
function collect(list: Iterable<[string, string]>): Record<string, string> {
  const params: Record<string, string> = {}
  for (const [name, value] of list) {
    params[name] = name in params ? `${params[name]} and again ${value}` : value
  }
  return params
}
