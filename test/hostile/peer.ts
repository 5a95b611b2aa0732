/** A web server that keeps no rules: raw bytes over a socket, and what came back. */
import { Buffer } from 'node:buffer'
import { connect, type Socket } from 'node:net'
import { encodePairs } from '../../src/protocol/fastcgi-pairs.ts'
import { WebServerConnection, type WebServerEvent } from '../../src/protocol/fastcgi-web-server.ts'
import { encodeRequest } from '../../src/protocol/scgi.ts'
import { begin, record } from '../protocol/fastcgi-helpers.ts'
import type { Protocol, Target } from './server.ts'

export class Peer {
  readonly socket: Socket
  /** Resolves when the server has closed, or the connection broke. */
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
        bytes.map((piece) => (typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece)),
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

  /** Resolves to `found` of what came, once that is not undefined; fails if the server closes. */
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
        reject(new Error(`closed behind ${JSON.stringify(this.text.slice(0, 300))}`))
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

/** PARAMS for a path, with their end. */
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

/** A small request that each server has to answer; resolves to the whole answer. */
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

/** What has become of the requests so far. */
export async function counts(target: Target): Promise<{ begun: number; aborted: number }> {
  const answer = await ask(target, 'scgi', '/counts')
  return JSON.parse(answer.slice(answer.indexOf('{'))) as { begun: number; aborted: number }
}

/** The events in what a FastCGI application sent; ids are taken to be active from 1 to 9. */
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
