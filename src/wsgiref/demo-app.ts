/**
 * `demoApp`: wsgiref.simple_server's demo_app, an application to try a gateway with. It shows what
 * the gateway passes, and so whatever a client sent to prove who it is: not for the public.
 */
import { inspect } from 'node:util'
import type { Body, Environ, StartResponse } from '../types.ts'

/**
 * Answers with 'Hello world!' and a line `key = value` for each key of the environ, sorted; text is
 * quoted as demo_app does it, byte for byte.
 */
export function demoApp(environ: Environ, startResponse: StartResponse): Body {
  let text = 'Hello world!\n\n'
  for (const key of Object.keys(environ).toSorted()) {
    text += `${key} = ${show(environ[key])}\n`
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [text]
}

function show(value: unknown): string {
  return typeof value === 'string'
    ? quote(value)
    : inspect(value, { depth: 0, breakLength: Infinity, compact: true })
}

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** Python's repr() of a byte string: what is not visible in Latin-1 is escaped. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const escaped = text.replace(/[\\'"]|[^ -~\xa1-\xac\xae-\uffff]/g, (it) => {
    if (it === '\\' || it === mark) return `\\${it}`
    if (it === '"' || it === "'") return it
    return ESCAPES[it] ?? `\\x${it.charCodeAt(0).toString(16).padStart(2, '0')}`
  })
  return mark + escaped + mark
}
