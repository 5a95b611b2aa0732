/** Sends one request, follows redirects, and prints the response as curl does. */
import { Buffer } from 'node:buffer'
import { PeerError, PorticoError } from '../../errors.ts'
import type { TestRequest } from '../../testing/client.ts'
import type { Exchange, Receiver, ResponseHead } from '../../testing/exchange.ts'
import { EmptyResponse, isReset, RefusedRequest } from '../../testing/failures.ts'
import { escapeControl } from '../../text.ts'
import type { FlagValues } from '../flags.ts'
import { whyUnreachable } from '../unreachable.ts'
import { CURL_EXIT, TransferError } from './exit-codes.ts'
import { MAX_REDIRECTS } from './flags.ts'
import type { Output } from './output.ts'
import { byteDump, recordDump } from './record-dump.ts'

export interface Transfer {
  readonly exchange: Exchange
  readonly values: FlagValues
  /** 'HTTP/1.1 ' for HTTP; the others have a Status header. */
  readonly statusLine: 'HTTP/1.1 ' | 'Status: '
  /** SCRIPT_NAME, which is not part of the target. */
  readonly mount: string
  /** Where it goes, for -v: 'unix:/run/app.sock (FastCGI)'. */
  readonly destination: string
  /** The lines that -v shows of a request. */
  sent(request: TestRequest): readonly string[]
  /** The gateway whose bytes --record-dump shows. */
  readonly gateway: 'fastcgi' | 'scgi' | null
  readonly output: Output
  readonly err: (text: string) => void
}

/** How a request went. */
export interface Result {
  readonly exit: number
  readonly head: ResponseHead | null
  /** Bytes of the body. */
  readonly size: number
  readonly milliseconds: number
  /** A line for stderr; undefined if there is nothing to say. */
  readonly message?: string
}

/** Sends a request and what it is redirected to; resolves to the exit code. */
export async function transfer(call: Transfer, request: TestRequest): Promise<number> {
  const { values } = call
  const most = (values['maxRedirs'] as number | undefined) ?? MAX_REDIRECTS
  let current = request
  for (let redirects = 0; ; redirects += 1) {
    const result = await send(call, current)
    const next = values['location'] === true ? redirected(call, current, result.head) : null
    if (next === null || result.exit !== CURL_EXIT.done) return finish(call, result)
    if (redirects === most) {
      const message = `more than ${most} redirects followed`
      return finish(call, { ...result, exit: CURL_EXIT.tooManyRedirects, message })
    }
    current = next
  }
}

async function finish(call: Transfer, result: Result): Promise<number> {
  try {
    await call.output.end()
    return report(call, result)
  } catch (error) {
    return report(call, { ...result, ...failureOf(error, null) })
  }
}

function report({ values, err }: Transfer, { exit, message }: Result): number {
  const quiet = values['silent'] === true && values['showError'] !== true
  if (message !== undefined && !quiet) err(`portico: (${exit}) ${escapeControl(message)}\n`)
  return exit
}

