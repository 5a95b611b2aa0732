import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { FastCGIHandler } from '../../handlers/fastcgi.ts'
import { HTTPHandler } from '../../handlers/http.ts'
import { SCGIHandler } from '../../handlers/scgi.ts'
import { SWEEP_TIME } from '../../src/server/deadlines.ts'
import type { GatewayServer } from '../../src/server/gateway-server.ts'
import { fastcgiClient } from '../../src/testing/client-fastcgi.ts'
import type { Application } from '../../src/types.ts'
import { params, scgi } from '../hostile/peer.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import { temporaryDirectory } from './child.ts'

const directory = temporaryDirectory()
afterAll(directory.remove)

/** Bytes of the body. */
const LENGTH = 8

/** The head of an upload, a byte of its body, and what ends the body. */
const GATEWAYS = {
  fastcgi: {
    Handler: FastCGIHandler,
    head: (path: string) =>
      Buffer.concat([begin(1, 1, false), params(1, path, [['CONTENT_LENGTH', String(LENGTH)]])]),
    byte: record(5, 1, 'x'),
    end: record(5, 1),
    refused: /Status: 408 Request Timeout\r\n/,
  },
  scgi: {
    Handler: SCGIHandler,
    head: (path: string) => scgi(path, LENGTH),
    byte: 'x',
    end: '',
    refused: /^Status: 408 Request Timeout\r\n/,
  },
  http: {
    Handler: HTTPHandler,
    head: (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${LENGTH}\r\n\r\n`,
    byte: 'x',
    end: '',
    refused: /^HTTP\/1\.1 408 Request Timeout\r\nConnection: close\r\n\r\n$/,
  },
}

/** What the servers log; FastCGI sends it to the web server. */
const log = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
afterAll(() => log.mockRestore())

const bodyTimeout = 2 * SWEEP_TIME

/** '/slow' responds long after the whole body has been read; '/unread' never reads. */
const application: Application = async (environ, startResponse) => {
  if (environ.PATH_INFO === '/unread') await new Promise(() => {})
  const body = await environ['wsgi.input'].read()
  if (environ.PATH_INFO === '/slow') await sleep(4 * SWEEP_TIME)
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return [`received ${body.length}`]
}

describe.concurrent.each(Object.entries(GATEWAYS))('bodyTimeout over %s', (name, gateway) => {
  async function upload(
    path: string,
  ): Promise<{ server: GatewayServer; socket: Socket; text: () => string }> {
    const listen = `unix:${join(directory.path, `${name}${path.replace('/', '-')}`)}`
    const server = await new gateway.Handler({ listen, bodyTimeout }).run(application)
    const socket = connect(listen.slice(5))
    let text = ''
    socket.setEncoding('latin1').on('data', (part: string) => (text += part))
    socket.on('error', () => {})
    socket.write(gateway.head(path))
    return { server, socket, text: () => text }
  }

  test.concurrent.each(['/silent', '/unread'])(
    'gives %s a 408 if its client sends nothing more, and closes the connection',
    async (path) => {
      const { server, socket, text } = await upload(path)
      socket.write(gateway.byte)
      const began = performance.now()
      await once(socket, 'end')
      expect(performance.now() - began).toBeGreaterThan(bodyTimeout - SWEEP_TIME)
      expect(text()).toMatch(gateway.refused)
      socket.destroy()
      await server.close()
      const logged = name === 'fastcgi' ? text() : log.mock.calls.flat().join('')
      expect(logged).toContain(
        `${path}: PORTICO_TIMEOUT: No byte of the request body arrived for ${bodyTimeout} ms`,
      )
    },
  )

  test.concurrent('restarts with each byte', async () => {
    const { server, socket, text } = await upload('/trickle')
    for (let i = 0; i < LENGTH; i += 1) {
      await sleep(SWEEP_TIME / 2)
      socket.write(gateway.byte)
    }
    socket.write(gateway.end)
    await vi.waitFor(() => expect(text()).toContain(`received ${LENGTH}`), 20 * SWEEP_TIME)
    socket.destroy()
    await server.close()
  })

  test.concurrent('stops once the body has arrived', async () => {
    const { server, socket, text } = await upload('/slow')
    for (let i = 0; i < LENGTH; i += 1) socket.write(gateway.byte)
    socket.write(gateway.end)
    await vi.waitFor(() => expect(text()).toContain(`received ${LENGTH}`), 20 * SWEEP_TIME)
    socket.destroy()
    await server.close()
  })
})

/** Responds after `bodyTimeout` without a read. */
const respondsLate: Application = async (_environ, startResponse) => {
  await sleep(4 * SWEEP_TIME)
  startResponse('200 OK', [['Content-Type', 'text/plain']])
  return ['late']
}

const LENGTH_OF_BODY: [string, string][] = [['CONTENT_LENGTH', String(LENGTH)]]
test.each([
  ['whose body is complete without the empty STDIN record', LENGTH_OF_BODY, 'x'.repeat(LENGTH)],
  ['with more STDIN than CONTENT_LENGTH', LENGTH_OF_BODY, 'x'.repeat(LENGTH + 1)],
  ['of no length, no STDIN and no end of it', [], ''],
] satisfies [string, [string, string][], string][])(
  'A FastCGI request %s may take longer than bodyTimeout',
  async (_, length, body) => {
    const listen = `unix:${join(directory.path, `unsealed-${body.length}`)}`
    const server = await new FastCGIHandler({ listen, bodyTimeout }).run(respondsLate)
    const socket = connect(listen.slice(5))
    let text = ''
    socket.setEncoding('latin1').on('data', (part: string) => (text += part))
    socket.write(Buffer.concat([begin(1, 1, false), params(1, '/', length)]))
    if (body !== '') socket.write(record(5, 1, body))
    await once(socket, 'end')
    expect(text).toMatch(/Status: 200 OK\r\n[^]*late/)
    socket.destroy()
    await server.close()
  },
)

test('An Authorizer, which gets no body, may take longer than bodyTimeout', async () => {
  const listen = `unix:${join(directory.path, 'authorizer')}`
  const server = await new FastCGIHandler({ listen, bodyTimeout }).run(respondsLate)
  const client = fastcgiClient({ path: listen.slice(5) }, { role: 'authorizer' })
  const response = await client.request({ target: '/' })
  await server.close()
  expect([response.status, String(response.body)]).toEqual(['200 OK', 'late'])
})
