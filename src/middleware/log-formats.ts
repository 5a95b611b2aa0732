/** The formats of a line in the access log. */
import { decodeText } from '../environ/environ.ts'
import { ConfigurationError } from '../errors.ts'
import { suggestion } from '../options/names.ts'
import { asJsonLine, quote } from '../text.ts'
import type { Headers } from '../response/headers.ts'
import type { Environ } from '../types.ts'
import { MONTHS } from './http-date.ts'

/** What is known about a response when its body has been closed. */
export interface LogEntry {
  /** As it is at the end: middleware and applications may have added to it. */
  readonly environ: Environ
  readonly method: string
  /** The raw request target. */
  readonly target: string
  readonly began: Date
  milliseconds: number
  /** The code alone: '200'. */
  status: string
  headers: Headers
  /** Bytes of the body, before any transfer coding. */
  bytes: number
}

const COMMON = '%h %l %u %t "%r" %s %b'
const FORMATS: ReadonlyMap<string, string> = new Map([
  ['common', COMMON],
  ['combined', `${COMMON} "%{Referer}i" "%{User-Agent}i"`],
])

/** What `accessLog` accepts in place of a format. */
const NAMES = [...FORMATS.keys(), 'json']

type Directive = (entry: LogEntry) => string | undefined

const DIRECTIVES: ReadonlyMap<string, Directive> = new Map<string, Directive>([
  ['a', ({ environ }) => environ['REMOTE_ADDR']],
  ['h', ({ environ }) => environ['REMOTE_HOST'] || environ['REMOTE_ADDR']],
  ['l', () => undefined],
  ['u', ({ environ }) => environ['REMOTE_USER']],
  ['t', ({ began }) => `[${clfDate(began)}]`],
  ['r', (entry) => `${entry.method} ${entry.target} ${entry.environ.SERVER_PROTOCOL}`],
  ['m', ({ method }) => method],
  ['U', ({ target }) => target.split('?', 1)[0]],
  ['H', ({ environ }) => environ.SERVER_PROTOCOL],
  ['s', ({ status }) => status],
  ['b', ({ bytes }) => (bytes === 0 ? undefined : String(bytes))],
  ['B', ({ bytes }) => String(bytes)],
  ['v', ({ environ }) => environ.SERVER_NAME],
  ['V', ({ environ }) => environ['HTTP_HOST'] || environ.SERVER_NAME],
  ['p', ({ environ }) => environ.SERVER_PORT],
  ['P', () => String(process.pid)],
  ['D', ({ milliseconds }) => String(Math.round(milliseconds * 1000))],
  ['T', ({ milliseconds }) => String(Math.floor(milliseconds / 1000))],
])

/**
 * Parses a format and returns a function that makes the line for an entry. What is unknown or empty
 * is a '-', so that each line has the same fields.
 *
 * @param option what the message of an error calls the format.
 * @throws {ConfigurationError} for an unknown directive, or a format without any.
 */
export function textLine(
  format: string,
  option = 'accessLog: the format',
): (entry: LogEntry) => string {
  const known = FORMATS.get(format)
  if (known === undefined && !format.includes('%')) {
    throw new ConfigurationError(
      `${option} ${quote(format)} has no directive such as %h, and is not a name. ` +
        suggestion(format, NAMES),
    )
  }
  const parts = (known ?? format)
    .split(PART)
    .map((part) => (part.startsWith('%') ? directive(part, option) : () => part))
  return (entry) => {
    let line = ''
    for (const part of parts) line += part(entry)
    return `${line}\n`
  }
}

/** Splits a format into text and directives. Apache's users write `%>s`, so '>' is accepted. */
const PART = /(%(?:\{[^}]*\}|>)?[^>{]?)/s

function directive(part: string, option: string): (entry: LogEntry) => string {
  if (part === '%%') return () => '%'
  // '%q' follows the path without a space, so a missing query is '' and not '-'.
  if (part === '%q') return ({ target }) => escape(/\?.*/s.exec(target)?.[0] ?? '')
  const [, name, letter = ''] = /^%(?:\{([^}]*)\}|>)?(.?)$/s.exec(part) ?? []
  const value = name === undefined ? DIRECTIVES.get(letter) : named(name, letter)
  if (value === undefined) {
    throw new ConfigurationError(`${option} has the unknown directive ${part}`)
  }
  return (entry) => escape(value(entry) || '-')
}

function named(name: string, letter: string): Directive | undefined {
  if (letter === 'i') {
    const header = name.replaceAll('-', '_').toUpperCase()
    // These two variables have no prefix HTTP_ (RFC 3875, sections 4.1.2 and 4.1.3).
    const own = header === 'CONTENT_TYPE' || header === 'CONTENT_LENGTH'
    const variable = (own ? header : `HTTP_${header}`) as Uppercase<string>
    return ({ environ }) => environ[variable]
  }
  if (letter === 'o') return ({ headers }) => headers.getAll(name).join(', ') || undefined
  if (letter === 'e') {
    return ({ environ }) => {
      const value: unknown = environ[name]
      return typeof value === 'string' ? value : undefined
    }
  }
}

/** Escapes backslashes, quotes and bytes that are not visible ASCII, like Apache since 2.0.46. */
function escape(value: string): string {
  return value.replace(/[^ !#-[\]-~]/g, (character) => {
    if (character === '"' || character === '\\') return `\\${character}`
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
}

/** `10/Oct/2000:13:55:36 +0000` */
function clfDate(date: Date): string {
  const [, year = '', month = '', day = '', time = ''] =
    /^(\d+)-(\d+)-(\d+)T([\d:]+)/.exec(date.toISOString()) ?? []
  return `${day}/${MONTHS[Number(month) - 1]}/${year}:${time} +0000`
}

/** Undefined for an empty value, too: nginx sends every parameter that it is configured to send. */
function text(value: string | undefined): string | undefined {
  return value ? decodeText(value) : undefined
}

/** One JSON object a line, in UTF-8. */
export function jsonLine({ environ, ...entry }: LogEntry): string {
  return asJsonLine({
    time: entry.began.toISOString(),
    remoteAddr: text(environ['REMOTE_ADDR']),
    remoteUser: text(environ['REMOTE_USER']),
    method: entry.method,
    target: text(entry.target),
    protocol: environ.SERVER_PROTOCOL,
    host: text(environ['HTTP_HOST']),
    status: Number(entry.status),
    bytes: entry.bytes,
    milliseconds: Math.round(entry.milliseconds * 1000) / 1000,
    referer: text(environ['HTTP_REFERER']),
    userAgent: text(environ['HTTP_USER_AGENT']),
  })
}
