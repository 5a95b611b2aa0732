/** A peer that follows no rules: it sends raw bytes over a socket and records what it receives. */
import { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { WebServerConnection, type WebServerEvent } from '../../src/protocol/fastcgi-web-server.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import type { Protocol, Target } from './server.ts'

export class Peer {
  readonly socket: Socket
  /** Resolves when the connection is closed or has failed. */
  readonly closed: Promise<void>
  #chunks: Buffer[] = []
  readonly #look = new Set<() => void>()

  constructor(path: string) {
    this.socket = connect({ path, allowHalfOpen: true })
    this.socket.on('error', () => {}) // 'close' follows.
    this.socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      for (const look of this.#look) look()
    })
    this.socket.on('end', () => this.socket.end())
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()))
  }

  send(...bytes: (Buffer | string)[]): this {
    this.socket.write(
      Buffer.concat(
        bytes.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
      ),
    )
    return this
  }

  get received(): Buffer {
    const all = Buffer.concat(this.#chunks)
    this.#chunks = [all]
    return all
  }

  get text(): string {
    return this.received.toString('latin1')
  }

  /** Resolves to the first result of `found` that is not undefined; rejects if the server closes. */
  until<T>(found: (received: Buffer) => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const done = () => {
        this.#look.delete(look)
        this.socket.off('close', closed)
      }
      const look = () => {
        const value = found(this.received)
        if (value === undefined) return
        done()
        resolve(value)
      }
      const closed = () => {
        done()
        reject(new Error(`The server closed after ${JSON.stringify(this.text.slice(0, 300))}`))
      }
      this.#look.add(look)
      this.socket.once('close', closed)
      look()
    })
  }

  destroy(): void {
    this.socket.destroy()
  }
}

const VARIABLES: readonly [string, string][] = [
  ['REQUEST_METHOD', 'GET'],
  ['SERVER_PROTOCOL', 'HTTP/1.1'],
  ['SCRIPT_NAME', ''],
]

/** The PARAMS stream for a path. */
export function params(id: number, path: string, more: readonly [string, string][] = []): Buffer {
  const pairs = encodePairs([...VARIABLES, ['PATH_INFO', path], ...more])
  return Buffer.concat([record(4, id, pairs), record(4, id)])
}

/** A whole FastCGI request. */
export function fastcgi(id: number, path: string, body = '', keep = true, role = 1): Buffer {
  const length: [string, string][] = body === '' ? [] : [['CONTENT_LENGTH', String(body.length)]]
  const stdin = body === '' ? [] : [record(5, id, body)]
  return Buffer.concat([begin(id, role, keep), params(id, path, length), ...stdin, record(5, id)])
}

/** The head of an SCGI request. */
export function scgi(path: string, length = 0): Buffer {
  return encodeRequest([...VARIABLES, ['PATH_INFO', path] as [string, string]].flat(), length)
}

export function http(path: string, more = 'Connection: close\r\n'): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
}

/** Sends a small request that every server must handle; resolves to the whole response. */
export async function ask(target: Target, protocol: Protocol, path = '/'): Promise<string> {
  const peer = new Peer(target.path(protocol))
  peer.send(
    { fastcgi: () => fastcgi(1, path, '', false), scgi: () => scgi(path), http: () => http(path) }[
      protocol
    ](),
  )
  await peer.closed
  return peer.text
}

/** How many requests began and were aborted so far. */
export async function counts(target: Target): Promise<{ begun: number; aborted: number }> {
  const response = await ask(target, 'scgi', '/counts')
  return JSON.parse(response.slice(response.indexOf('{'))) as { begun: number; aborted: number }
}

/** Decodes what a FastCGI application sent, with the ids 1 to 9 active. */
export function events(received: Buffer): WebServerEvent[] {
  const connection = new WebServerConnection()
  for (let id = 1; id < 10; id += 1) connection.begin(id)
  connection.receive(received)
  const list: WebServerEvent[] = []
  for (let event; (event = connection.next()) !== null;) list.push(event)
  return list
}

/** For `until`: the END_REQUEST of `id`. */
export function endOf(id: number) {
  return (received: Buffer) =>
    events(received).find((event) => event.type === 'end' && event.id === id)
}
