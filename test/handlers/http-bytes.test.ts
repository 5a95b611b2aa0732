/** Heads and bodies over HTTP: each combination arrives byte for byte. */
import { Buffer } from 'node:buffer'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import express from 'express'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { HTTPHandler } from '../../handlers/http.ts'
import { toNode } from '../../src/embedded/to-node.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application, Chunk, HeaderList } from '../../src/types.ts'

const BYTES = Buffer.from(Array.from({ length: 128 }, (_, i) => 128 + i)).toString('latin1')

const chunks: Readonly<Record<string, Chunk>> = {
  ASCII: 'abc',
  'latin-1': 'caf\u00e9',
  'beyond latin-1': 'h\u20ac\ud83d\ude00',
  'half a character': '\ud800',
  bytes: Buffer.from([0xff, 0x80, 0x61]),
  'an empty string': '',
  'no bytes': Buffer.alloc(0),
  'a long text': 'x'.repeat(70_000),
}
const ways = ['array', 'generator', 'async generator', 'write'] as const

interface Sent {
  readonly chunks: readonly Chunk[]
  readonly way: (typeof ways)[number]
  readonly declared: boolean
}
const responses: Sent[] = Object.values(chunks).flatMap((first) =>
  Object.values(chunks).flatMap((second) =>
    ways.flatMap((way) =>
      [false, true].map((declared) => ({ chunks: [first, second], way, declared })),
    ),
  ),
)

const bytesOf = (list: readonly Chunk[]): Buffer =>
  Buffer.concat(list.map((chunk) => Buffer.from(chunk as string)))

const application: Application = (environ, startResponse) => {
  const { chunks: list, way, declared } = responses[Number(environ.QUERY_STRING)]!
  const headers: HeaderList = [['X-Bytes', BYTES]]
  if (declared) headers.push(['Content-Length', String(bytesOf(list).length)])
  const write = startResponse(`200 ${BYTES}`, headers)
  if (way === 'array') return [...list]
  if (way === 'generator') return list.values()
  if (way === 'async generator') return later(list)
  return writeAll()

  async function writeAll(): Promise<Chunk[]> {
    for (const chunk of list) await write(chunk)
    return []
  }
}

async function* later(list: readonly Chunk[]): AsyncGenerator<Chunk> {
  for (const chunk of list) yield await Promise.resolve(chunk)
}

let own: GatewayServer
let mounted: Server
beforeAll(async () => {
  own = await new HTTPHandler({ listen: 0 }).run(application)
  mounted = createServer(express().use(toNode(application)))
  await new Promise<void>((resolve) => mounted.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  mounted.close()
  await own.close()
})

const ports = {
  HTTPHandler: () => (own.address.kind === 'tcp' ? own.address.port : 0),
  'toNode in Express': () => (mounted.address() as AddressInfo).port,
}

async function ask(port: number, method: string, index: number): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('latin1')
  socket.write(`${method} /?${index} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
  let text = ''
  for await (const received of socket) text += received as string
  return text
}

/** The content of a chunked body. */
function unchunked(body: string): string {
  let content = ''
  for (let at = 0, size; ; at += size + 2) {
    size = Number.parseInt(body.slice(at), 16)
    if (size === 0) return content
    at = body.indexOf('\r\n', at) + 2
    content += body.slice(at, at + size)
  }
}

it.each(
  Object.entries(ports).flatMap(([server, port]) =>
    ['GET', 'HEAD'].map((method) => ({ server, method, port })),
  ),
)('$server sends the bytes of every head and body for $method', async ({ port, method }) => {
  for (const [index, { chunks: list, way, declared }] of responses.entries()) {
    const text = await ask(port(), method, index)
    const end = text.indexOf('\r\n\r\n')
    const head = text.slice(0, end + 2)
    const body = text.slice(end + 4)
    const chunked = method === 'GET' && /^transfer-encoding: chunked\r$/im.test(head)
    const response = { list, way, declared, status: head.slice(0, head.indexOf('\r')) }
    expect({
      ...response,
      bytes: /^x-bytes: (.*)\r$/im.exec(head)?.[1],
      body: chunked ? unchunked(body) : body,
    }).toEqual({
      ...response,
      status: `HTTP/1.1 200 ${BYTES}`,
      bytes: BYTES,
      body: method === 'HEAD' ? '' : bytesOf(list).toString('latin1'),
    })
  }
})
