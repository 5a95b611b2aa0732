/**
 * One row of the conformance suite: a request, an application, and what has to come back. Checking
 * is a pure function, so that any test runner can use it.
 */
import { Buffer } from 'node:buffer'
import { appendFileSync } from 'node:fs'
import type { Application, ApplicationClass, Body, Environ, HeaderList } from '../types.ts'
import { bodyBytes, valuesOf, type TestRequest, type TestResponse } from './client.ts'

export interface Row {
  /** A sentence about behaviour. */
  readonly name: string
  /** The numbers of the facts about other gateway suites that it covers. */
  readonly facts: readonly number[]
  readonly request: TestRequest
  readonly application: Application | ApplicationClass
  readonly expect: Expectation
}

/** Where the suite runs: what an application there is told. */
export interface Place {
  /** '' or '/…'. */
  readonly mount: string
  readonly gateway: Environ['portico.gateway']
  /** SERVER_NAME and SERVER_PORT. */
  readonly serverName: string
  readonly serverPort: number
}

/** What has to come back. What is not there is not checked. */
export interface Expectation {
  /** Default '200 OK'. */
  readonly status?: string
  /** Each name with exactly these values in this order; none at all for an absent header. */
  readonly headers?: Readonly<Record<string, readonly string[]>>
  /** The whole body. */
  readonly body?: string | Uint8Array | ((place: Place) => string | Uint8Array) | undefined
  /** Default false; null where nobody can tell. */
  readonly broken?: boolean | null
  /** Is nowhere in the answer. */
  readonly never?: string
  /** Is in what `wsgi.errors` carried, where the gateway carries it to the client. */
  readonly logged?: string
  /** How often `close()`, or a generator's `finally`, is to run: see `reportClose`. */
  readonly closed?: number
}

/** What is wrong with an answer; nothing for a good one. */
export function complaints(row: Row, response: TestResponse, place: Place): string[] {
  const { expect } = row
  const found: string[] = []
  const compare = (what: string, got: unknown, wanted: unknown): void => {
    if (got !== wanted) found.push(`${what} is ${show(got)}, not ${show(wanted)}`)
  }
  compare('the status', response.status, expect.status ?? '200 OK')
  for (const [name, values] of Object.entries(expect.headers ?? {})) {
    compare(name, valuesOf(response.headers, name).join(' | '), values.join(' | '))
  }
  if (expect.body !== undefined) {
    const body = typeof expect.body === 'function' ? expect.body(place) : expect.body
    const wanted = bodyBytes(body)
    if (!response.body.equals(wanted)) {
      found.push(`the body is ${showBytes(response.body)}, not ${showBytes(wanted)}`)
    }
  }
  if (expect.broken !== null) compare('broken', response.broken, expect.broken ?? false)
  if (expect.never !== undefined) {
    const whole = `${response.status}\n${response.headers.join('\n')}\n${String(response.body)}`
    if (whole.includes(expect.never)) found.push(`the answer contains ${show(expect.never)}`)
  }
  if (expect.logged !== undefined && response.errors !== undefined) {
    if (!response.errors.includes(expect.logged)) {
      found.push(`${show(expect.logged)} is not in the log ${show(response.errors)}`)
    }
  }
  return found
}

function show(value: unknown): string {
  return value === '' ? 'nothing' : JSON.stringify(value)
}

/** A long body by its length and its beginning. */
function showBytes(bytes: Buffer): string {
  const shown = show(bytes.toString('latin1', 0, 400))
  return bytes.length > 400 ? `${bytes.length} bytes ${shown}…` : shown
}

/**
 * The variable that names the file to which `reportClose` adds a line. It is the deployment's
 * (`osEnviron`, `SetEnv`); no client can send it, since what clients send is HTTP_*.
 */
export const REPORT = 'PORTICO_TEST_REPORT'

/** Says that the body of this request was closed; a CGI process has no better way to tell. */
export function reportClose(environ: Environ): void {
  const file = environ[REPORT]
  if (typeof file === 'string') appendFileSync(file, `${environ['HTTP_X_PORTICO_ID'] ?? ''}\n`)
}

/** The body with a `close()` that reports. */
export function watched<T extends object>(environ: Environ, body: T): T & Body {
  return Object.assign(body as T & Body, { close: () => reportClose(environ) })
}

/** The headers of a text, and more. */
export function text(...more: HeaderList): HeaderList {
  return [['Content-Type', 'text/plain'], ...more]
}

/** A row about what an application sees: it tells these keys of its environ, line by line. */
export function sees(
  name: string,
  facts: readonly number[],
  request: TestRequest,
  expected: (place: Place) => Record<string, unknown>,
): Row {
  const names = Object.keys(expected(SOMEWHERE))
  return {
    name,
    facts,
    request,
    application: (environ, startResponse) => {
      startResponse('200 OK', text())
      return [told(Object.fromEntries(names.map((key) => [key, environ[key]])))]
    },
    expect: { body: (place) => told(expected(place)) },
  }
}

const SOMEWHERE: Place = { mount: '', gateway: 'cgi', serverName: '', serverPort: 0 }

/** Byte strings as they are, whatever else there is as JSON; undefined is an absent key. */
function told(values: Record<string, unknown>): Buffer {
  const lines = Object.entries(values).map(([name, value]) => {
    if (value === undefined) return `${name} is absent\n`
    return `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}\n`
  })
  return Buffer.from(lines.join(''), 'latin1')
}
