/** `portico ping`: a health check that runs no code of the application. */
import { connect, type Socket } from 'node:net'
import {
  encodeRecord,
  FCGI_GET_VALUES,
  FCGI_GET_VALUES_RESULT,
  FCGI_MPXS_CONNS,
  FCGI_NULL_REQUEST_ID,
} from '../protocol/fastcgi.ts'
import { encodePairs } from '../protocol/fastcgi-pairs.ts'
import { quote } from '../text.ts'
import type { Command } from './commands.ts'
import { controlPath } from './control-path.ts'
import { EXIT } from './exit-codes.ts'
import { parseTarget, type SocketAddress, type RequestedTarget } from './request/target.ts'
import { whyUnreachable } from './unreachable.ts'
import { UsageError } from './usage-error.ts'

/** Kubernetes gives a probe 1 s by default, Docker 30 s. A process that starts needs some of it. */
const DEFAULT_TIMEOUT = 5_000

export const command: Command = {
  operands: '[TARGET]',
  count: [0, 1],
  flags: {
    json: { kind: 'switch', help: 'print one JSON object' },
    timeout: {
      kind: 'time',
      range: [1, 3_600_000],
      value: 'TIME',
      help: 'how long to wait',
      default: DEFAULT_TIMEOUT,
    },
  },
  notes: [
    'TARGET: the path of --control, to ask all workers, or an address, to ask one',
    'of them: fastcgi://unix:PATH, fastcgi://HOST:PORT, scgi://…, http://HOST:PORT.',
    'No application code runs, except for http://HOST:PORT/path, which must respond',
    'with 2xx or 3xx.',
    'Default: PORTICO_CONTROL, or control of portico.config.js here.',
    'Exit code 0 if the server responds, 1 if not: for health checks.',
  ],
  async run({ operands: [given], values, out, err }) {
    const json = values['json'] === true
    const timeout = (values['timeout'] as number | undefined) ?? DEFAULT_TIMEOUT
    const output = {
      json,
      out: (line: string) => out(`${line}\n`),
      err: (line: string) => err(`${line}\n`),
    }
    if (given === undefined || !/^[a-z]+:\/\//i.test(given)) {
      const path = await controlPath('ping', given)
      const { ping } = await import('../master/client.ts')
      return ping(path, { ...output, timeout })
    }
    const target = parseTarget(given)
    if (!('address' in target)) {
      throw new UsageError(`ping: ${quote(given)} is not an address of a server`)
    }
    const error = await probe(target, timeout)
    if (json) output.out(JSON.stringify({ ok: error === null, error }))
    else if (error === null) output.out('pong')
    if (error === null) return EXIT.done
    output.err(`${given} ${error}`)
    return EXIT.failed
  },
}

type Server = Extract<RequestedTarget, { address: SocketAddress }>

/** Resolves to what is wrong, after the name of the target; null if it responds. */
export function probe(
  { kind, address, host, path }: Server,
  timeout: number,
): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(address as { port: number })
    const done = (error: string | null): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(error)
    }
    const timer = setTimeout(() => {
      done(`has not responded for ${timeout / 1000} s: its workers are blocked, or it is stopped`)
    }, timeout)
    socket.once('error', (error: NodeJS.ErrnoException) => done(whyUnreachable(error)))
    PROBES[kind](socket, { host, path }, done)
  })
}

type Probe = (
  socket: Socket,
  request: Pick<Server, 'host' | 'path'>,
  done: (error: string | null) => void,
) => void

const PROBES: Readonly<Record<Server['kind'], Probe>> = {
  /** FastCGI 1.0, section 4.1: the gateway responds to GET_VALUES itself. */
  fastcgi(socket, _, done) {
    const pairs = encodePairs([[FCGI_MPXS_CONNS, '']])
    socket.write(encodeRecord(FCGI_GET_VALUES, FCGI_NULL_REQUEST_ID, pairs))
    socket.once('data', ([version, type]) => {
      done(version === 1 && type === FCGI_GET_VALUES_RESULT ? null : 'does not speak FastCGI')
    })
    socket.once('end', () => done('does not speak FastCGI'))
  },
  /**
   * A server must refuse a request of HTTP/1.1 without Host (RFC 9112, section 3.2), and so does so
   * before any application sees it. A path is asked for as usual.
   */
  http(socket, { host, path }, done) {
    const isServer = path === '/'
    const hostHeader = isServer ? '' : `Host: ${host}\r\nUser-Agent: portico ping\r\n`
    socket.write(`GET ${path} HTTP/1.1\r\n${hostHeader}Connection: close\r\n\r\n`)
    socket.setEncoding('latin1').once('data', (text) => {
      const [, status] = /^HTTP\/1\.[01] (\d{3})\b/.exec(String(text)) ?? []
      if (status === undefined) done('does not speak HTTP')
      else done(isServer || /^[23]/.test(status) ? null : `responds with status ${status}`)
    })
    socket.once('end', () => done('does not speak HTTP'))
  },
  /** SCGI has no such message. A server closes a connection that ends before its request. */
  scgi(socket, _, done) {
    socket.end()
    socket.resume().once('end', () => done(null))
  },
}
