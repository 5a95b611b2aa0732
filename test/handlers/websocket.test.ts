/** WebSockets of Express and ws on an HTTP server, and what `close()` does with upgraded connections. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import express from 'express'
import { afterEach, describe, expect, test } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { HTTPHandler } from '../../src/exports/http.ts'
import type { NodeRequest } from '../../src/exports/node.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'

let server: GatewayServer | undefined

afterEach(async () => {
  await server?.close({ timeout: 100 })
})

async function serve(application: Server, scriptName?: string): Promise<number> {
  server = await new HTTPHandler({ listen: 0, scriptName }).run(application)
  if (server.address.kind !== 'tcp') throw new Error('no port')
  return server.address.port
}

/** Express for requests, and ws for upgrades of '/chat', in one http.Server. */
function chat(): Server {
  const app = express()
  app.get('/page', (_request, response) => void response.send('page'))
  const own = createServer(app)
  const sockets = new WebSocketServer({ noServer: true })
  own.on('upgrade', (request: NodeRequest, socket: Socket, head) => {
    const { environ } = request
    if (environ.PATH_INFO !== '/chat') return void socket.end('HTTP/1.1 404 Not Found\r\n\r\n')
    sockets.handleUpgrade(request, socket, head, (client) => {
      client.send(`${environ.SCRIPT_NAME}${environ.PATH_INFO} ${environ.QUERY_STRING}`)
      client.on('message', (data, binary) => client.send(data, { binary }))
      environ['portico.signal'].addEventListener('abort', () => client.close(1001, 'restart'))
    })
  })
  return own
}

/** The messages of a client, as text. */
function messagesOf(client: WebSocket): string[] {
  const messages: string[] = []
  client.on('message', (data: Buffer) => void messages.push(data.toString()))
  return messages
}

describe('Express and ws in one http.Server', () => {
  test.each([undefined, '/app'])(
    'upgrade a connection, which has its environ, at the mount point %s',
    async (mount) => {
      const port = await serve(chat(), mount)
      const base = `127.0.0.1:${port}${mount ?? ''}`
      const client = new WebSocket(`ws://${base}/chat?room=1`)
      const messages = messagesOf(client)
      await once(client, 'open')
      client.send('é'.repeat(70_000))
      await expect.poll(() => messages).toEqual([`${mount ?? ''}/chat room=1`, 'é'.repeat(70_000)])
      expect(await (await fetch(`http://${base}/page`)).text()).toBe('page')
      client.close()
      await once(client, 'close')
    },
  )

  test('refuse the upgrade of another path', async () => {
    const client = new WebSocket(`ws://127.0.0.1:${await serve(chat())}/other`)
    const [error] = (await once(client, 'error')) as [Error]
    expect(error.message).toBe('Unexpected server response: 404')
  })

  test('close their clients with a code when the server closes', async () => {
    const client = new WebSocket(`ws://127.0.0.1:${await serve(chat())}/chat`)
    await once(client, 'message')
    const closed = server!.close({ timeout: 4_000 })
    const [code, reason] = (await once(client, 'close')) as [number, Buffer]
    expect([code, String(reason)]).toEqual([1001, 'restart'])
    await closed
    expect(server!.abortedConnections).toBe(0)
  })
})

const UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

describe('close() does not wait for an upgraded connection whose client has left, if the application', () => {
  const applications: [string, (socket: Socket) => void][] = [
    ['never reads it', () => {}],
    ['reads it, and does not end it', (socket) => void socket.resume()],
    ['has paused it', (socket) => void socket.resume().pause()],
    ['has written to it since', (socket) => void setInterval(() => socket.write('x'), 5).unref()],
  ]

  test.each(
    applications.flatMap(([name, use]) => [
      [name, 'before', use] as const,
      [name, 'after', use] as const,
    ]),
  )('%s, and the client leaves %s the call', async (_, when, use) => {
    const own = createServer((_request, response) => void response.end())
    own.on('upgrade', (_request, socket: Socket) => {
      socket.write(SWITCH)
      use(socket)
    })
    const client = connect(await serve(own), '127.0.0.1').setEncoding('latin1')
    let text = ''
    client.on('data', (part: string) => (text += part)).on('error', () => {})
    client.write(UPGRADE)
    await expect.poll(() => text).toContain('\r\n\r\n')
    if (when === 'before') client.end()
    const closed = server!.close({ timeout: 4_000 })
    if (when === 'after') client.end()
    await closed
    expect(server!.abortedConnections).toBe(0)
  })

  test('and waits for a client that is still there', async () => {
    const own = createServer((_request, response) => void response.end())
    own.on('upgrade', (_request, socket: Socket) => void socket.write(SWITCH))
    const client = connect(await serve(own), '127.0.0.1').on('error', () => {})
    client.write(UPGRADE)
    await once(client, 'data')
    await server!.close({ timeout: 100 })
    expect(server!.abortedConnections).toBe(1)
  })
})
