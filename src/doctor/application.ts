/** The application that `portico doctor URL` asks: it shows the environ that has arrived. */
import { randomUUID } from 'node:crypto'
import type { Application, Environ } from '../types.ts'
import { FORGED_ADDRESS, FORGED_NAME } from './forged-headers.ts'

/** What the doctor looks at; nothing else of the environ leaves the server. */
const SHOWN =
  /^(?:SCRIPT_NAME|PATH_INFO|QUERY_STRING|REQUEST_URI|REQUEST_METHOD|CONTENT_LENGTH|CONTENT_TYPE|HTTP_HOST|HTTP_AUTHORIZATION|HTTP_COOKIE|HTTP_X_DOCTOR|REMOTE_USER|REMOTE_ADDR|AUTH_TYPE|SERVER_NAME|SERVER_PORT|SERVER_SOFTWARE|SERVER_PROTOCOL|HTTPS|GATEWAY_INTERFACE)$/

/** Pause between the parts of a streamed response, in ms; the doctor measures when they arrive. */
const STREAM_PAUSE = 700

/** The status of a query of `error`: no web server sends it by itself. */
const ERROR_STATUS = '422 Unprocessable Content'

/**
 * Responds to every path with the environ as JSON; to a query of `stream` with two parts, the second
 * after a pause, and to one of `error` with a 422. Mount it below a path of its own and remove it
 * afterwards: it shows what the web server sends, the credentials of its own requests included.
 */
export const doctor: Application = async (environ, startResponse) => {
  if (environ.QUERY_STRING === 'stream') {
    startResponse('200 OK', [
      ['Content-Type', 'text/event-stream'],
      ['Cache-Control', 'no-cache'],
    ])
    return stream()
  }
  let size = 0
  for await (const chunk of environ['wsgi.input'].chunks()) size += chunk.length
  const shown = Object.fromEntries(
    Object.entries(environ).filter(
      ([name, value]) => SHOWN.test(name) && typeof value === 'string',
    ),
  )
  const body = JSON.stringify({
    portico: true,
    // Two responses with the same one come from a cache.
    id: randomUUID(),
    size,
    scheme: environ['wsgi.url_scheme'],
    gateway: environ['portico.gateway'],
    multiprocess: environ['wsgi.multiprocess'],
    forged: forgedIn(environ),
    environ: shown,
  })
  startResponse(environ.QUERY_STRING === 'error' ? ERROR_STATUS : '200 OK', [
    ['Content-Type', 'application/json'],
    ['Content-Length', String(Buffer.byteLength(body))],
    // A cache that is right asks again.
    ['Cache-Control', 'no-cache'],
  ])
  return [body]
}

/** Variables, other than request headers, with a value that the doctor has sent in a header. */
function forgedIn(environ: Environ): string[] {
  return Object.entries(environ)
    .filter(([name]) => !name.startsWith('HTTP_') && name !== 'REDIRECT_HTTP_AUTHORIZATION')
    .filter(
      ([, value]) =>
        typeof value === 'string' &&
        (value.includes(FORGED_NAME) || value.includes(FORGED_ADDRESS)),
    )
    .map(([name]) => name)
}

async function* stream(): AsyncGenerator<string> {
  yield 'data: 1\n\n'
  await new Promise((resolve) => setTimeout(resolve, STREAM_PAUSE))
  yield 'data: 2\n\n'
}
