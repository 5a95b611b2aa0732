/** Requests that arrive in one chunk: their responses are written together, complete and in order. */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { endRequestText } from '../../src/protocol/fastcgi.ts'
import { WebServerConnection, type WebServerEvent } from '../../src/protocol/fastcgi-web-server.ts'
import type { FastCGIConnection } from '../../src/server/connections/fastcgi.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import type { Application } from '../../src/types.ts'
import { fastcgi, params } from '../hostile/peer.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from '../server/child.ts'

const large = Buffer.alloc(200_000, 'large ')

const application: Application = (environ, startResponse) => {
  const path = environ.PATH_INFO
  if (path === '/log') environ['wsgi.errors'].write('logged\n')
  if (path === '/destroy') for (const connection of server.open) connection.destroy()
  const declared = { '/short': '100', '/many': '400001' }[path]
  const length: [string, string][] = declared ? [['Content-Length', declared]] : []
  startResponse('200 OK', [['Content-Type', 'text/plain'], ...length])
  if (path === '/many') return Array.from({ length: 200_000 }, () => 'ab')
  if (path === '/open') return [`${openSockets()} open`]
  return [path === '/large' ? large : `path ${path}`]
}

function openSockets(): number {
  const sockets = Array.from(server.open, (connection) => (connection as FastCGIConnection).socket)
  return sockets.filter(({ destroyed }) => !destroyed).length
}

const directory = temporaryDirectory()
let server: GatewayServer
let writes: Buffer[]

beforeAll(async () => {
  server = await new FastCGIHandler({ listen: `unix:${directory.path}/s` }).run(application)
})
afterAll(async () => {
  await server.close()
  directory.remove()
})

/** The server's events in response to `sent`, until it closes or `ends` requests have ended. */
async function exchange(sent: Buffer, ends = Infinity): Promise<WebServerEvent[]> {
  const protocol = new WebServerConnection()
  for (let id = 1; id <= 64; id += 1) protocol.begin(id)
  const events: WebServerEvent[] = []
  writes = []
  const socket = connect(`${directory.path}/s`)
  socket.write(sent)
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    writes.push(chunk)
    protocol.receive(chunk)
    for (let event; (event = protocol.next()) !== null;) events.push(event)
    if (events.filter(({ type }) => type === 'end').length >= ends) break
  }
  socket.destroy()
  return events
}

function bodies(events: WebServerEvent[]): Map<number, string> {
  const all = new Map<number, string>()
  for (const event of events) {
    if (event.type !== 'stdout') continue
    all.set(event.id, (all.get(event.id) ?? '') + event.data.toString('latin1'))
  }
  return all
}

