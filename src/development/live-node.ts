/**
 * Live reload and the access log for an application of node:http that gets Node's own requests and
 * responses: `live` would give it those of a bridge, and upgrades would be lost.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { NodeOrigin } from '../application/adapted.ts'
import type { HeaderList } from '../types.ts'
import { writeLine } from './access-line.ts'
import {
  firstEvent,
  headersWithScript,
  onReplaced,
  SCRIPT,
  SCRIPT_HEADERS,
  SCRIPT_PATH,
  scriptTag,
  STREAM_HEADERS,
  STREAM_PATH,
} from './live.ts'

type Listener = NodeOrigin['listener']

/** Gives the pages of a listener the script, and responds to the script's requests. */
export function liveListener(listener: Listener): Listener {
  return (request, response) => {
    const path = request.url?.split('?', 1)[0]
    if (path === SCRIPT_PATH) {
      response.writeHead(200, flat(SCRIPT_HEADERS)).end(SCRIPT)
      return
    }
    if (path === STREAM_PATH) {
      response.writeHead(200, flat(STREAM_HEADERS)).write(firstEvent())
      response.once(
        'close',
        onReplaced(() => response.end()),
      )
      return
    }
    addScript(request, response)
    return listener(request, response)
  }
}

function flat(headers: HeaderList): string[] {
  return headers.flat()
}

/** Decides when the head is about to be sent, and writes the script before the end. */
function addScript(request: IncomingMessage, response: ServerResponse): void {
  const tag = scriptTag('')
  let added = false
  let decided = false
  const original = (name: 'writeHead' | 'write' | 'end') =>
    Reflect.get(response, name) as (...args: unknown[]) => never
  const writeHead = original('writeHead')
  const write = original('write')
  const end = original('end')
  const decide = (status: number): void => {
    if (decided || response.headersSent) return
    decided = true
    const given: HeaderList = Object.entries(response.getHeaders()).flatMap(([name, value]) =>
      [value ?? []].flat().map((each): [string, string] => [name, String(each)]),
    )
    const changed = headersWithScript(String(status), given, request.method ?? 'GET', tag)
    added = changed !== null
    for (const [name, value] of changed ?? []) {
      if (/^content-(?:length|security-policy)$/.test(name)) response.setHeader(name, value)
    }
  }
  response.writeHead = function liveHead(status: number, ...rest: unknown[]): ServerResponse {
    const reason = rest.find((each) => typeof each === 'string')
    // Set first, so that `decide` sees them together with the headers that were set before.
    setHeaders(
      response,
      rest.find((each) => typeof each === 'object' && each !== null),
    )
    decide(status)
    return Reflect.apply(
      writeHead,
      response,
      [status, reason].filter((each) => each !== undefined),
    )
  }
  response.write = function liveWrite(...args: unknown[]): boolean {
    decide(response.statusCode)
    return Reflect.apply(write, response, args)
  } as ServerResponse['write']
  response.end = function liveEnd(...args: unknown[]): ServerResponse {
    decide(response.statusCode)
    if (!added || response.writableEnded) return Reflect.apply(end, response, args)
    added = false
    const [chunk, encoding] = args
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) {
      Reflect.apply(write, response, typeof encoding === 'string' ? [chunk, encoding] : [chunk])
    }
    const callback = args.find((each) => typeof each === 'function')
    return Reflect.apply(end, response, callback === undefined ? [tag] : [tag, callback])
  } as ServerResponse['end']
}

function setHeaders(response: ServerResponse, headers: unknown): void {
  if (Array.isArray(headers)) {
    const pairs = Array.isArray(headers[0]) ? (headers as unknown[][]).flat() : headers
    const seen = new Set<string>()
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      const name = String(pairs[i])
      if (seen.has(name.toLowerCase())) response.appendHeader(name, pairs[i + 1] as string)
      else response.setHeader(name, pairs[i + 1] as string)
      seen.add(name.toLowerCase())
    }
  } else {
    for (const [name, value] of Object.entries((headers ?? {}) as OutgoingHttpHeaders)) {
      if (value !== undefined) response.setHeader(name, value)
    }
  }
}

/** Writes a short line for each response. */
export function loggedListener(listener: Listener): Listener {
  return (request, response) => {
    const began = performance.now()
    const { method = 'GET', url: target = '/' } = request
    response.once('close', () => {
      const status = response.headersSent ? String(response.statusCode) : '-'
      writeLine({ method, target, status, milliseconds: performance.now() - began })
    })
    return listener(request, response)
  }
}
