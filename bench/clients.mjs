/**
 * One client for every gateway, from the web server's side: it sends a request with a body of any
 * size as fast as it is taken, and counts what comes back. For measurements of memory; for those
 * of speed a client in Node would be the bottleneck.
 */
import { Buffer } from 'node:buffer'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebServerConnection } from '../dist/src/protocol/fastcgi-web-server.js'
import { cleanEnvironment } from './common.mjs'

const BLOCK = Buffer.alloc(65_536, 'portico ')

/** What is sent for a request, and how the answer is read, in each protocol. */
const protocols = {
  fastcgi() {
    const connection = new WebServerConnection()
    return {
      head: (request) =>
        Buffer.concat([
          connection.begin(1),
          ...connection.params(1, Object.entries(variables(request))),
        ]),
      body: (block) => connection.stdin(1, block),
      end: () => connection.endStdin(1),
      decode(chunk) {
        const pieces = []
        connection.receive(chunk)
        for (let event; (event = connection.next()) !== null;) {
          if (event.type === 'stdout') pieces.push(event.data)
          else if (event.type === 'error') throw new Error(event.message)
          else if (event.type === 'stderr') process.stderr.write(event.data)
        }
        return pieces
      },
    }
  },

  scgi: () => ({
    ...plain,
    head(request) {
      // CONTENT_LENGTH has to be the first (SCGI specification, "Request Format").
      const { CONTENT_LENGTH, ...rest } = variables(request)
      const pairs = Object.entries({ CONTENT_LENGTH, SCGI: '1', ...rest })
      const headers = pairs.map(([name, value]) => `${name}\0${value}\0`).join('')
      return Buffer.from(`${headers.length}:${headers},`, 'latin1')
    },
  }),

  http: () => ({
    ...plain,
    head: ({ path, query, size }) =>
      Buffer.from(
        `${size > 0 ? 'POST' : 'GET'} ${path}?${query} HTTP/1.1\r\nHost: localhost\r\n` +
          `Content-Length: ${size}\r\nConnection: close\r\n\r\n`,
      ),
  }),

  cgi: () => ({ ...plain, head: () => Buffer.alloc(0), endsInput: true }),
}

/** The body goes as it is, and so does the answer. */
const plain = { body: (block) => [block], end: () => Buffer.alloc(0), decode: (chunk) => [chunk] }

/** The CGI variables of a request: the fewest that a gateway must be given. */
function variables({ path, query, size }) {
  return {
    CONTENT_LENGTH: `${size}`,
    GATEWAY_INTERFACE: 'CGI/1.1',
    PATH_INFO: path,
    QUERY_STRING: query,
    REQUEST_METHOD: size > 0 ? 'POST' : 'GET',
    REQUEST_URI: `${path}?${query}`,
    SCRIPT_NAME: '',
    SERVER_NAME: 'localhost',
    SERVER_PORT: '80',
    SERVER_PROTOCOL: 'HTTP/1.1',
  }
}

/**
 * Sends one request; resolves when the answer has come.
 *
 * @param {'fastcgi' | 'scgi' | 'http' | 'cgi'} protocol
 * @param {string | number | string[]} place a socket's path, a port of 127.0.0.1, or for CGI the
 *   command of the script
 * @param {{ path: string, query?: string, size?: number, pause?: number }} request `size` in bytes
 *   of the body; `pause` in ms for which nothing is read after the first piece of the answer
 * @returns {Promise<{ sent: number, received: number, last: string, log: string }>} bytes of both
 *   bodies (of the answer its head, too), the answer's last bytes, and the standard error of CGI
 */
export async function exchange(protocol, place, { path, query = '', size = 0, pause = 0 }) {
  const wire = protocols[protocol]()
  const request = { path, query, size }
  const { input, output, log } = open(place, request)
  const result = { sent: 0, received: 0, last: '', log: '' }
  const send = sendBody(input, wire, request, result)
  for await (const chunk of output) {
    const first = result.received === 0
    for (const piece of wire.decode(chunk)) {
      result.received += piece.length
      result.last = (result.last + piece.toString('latin1', piece.length - 32)).slice(-32)
    }
    if (first) await sleep(pause)
  }
  input.destroy()
  await send
  result.log = await log
  return result
}

/** The two ends of a connection, or of a script that has been started. */
function open(place, request) {
  if (Array.isArray(place)) {
    const [program, ...args] = place
    const env = { ...cleanEnvironment(), ...variables(request) }
    const child = spawn(program, args, { env, stdio: 'pipe' })
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (chunk) => (text += chunk))
    const log = once(child, 'close').then(() => text)
    return { input: child.stdin, output: child.stdout, log }
  }
  const socket = connect(typeof place === 'number' ? { port: place, host: '127.0.0.1' } : place)
  return { input: socket, output: socket, log: '' }
}

/** Gives up silently when the other side closes: it may answer without reading. */
async function sendBody(input, wire, request, result) {
  const closed = new Promise((resolve) => input.once('close', resolve))
  input.on('error', () => {})
  input.write(wire.head(request))
  while (result.sent < request.size && input.writable) {
    const block = BLOCK.subarray(0, request.size - result.sent)
    input.cork()
    for (const part of wire.body(block)) input.write(part)
    input.uncork()
    result.sent += block.length
    if (input.writableNeedDrain) await Promise.race([once(input, 'drain'), closed]).catch(() => {})
  }
  if (!input.writable) return
  // The other protocols tell where a body ends, and nginx leaves their connections open.
  if (wire.endsInput) input.end()
  else input.write(wire.end())
}
