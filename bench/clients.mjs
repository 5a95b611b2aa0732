/**
 * A client for every gateway: it sends a request with a body of any size as fast as the server
 * reads it, and counts the bytes of the response. It measures memory. A client in Node is too slow
 * to measure speed.
 */
import { Buffer } from 'node:buffer'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebServerConnection } from '../dist/src/protocol/fastcgi-web-server.js'
import { cleanEnvironment } from './common.mjs'

const BLOCK = Buffer.alloc(65_536, 'portico ')

/** Encodes a request and decodes the response in each protocol. */
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
        const chunks = []
        connection.receive(chunk)
        for (let event; (event = connection.next()) !== null;) {
          if (event.type === 'stdout') chunks.push(event.data)
          else if (event.type === 'error') throw new Error(event.message)
          else if (event.type === 'stderr') process.stderr.write(event.data)
        }
        return chunks
      },
    }
  },

  scgi: () => ({
    ...plain,
    head(request) {
      // CONTENT_LENGTH must come first (SCGI specification, "Request Format").
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

/** Request and response bodies without framing. */
const plain = { body: (block) => [block], end: () => Buffer.alloc(0), decode: (chunk) => [chunk] }

/** The CGI variables of a request: the fewest that a gateway needs. */
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
 * Sends one request; resolves when the response is complete.
 *
 * @param {'fastcgi' | 'scgi' | 'http' | 'cgi'} protocol
 * @param {string | number | string[]} address the path of a socket, a port of 127.0.0.1, or for CGI
 *   the command of the script
 * @param {{ path: string, query?: string, size?: number, pause?: number }} request `size` in bytes
 *   of the body; `pause` in ms without reading after the first chunk of the response
 * @returns {Promise<{ sent: number, received: number, last: string, log: string }>} bytes of both
 *   bodies (and of the head of the response), the last bytes of the response, and a script's stderr
 */
export async function exchange(protocol, address, { path, query = '', size = 0, pause = 0 }) {
  const wire = protocols[protocol]()
  const request = { path, query, size }
  const { input, output, log } = open(address, request)
  const result = { sent: 0, received: 0, last: '', log: '' }
  const send = sendBody(input, wire, request, result)
  try {
    for await (const chunk of output) {
      const first = result.received === 0
      for (const part of wire.decode(chunk)) {
        result.received += part.length
        result.last = (result.last + part.toString('latin1', part.length - 32)).slice(-32)
      }
      if (first) await sleep(pause)
    }
  } catch (error) {
    // A server that closes with an unread body (node:http) resets the connection after its response.
    if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') throw error
  }
  input.destroy()
  await send
  result.log = await log
  return result
}

/** A connection, or the pipes of a script. */
function open(address, request) {
  if (Array.isArray(address)) {
    const [program, ...args] = address
    const env = { ...cleanEnvironment(), ...variables(request) }
    const child = spawn(program, args, { env, stdio: 'pipe' })
    let text = ''
    child.stderr.setEncoding('utf8').on('data', (chunk) => (text += chunk))
    const log = once(child, 'close').then(() => text)
    return { input: child.stdin, output: child.stdout, log }
  }
  const socket = connect(
    typeof address === 'number' ? { port: address, host: '127.0.0.1' } : address,
  )
  return { input: socket, output: socket, log: '' }
}

/** Stops silently when the server closes: it may respond without reading the body. */
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
  // The other protocols mark the end of a body, and nginx leaves their connections open.
  if (wire.endsInput) input.end()
  else input.write(wire.end())
}
