/** An HTTP to FastCGI front: passes a request of node:http on as a web server would. */
import { connect } from 'node:net'
import { WebServerConnection } from '../../dist/src/protocol/fastcgi-web-server.js'

const ID = 1

/** Sends `request` to the FastCGI application at `path`, and its response to `response`. */
export function forward(request, response, path) {
  const protocol = new WebServerConnection()
  const socket = connect(path)
  const reader = new ResponseReader(response)
  let complete = false
  const send = (buffers) => {
    for (const buffer of buffers) if (socket.writable) socket.write(buffer)
    if (socket.writable && socket.writableLength > 65_536) {
      request.pause()
      socket.once('drain', () => request.resume())
    }
  }
  send([protocol.begin(ID), ...protocol.params(ID, variablesOf(request))])
  request.on('data', (chunk) => send(protocol.stdin(ID, chunk)))
  request.on('end', () => send([protocol.endStdin(ID)]))
  request.on('error', () => {})
  response.on('close', () => {
    if (complete) return
    send([protocol.abort(ID)])
    socket.destroySoon()
  })
  const pump = () => {
    for (let event = protocol.next(); event !== null; event = protocol.next()) {
      if (event.type === 'stdout') reader.add(event.data)
      else if (event.type === 'stderr') process.stderr.write(event.data)
      else if (event.type === 'end') {
        complete = true
        if (event.appStatus === 0) reader.end()
        else response.destroy()
      }
    }
    // The request body may still be read after the response.
    if (!complete) return
    socket.end()
    request.resume() // The rest of an unread body is discarded.
  }
  socket.on('data', (bytes) => {
    protocol.receive(bytes)
    pump()
    if (response.writableNeedDrain && !response.destroyed) {
      socket.pause()
      const resume = () => socket.resume()
      response.once('drain', resume)
      response.once('close', resume)
    }
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    if (!complete) response.destroy()
  })
}

/** The variables that nginx sends with its stock `fastcgi_params`, and PATH_INFO. */
function variablesOf(request) {
  const { socket, url } = request
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const pairs = [
    ['REQUEST_METHOD', request.method],
    ['SCRIPT_NAME', ''],
    ['PATH_INFO', path === '*' ? '' : decode(path.replace(/^[a-z]+:\/\/[^/]*/i, ''))],
    ['QUERY_STRING', mark < 0 ? '' : url.slice(mark + 1)],
    ['REQUEST_URI', url],
    ['SERVER_PROTOCOL', `HTTP/${request.httpVersion}`],
    ['SERVER_NAME', 'localhost'],
    ['SERVER_PORT', String(socket.localPort ?? 80)],
    ['SERVER_ADDR', socket.localAddress ?? ''],
    ['REMOTE_ADDR', socket.remoteAddress ?? ''],
    ['REMOTE_PORT', String(socket.remotePort ?? '')],
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
  ]
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i].toUpperCase().replaceAll('-', '_')
    const own = name === 'CONTENT_TYPE' || name === 'CONTENT_LENGTH'
    pairs.push([own ? name : `HTTP_${name}`, request.rawHeaders[i + 1]])
  }
  return pairs
}

function decode(path) {
  return path.replaceAll(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
}

/** Splits a CGI response into head and body. */
class ResponseReader {
  #response
  #head = Buffer.alloc(0)
  #isBody = false

  constructor(response) {
    this.#response = response
    response.sendDate = true
  }

  add(bytes) {
    if (this.#isBody) {
      this.#response.write(Buffer.from(bytes))
      return
    }
    this.#head = Buffer.concat([this.#head, bytes])
    const end = this.#head.indexOf('\r\n\r\n')
    if (end < 0) return
    this.#isBody = true
    this.#sendHead(this.#head.toString('latin1', 0, end))
    const rest = this.#head.subarray(end + 4)
    if (rest.length > 0) this.#response.write(rest)
    else this.#response.flushHeaders()
  }

  #sendHead(head) {
    const raw = []
    let status = '200 OK'
    for (const line of head.split('\r\n')) {
      const colon = line.indexOf(':')
      const name = line.slice(0, colon)
      const value = line.slice(colon + 1).trim()
      if (name === 'Status') status = value
      else raw.push(name, value)
    }
    this.#response.writeHead(Number(status.slice(0, 3)), status.slice(4), raw)
  }

  end() {
    this.#response.end()
  }
}
