/**
 * The application that all of Portico's gateways run in the benchmarks, and its counterpart for
 * `node:http`. Both respond by path:
 *
 *   /hello     a line of text
 *   /64k       64 KiB
 *   /echo      the request body, collected
 *   /upload    the number of bytes of the request body, which is read and discarded
 *   /download  as many bytes as the query says, in chunks of 64 KiB
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
      return blocks(Number(environ.QUERY_STRING))
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

function* blocks(size) {
  for (let rest = size; rest > 0; rest -= BLOCK.length) yield BLOCK.subarray(0, rest)
}

/**
 * The same for `http.createServer`, as fast as it can be written there: no promises in the paths
 * whose speed is measured, bodies by 'data' events, Content-Length instead of chunked coding.
 */
export function listener(request, response) {
  const [path, query] = request.url.split('?')
  switch (path) {
    case '/hello':
      send(response, TEXT_TYPE, 'Hello, world!\n')
      break
    case '/64k':
      send(response, BYTES_TYPE, BLOCK)
      break
    case '/echo': {
      const chunks = []
      request.on('data', (chunk) => chunks.push(chunk))
      request.on('end', () => send(response, BYTES_TYPE, Buffer.concat(chunks)))
      break
    }
    case '/upload': {
      let size = 0
      request.on('data', (chunk) => (size += chunk.length))
      request.on('end', () => send(response, TEXT_TYPE, `${size}\n`))
      break
    }
    case '/download':
      void download(response, Number(query))
      break
    case '/idle':
      setTimeout(() => send(response, TEXT_TYPE, 'Not read.\n'), Number(query) * 1000)
      break
    default:
      response.statusCode = 404
      response.end()
  }
}

async function download(response, size) {
  response.writeHead(200, { 'Content-Type': BYTES_TYPE, 'Content-Length': size })
  for (const block of blocks(size)) {
    if (!response.write(block)) await once(response, 'drain')
  }
  response.end()
}

function send(response, type, body) {
  response.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) })
  response.end(body)
}
