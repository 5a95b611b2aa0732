/** The application that `portico doctor URL` asks: it shows the environ that has arrived. */
import type { Application } from '../types.ts'

/** What the doctor looks at; nothing else of the environ leaves the server. */
const SHOWN =
  /^(?:SCRIPT_NAME|PATH_INFO|QUERY_STRING|REQUEST_URI|REQUEST_METHOD|CONTENT_LENGTH|CONTENT_TYPE|HTTP_HOST|HTTP_AUTHORIZATION|HTTP_COOKIE|HTTP_X_DOCTOR|REMOTE_USER|AUTH_TYPE|SERVER_NAME|SERVER_PORT|SERVER_SOFTWARE|SERVER_PROTOCOL|HTTPS|GATEWAY_INTERFACE)$/

/** Pause between the parts of a streamed response, in ms; the doctor measures when they arrive. */
const STREAM_PAUSE = 700

/**
 * Responds to every path with the environ as JSON; to a query of `stream` with two parts, the second
 * after a pause. Mount it below a path of its own and remove it afterwards: it shows what the web
 * server sends, the credentials of its own requests included.
 */
export const doctor: Application = async (environ, startResponse) => {
  if (environ.QUERY_STRING === 'stream') {
    startResponse('200 OK', [['Content-Type', 'text/event-stream']])
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
    size,
    scheme: environ['wsgi.url_scheme'],
    multiprocess: environ['wsgi.multiprocess'],
    environ: shown,
  })
  startResponse('200 OK', [
    ['Content-Type', 'application/json'],
    ['Content-Length', String(Buffer.byteLength(body))],
    ['Cache-Control', 'no-store'],
  ])
  return [body]
}

async function* stream(): AsyncGenerator<string> {
  yield 'data: 1\n\n'
  await new Promise((resolve) => setTimeout(resolve, STREAM_PAUSE))
  yield 'data: 2\n\n'
}