/** Sends one request. Every failure is a result. */
export async function send(call: Transfer, request: TestRequest): Promise<Result> {
  const { values, output, err, gateway } = call
  const verbose = values['verbose'] === true
  const started = performance.now()
  const limits = timeLimits(values)
  const seen = { head: null as ResponseHead | null, size: 0, connected: false }
  const discards = { body: false }
  const dump = gateway === 'fastcgi' ? recordDump() : byteDump
  const log = logLines(err)
  const receiver: Receiver = {
    connected() {
      seen.connected = true
      limits.connected()
      if (verbose) err(`* Connected to ${call.destination}\n`)
      if (verbose) for (const line of call.sent(request)) err(`> ${escapeControl(line)}\n`)
    },
    head(head) {
      seen.head = head
      const lines = headLines(call.statusLine, head)
      if (verbose) err(`${lines.map((line) => `< ${escapeControl(line)}`).join('\n')}\n<\n`)
      const follows = values['location'] === true && redirected(call, request, head) !== null
      discards.body = follows || (values['fail'] === true && isError(head))
      // Byte strings, as they came.
      if (values['include'] || values['head']) {
        void output.write(Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'))
      }
    },
    body(chunk) {
      seen.size += chunk.length
      return discards.body ? undefined : output.write(chunk)
    },
    log: (chunk) => log.add(chunk),
    wire(direction, bytes) {
      if (values['recordDump']) err(dump(direction, bytes))
    },
  }
  let failure: { exit: number; message: string } | undefined
  try {
    const broken = await call.exchange(request, receiver, limits.signal)
    if (broken !== undefined) failure = { exit: CURL_EXIT.partial, message: `aborted: ${broken}` }
  } catch (error) {
    failure = failureOf(error, { ...seen, destination: call.destination })
  }
  limits.clear()
  log.end()
  const milliseconds = performance.now() - started
  if (verbose) err(`* ${seen.size} bytes in ${milliseconds.toFixed(1)} ms\n`)
  const result = { head: seen.head, size: seen.size, milliseconds }
  if (failure !== undefined) return { ...result, ...failure }
  const failing = values['fail'] === true || values['failWithBody'] === true
  if (!failing || seen.head === null || !isError(seen.head)) {
    return { ...result, exit: CURL_EXIT.done }
  }
  return { ...result, exit: CURL_EXIT.failStatus, message: `the status is ${seen.head.status}` }
}

function isError({ status }: ResponseHead): boolean {
  return Number(status.slice(0, 3)) >= 400
}

function headLines(statusLine: string, { status, headers }: ResponseHead): string[] {
  return [statusLine + status, ...headers.map(([name, value]) => `${name}: ${value}`)]
}

/** curl's exit code for an error. */
function failureOf(
  error: unknown,
  seen: { head: ResponseHead | null; connected: boolean; destination: string } | null,
): { exit: number; message: string } {
  if (error instanceof TransferError) return { exit: error.exit, message: error.message }
  if (!(error instanceof PorticoError) || seen === null) throw error
  const { message } = error
  if (!(error instanceof PeerError)) return { exit: CURL_EXIT.usage, message }
  if (!seen.connected) {
    const { cause } = error
    const why = cause instanceof Error ? `${seen.destination} ${whyUnreachable(cause)}` : message
    const { code = '' } = (cause ?? {}) as NodeJS.ErrnoException
    const isName = code === 'ENOTFOUND' || code === 'EAI_AGAIN'
    return { exit: isName ? CURL_EXIT.notResolved : CURL_EXIT.notConnected, message: why }
  }
  if (error instanceof EmptyResponse || error instanceof RefusedRequest) {
    return { exit: CURL_EXIT.empty, message }
  }
  if (error.code === 'PORTICO_PROTOCOL' || error.code === 'PORTICO_TOO_LARGE') {
    return { exit: CURL_EXIT.weirdReply, message }
  }
  const reset = seen.head === null && isReset(error)
  return { exit: reset ? CURL_EXIT.receiveError : CURL_EXIT.partial, message }
}

/** -m and --connect-timeout. */
function timeLimits(values: FlagValues) {
  const controller = new AbortController()
  const limit = (flag: string, what: string) => {
    const seconds = values[flag] as string | undefined
    if (seconds === undefined) return undefined
    const message = `${what} within ${seconds} s`
    const expire = () => controller.abort(new TransferError(CURL_EXIT.timeout, message))
    return setTimeout(expire, Number(seconds) * 1000)
  }
  const whole = limit('maxTime', 'no complete response')
  const connecting = limit('connectTimeout', 'no connection')
  return {
    signal: controller.signal,
    connected: () => clearTimeout(connecting),
    clear() {
      clearTimeout(whole)
      clearTimeout(connecting)
    },
  }
}

/** The application's log, line by line, so that it is not mistaken for the response. */
function logLines(err: (text: string) => void) {
  let rest = ''
  return {
    add(chunk: Buffer): void {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop()!
      for (const line of lines) err(`stderr: ${escapeControl(line)}\n`)
    },
    end(): void {
      if (rest !== '') err(`stderr: ${escapeControl(rest)}\n`)
    },
  }
}

/** What curl -L sends next; null without a redirect, or for one to another host. */
function redirected(
  { mount }: Transfer,
  request: TestRequest,
  head: ResponseHead | null,
): TestRequest | null {
  const [, location] = head?.headers.find(([name]) => name.toLowerCase() === 'location') ?? []
  if (head === null || location === undefined) return null
  const code = Number(head.status.slice(0, 3))
  // A CGI script's `Location: /path` without a status is for the web server (RFC 3875, 6.2.2).
  if (code !== 200 && ![301, 302, 303, 307, 308].includes(code)) return null
  const [, host = 'localhost'] = request.headers?.find(([name]) => /^host$/i.test(name)) ?? []
  const base = new URL(mount + request.target, `http://${host}`)
  const url = URL.canParse(location, base.href) ? new URL(location, base) : null
  if (url === null || url.host !== base.host || !/^https?:$/.test(url.protocol)) return null
  // Other paths of the web server belong to other applications.
  if (url.pathname !== mount && !url.pathname.startsWith(`${mount}/`)) return null
  const target = url.pathname.slice(mount.length) + url.search
  const { method = 'GET' } = request
  if (code >= 307 || method === 'HEAD' || method === 'GET') return { ...request, target }
  const headers = (request.headers ?? []).filter(([name]) => !/^content-/i.test(name))
  return { method: 'GET', headers, target }
}
