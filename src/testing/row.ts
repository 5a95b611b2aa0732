/**
 * A row of the conformance suite: a request, an application, and the expected response. The check is
 * a pure function that any test runner can use.
 */
import { Buffer } from 'node:buffer'
import { appendFileSync } from 'node:fs'
import type { Application, ApplicationClass, Body, Environ, HeaderList } from '../types.ts'
import { valuesOf } from '../response/cgi-response.ts'
import { bodyBytes, type TestRequest, type TestResponse } from './client.ts'

export interface Row {
  /** What the row shows: a sentence. */
  readonly name: string
  readonly request: TestRequest
  readonly application: Application | ApplicationClass
  readonly expect: Expectation
}

/** Where the application of the suite is mounted. */
export interface MountPoint {
  /** '' or '/…'. */
  readonly mount: string
  readonly gateway: Environ['portico.gateway']
  /** SERVER_NAME and SERVER_PORT. */
  readonly serverName: string
  readonly serverPort: number
}

/** The expected response. Keys that are omitted are not checked. */
export interface Expectation {
  /** Default '200 OK'. */
  readonly status?: string
  /** Header names with all their values in order; an empty array for an absent header. */
  readonly headers?: Readonly<Record<string, readonly string[]>>
  /** The whole body. */
  readonly body?:
    | string
    | Uint8Array
    | ((mountPoint: MountPoint) => string | Uint8Array)
    | undefined
  /** Whether the response is aborted. Default false; null if the gateway cannot signal it. */
  readonly broken?: boolean | null
  /** A text that the response must not contain. */
  readonly never?: string
  /** A text in the log, if the gateway transmits `wsgi.errors`. */
  readonly logged?: string
  /** How often `close()`, or the `finally` of a generator, must run: see `reportClose`. */
  readonly closed?: number
}

/** The differences between a response and the expectation of its row. */
export function complaints(row: Row, response: TestResponse, mountPoint: MountPoint): string[] {
  const { expect } = row
  const found: string[] = []
  const compare = (what: string, got: unknown, wanted: unknown): void => {
    if (got !== wanted) found.push(`${what} is ${inWords(got)}, not ${inWords(wanted)}`)
  }
  compare('the status', response.status, expect.status ?? '200 OK')
  for (const [name, values] of Object.entries(expect.headers ?? {})) {
    compare(name, valuesOf(response.headers, name).join(' | '), values.join(' | '))
  }
  if (expect.body !== undefined) {
    const body = typeof expect.body === 'function' ? expect.body(mountPoint) : expect.body
    const wanted = bodyBytes(body)
    if (!response.body.equals(wanted)) {
      found.push(`the body is ${showBytes(response.body)}, not ${showBytes(wanted)}`)
    }
  }
  if (expect.broken !== null) compare('broken', response.broken, expect.broken ?? false)
  if (expect.never !== undefined) {
    const whole = `${response.status}\n${response.headers.join('\n')}\n${String(response.body)}`
    if (whole.includes(expect.never)) found.push(`the response contains ${inWords(expect.never)}`)
  }
  if (expect.logged !== undefined && response.errors !== undefined) {
    if (!response.errors.includes(expect.logged)) {
      found.push(`${inWords(expect.logged)} is not in the log ${inWords(response.errors)}`)
    }
  }
  return found
}

function inWords(value: unknown): string {
  return value === '' ? 'nothing' : JSON.stringify(value)
}

/** A long body is shown by its length and its beginning. */
function showBytes(bytes: Buffer): string {
  const shown = inWords(bytes.toString('latin1', 0, 400))
  return bytes.length > 400 ? `${bytes.length} bytes ${shown}…` : shown
}

/**
 * The variable that names the file to which `reportClose` adds a line. The deployment sets it
 * (`osEnviron`, `SetEnv`); clients can only send HTTP_*.
 */
export const REPORT = 'PORTICO_TEST_REPORT'

/** Records that the body of this request was closed, in a file, because CGI has no other way. */
export function reportClose(environ: Environ): void {
  const file = environ[REPORT]
  if (typeof file === 'string') appendFileSync(file, `${environ['HTTP_X_PORTICO_ID'] ?? ''}\n`)
}

/** The body with a `close()` that reports. */
export function watched<T extends object>(environ: Environ, body: T): T & Body {
  return Object.assign(body as T & Body, { close: () => reportClose(environ) })
}

/** The headers of a plain text, and more. */
export function text(...more: HeaderList): HeaderList {
  return [['Content-Type', 'text/plain'], ...more]
}

/** A row about the environ: the application responds with these keys, line by line. */
export function sees(
  name: string,
  request: TestRequest,
  expected: (mountPoint: MountPoint) => Record<string, unknown>,
): Row {
  const names = Object.keys(expected(SOMEWHERE))
  return {
    name,
    request,
    application: (environ, startResponse) => {
      startResponse('200 OK', text())
      return [lines(Object.fromEntries(names.map((key) => [key, environ[key]])))]
    },
    expect: { body: (mountPoint) => lines(expected(mountPoint)) },
  }
}

const SOMEWHERE: MountPoint = { mount: '', gateway: 'cgi', serverName: '', serverPort: 0 }

/** One line for each key: byte strings as they are, other values as JSON. */
function lines(values: Record<string, unknown>): Buffer {
  const all = Object.entries(values).map(([name, value]) => {
    if (value === undefined) return `${name} is absent\n`
    return `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}\n`
  })
  return Buffer.from(all.join(''), 'latin1')
}
