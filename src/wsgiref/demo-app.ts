/**
 * `demoApp`: demo_app of wsgiref.simple_server, an application to try a gateway with. It prints the
 * environ, credentials included: do not publish it.
 */
import { inspect } from 'node:util'
import type { Body, Environ, StartResponse } from '../types.ts'

/** Responds with 'Hello world!' and a sorted list of `key = value`, quoted as demo_app does. */
export function demoApp(environ: Environ, startResponse: StartResponse): Body {
  let text = 'Hello world!\n\n'
  for (const key of Object.keys(environ).toSorted()) {
    text += `${key} = ${format(environ[key])}\n`
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [text]
}

function format(value: unknown): string {
  return typeof value === 'string'
    ? repr(value)
    : inspect(value, { depth: 0, breakLength: Infinity, compact: true })
}

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** Python's repr() of a string: characters that are not printable in Latin-1 are escaped. */
function repr(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(/[\\'"]|[^ -~\xa1-\xac\xae-\uffff]/g, (it) => {
    if (it === '\\' || it === mark) return `\\${it}`
    if (it === '"' || it === "'") return it
    return ESCAPES[it] ?? `\\x${it.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
  return mark + escaped + mark
}
