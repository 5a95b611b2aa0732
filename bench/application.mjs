/**
 * The application that all measurements of Portico's gateways run, and its counterpart for
 * `node:http`, written as one writes it there. Both answer, by path:
 *
 *   /hello     a line of text
 *   /64k       64 KiB
 *   /echo      the request's body, collected
 *   /upload    the number of bytes of the request's body, which is read and thrown away
 *   /download  as many bytes as the query says, in pieces of 64 KiB
 *   /idle      a line, after as many seconds as the query says; the body is never read
 */
import { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

const TEXT_TYPE = 'text/plain; charset=utf-8'
const BYTES_TYPE = 'application/octet-stream'
const TEXT = [['Content-Type', TEXT_TYPE]]
const BYTES = [['Content-Type', BYTES_TYPE]]
const BLOCK = Buffer.alloc(65_536, 'portico ')

/** For every gateway of Portico. */
export function application(environ, startResponse) {
  switch (environ.PATH_INFO) {
    case '/hello':
      startResponse('200 OK', TEXT)
      return ['Hello, world!\n']
    case '/64k':
      startResponse('200 OK', BYTES)
      return [BLOCK]
    case '/echo':
      return echo(environ, startResponse)
    case '/upload':
      return upload(environ, startResponse)
    case '/download':
      startResponse('200 OK', BYTES)
      return pieces(Number(environ.QUERY_STRING))
    case '/idle':
      return idle(environ, startResponse)
    default:
      startResponse('404 Not Found', TEXT)
      return ['There is nothing here.\n']
  }
}

async function echo(environ, startResponse) {
  const body = await environ['wsgi.input'].read()
  startResponse('200 OK', BYTES)
  return [body]
}

async function upload(environ, startResponse) {
  let size = 0
  for await (const chunk of environ['wsgi.input'].chunks()) size += chunk.length
  startResponse('200 OK', TEXT)
  return [`${size}\n`]
}

async function idle(environ, startResponse) {
  await sleep(Number(environ.QUERY_STRING) * 1000)
  startResponse('200 OK', TEXT)
  return ['Not read.\n']
}

function* pieces(size) {
  for (let rest = size; rest > 0; rest -= BLOCK.length) yield BLOCK.subarray(0, rest)
}

/** The same for `http.createServer`. With a Content-Length, which saves it the chunked coding. */
export async function listener(request, response) {
  const [path, query] = request.url.split('?')
  switch (path) {
    case '/hello':
      send(response, TEXT_TYPE, 'Hello, world!\n')
      return
    case '/64k':
      send(response, BYTES_TYPE, BLOCK)
      return
    case '/echo': {
      const chunks = []
      for await (const chunk of request) chunks.push(chunk)
      send(response, BYTES_TYPE, Buffer.concat(chunks))
      return
    }
    case '/upload': {
      let size = 0
      for await (const chunk of request) size += chunk.length
      send(response, TEXT_TYPE, `${size}\n`)
      return
    }
    case '/download':
      response.writeHead(200, { 'Content-Type': BYTES_TYPE, 'Content-Length': query })
      for (const piece of pieces(Number(query))) {
        if (!response.write(piece)) await once(response, 'drain')
      }
      response.end()
      return
    case '/idle':
      await sleep(Number(query) * 1000)
      send(response, TEXT_TYPE, 'Not read.\n')
      return
    default:
      response.statusCode = 404
      response.end()
  }
}

function send(response, type, body) {
  response.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
  response.end(body)
}
