/**
 * `demoApp`: wsgiref.simple_server's demo_app, an application to try a gateway with. It shows what
 * the gateway passes, and so whatever a client sent to prove who it is: not for the public.
 */
import { inspect } from 'node:util'
import type { Body, Environ, StartResponse } from './types.ts'

/** Answers with 'Hello world!' and a line `key = value` for each key of the environ, sorted. */
export function demoApp(environ: Environ, startResponse: StartResponse): Body {
  let text = 'Hello world!\n\n'
  for (const key of Object.keys(environ).toSorted()) {
    text += `${key} = ${inspect(environ[key], { depth: 0, breakLength: Infinity, compact: true })}\n`
  }
  startResponse('200 OK', [['Content-Type', 'text/plain; charset=utf-8']])
  return [text]
}