describe('FastCGI requests that arrive in one chunk', () => {
  it.each([1, 2, 15, 16, 17, 40, 64])('all get their response if there are %i', async (count) => {
    const ids = Array.from({ length: count }, (_, i) => i + 1)
    const sent = Buffer.concat(ids.map((id) => fastcgi(id, `/${id}`)))
    const events = await exchange(sent, count)
    const texts = bodies(events)
    for (const id of ids) expect(texts.get(id)).toMatch(new RegExp(`path /${id}$`))
    expect(events.filter(({ type }) => type === 'end')).toHaveLength(count)
  })

  it('get their responses in at most two writes', async () => {
    const ids = Array.from({ length: 16 }, (_, i) => i + 1)
    await exchange(Buffer.concat(ids.map((id) => fastcgi(id, '/'))), 16)
    expect(writes.length).toBeLessThanOrEqual(2)
  })

  it('all get their response before the connection closes after one without KEEP_CONN', async () => {
    const sent = Buffer.concat([
      fastcgi(1, '/a'),
      fastcgi(2, '/large'),
      fastcgi(3, '/c', '', false),
    ])
    const events = await exchange(sent)
    const texts = bodies(events)
    expect(texts.get(1)).toMatch(/path \/a$/)
    expect(texts.get(2)).toContain(large.toString('latin1'))
    expect(texts.get(3)).toMatch(/path \/c$/)
    expect(events.filter(({ type }) => type === 'end')).toHaveLength(3)
  })

  it('get their responses even if a later response is truncated', async () => {
    const short = await exchange(Buffer.concat([fastcgi(1, '/a'), fastcgi(2, '/short')]))
    expect(bodies(short).get(1)).toMatch(/path \/a$/)
    expect(short).toContainEqual(expect.objectContaining({ type: 'end', id: 1 }))
    expect(short).not.toContainEqual(expect.objectContaining({ type: 'end', id: 2 }))
  })

  it('may still be written to after a truncated response, because Apache would turn a reset into a 503', async () => {
    const socket = connect({ path: `${directory.path}/s`, allowHalfOpen: true })
    let failure: Error | undefined
    socket.on('error', (error) => (failure = error))
    socket.write(Buffer.concat([begin(1), params(1, '/short')]))
    await once(socket.resume(), 'end')
    socket.write(record(5, 1))
    socket.end(record(5, 1))
    await once(socket, 'close')
    expect(failure).toBeUndefined()
  })

  it('get complete responses on connections without KEEP_CONN, with and without log lines', async () => {
    const sockets = Array.from({ length: 40 }, () => connect(`${directory.path}/s`))
    await expect.poll(() => server.connections).toBe(sockets.length)
    const responses = sockets.map(async (socket) => Buffer.concat(await socket.toArray()))
    // The server has accepted all connections, so it reads all requests in one turn.
    for (const [i, socket] of sockets.entries()) {
      socket.write(fastcgi(1, ['/log', '/a', '/large'][i % 3]!, '', false))
    }
    const end = endRequestText(1, 0, 0)
    for (const bytes of await Promise.all(responses)) {
      expect(bytes.toString('latin1', bytes.length - end.length)).toBe(end)
    }
  })

  it('get their responses at once without KEEP_CONN, because no other response can join those', async () => {
    const sockets = Array.from({ length: 2 }, () => connect(`${directory.path}/s`))
    await expect.poll(() => server.connections).toBe(sockets.length)
    const responses = sockets.map(async (socket) => Buffer.concat(await socket.toArray()))
    for (const socket of sockets) socket.write(fastcgi(1, '/open', '', false))
    const [first, second] = await Promise.all(responses)
    expect(first!.toString('latin1')).toContain('2 open')
    expect(second!.toString('latin1')).toContain('1 open')
  })

  it('without KEEP_CONN may send their bodies after their responses, even if those fill the batch', async () => {
    const options = { path: `${directory.path}/s`, allowHalfOpen: true }
    const sockets = Array.from({ length: 40 }, () => connect(options))
    await expect.poll(() => server.connections).toBe(sockets.length)
    const failures: Error[] = []
    const closed = sockets.map(async (socket) => {
      socket.on('error', (error) => failures.push(error))
      await once(socket.resume(), 'end')
      socket.write(record(5, 1, 'body'))
      socket.end(record(5, 1))
      await once(socket, 'close')
    })
    const unread: [string, string][] = [['CONTENT_LENGTH', '4']]
    for (const socket of sockets) {
      socket.write(Buffer.concat([begin(1, 1, false), params(1, '/a', unread)]))
    }
    await Promise.all(closed)
    expect(failures).toEqual([])
  })

  it('get the responses that are complete when their connection is destroyed in the same turn', async () => {
    const events = await exchange(Buffer.concat([fastcgi(1, '/a'), fastcgi(2, '/destroy')]))
    expect(bodies(events).get(1)).toMatch(/path \/a$/)
    expect(events).toContainEqual(expect.objectContaining({ type: 'end', id: 1 }))
  })

  it('get their log lines before their responses', async () => {
    const events = await exchange(Buffer.concat([fastcgi(1, '/log'), fastcgi(2, '/b')]), 2)
    const kinds = events.filter((event) => 'id' in event && event.id === 1).map(({ type }) => type)
    expect(kinds[0]).toBe('stderr')
    expect(kinds.at(-1)).toBe('end')
  })
})

it('A response of 200,000 chunks that is shorter than its Content-Length ends without END_REQUEST', async () => {
  // More than a call can have arguments.
  const events = await exchange(fastcgi(1, '/many'))
  expect(bodies(events).get(1)).toMatch(/\r\n\r\n(?:ab){200000}$/)
  expect(events.filter(({ type }) => type === 'end')).toEqual([])
})
