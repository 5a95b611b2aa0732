/**
 * Encodes a request as nginx sends it to an upstream server, in each protocol.
 *
 * It does not use Portico's own codec, so that a measurement does not depend on what it measures.
 * Padding and record sizes are those of nginx 1.22 (ngx_http_fastcgi_module.c).
 */
import { Buffer } from 'node:buffer'

/** nginx splits a body into records of this size. */
const RECORD_SIZE = 32_768

/** The request headers of a browser. */
const HEADERS = {
  Host: 'www.example.com',
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
  'Accept-Language': 'en-US,en;q=0.5',
  'Accept-Encoding': 'gzip, deflate, br',
}

/**
 * The bytes of a request.
 *
 * @param {'fastcgi' | 'scgi' | 'uwsgi' | 'http'} protocol
 * @param {{ path: string, size?: number, kept: boolean, headers?: number, parameters?: object }}
 *   request `size` of the body in bytes, `headers` to add to a browser's own, `parameters` to add
 *   to nginx's
 */
export function encodeRequest(protocol, request) {
  return encoders[protocol]({ size: 0, headers: 0, parameters: {}, ...request })
}

const encoders = {
  fastcgi({ kept, ...request }) {
    const pairs = Object.entries(variables(request)).map(([name, value]) =>
      Buffer.concat([length(name), length(value), Buffer.from(name + value, 'latin1')]),
    )
    const params = Buffer.concat(pairs)
    return Buffer.concat([
      record(1, Buffer.from([0, 1, kept ? 1 : 0, 0, 0, 0, 0, 0])),
      ...divide(params, 65_528).map((part) => record(4, part)),
      record(4),
      ...divide(body(request), RECORD_SIZE).map((part) => record(5, part)),
      record(5),
    ])
  },

  scgi(request) {
    const { CONTENT_LENGTH, ...rest } = variables(request)
    const pairs = Object.entries({ CONTENT_LENGTH: CONTENT_LENGTH || '0', SCGI: '1', ...rest })
    const block = pairs.map(([name, value]) => `${name}\0${value}\0`).join('')
    return Buffer.concat([Buffer.from(`${block.length}:${block},`, 'latin1'), body(request)])
  },

  uwsgi(request) {
    const block = Buffer.concat(
      Object.entries(variables(request)).flatMap(([name, value]) =>
        [name, value].flatMap((text) => [short(text.length), Buffer.from(text, 'latin1')]),
      ),
    )
    return Buffer.concat([
      Buffer.from([0]),
      short(block.length),
      Buffer.from([0]),
      block,
      body(request),
    ])
  },

  http({ kept, ...request }) {
    const { path, size } = request
    const lines = [`${size > 0 ? 'POST' : 'GET'} ${path} HTTP/1.1`]
    for (const [name, value] of fields(request)) lines.push(`${name}: ${value}`)
    if (size > 0) lines.push(`Content-Length: ${size}`)
    if (!kept) lines.push('Connection: close')
    return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body(request)])
  },
}

/** @returns {[name: string, value: string][]} */
function fields({ headers: more, size }) {
  const list = Object.entries(HEADERS)
  if (size > 0) list.push(['Content-Type', 'application/octet-stream'])
  for (let i = 0; i < more; i += 1) list.push([`X-Header-${i}`, `value-${i}`])
  return list
}

function body({ size }) {
  return Buffer.alloc(size, 'portico ')
}

function variables(request) {
  const { path, size, parameters } = request
  const result = {
    GATEWAY_INTERFACE: 'CGI/1.1',
    QUERY_STRING: '',
    REQUEST_METHOD: size > 0 ? 'POST' : 'GET',
    CONTENT_TYPE: size > 0 ? 'application/octet-stream' : '',
    CONTENT_LENGTH: size > 0 ? `${size}` : '',
    REQUEST_URI: path,
    DOCUMENT_URI: path,
    DOCUMENT_ROOT: '/var/www/html',
    SERVER_PROTOCOL: 'HTTP/1.1',
    REQUEST_SCHEME: 'http',
    REMOTE_ADDR: '192.0.2.7',
    REMOTE_PORT: '50312',
    SERVER_PORT: '80',
    SERVER_NAME: 'www.example.com',
    SERVER_ADDR: '192.0.2.1',
    SERVER_SOFTWARE: 'nginx/1.22.1',
    REDIRECT_STATUS: '200',
    SCRIPT_NAME: '',
    PATH_INFO: path,
    ...parameters,
  }
  for (const [name, value] of fields(request)) {
    result[`HTTP_${name.toUpperCase().replaceAll('-', '_')}`] = value
  }
  return result
}

/** A FastCGI record of request 1, padded to a multiple of eight bytes. */
function record(type, content = Buffer.alloc(0)) {
  const padding = -content.length & 7
  const header = Buffer.from([1, type, 0, 1, 0, 0, padding, 0])
  header.writeUInt16BE(content.length, 4)
  return Buffer.concat([header, content, Buffer.alloc(padding)])
}

function divide(bytes, size) {
  const parts = []
  for (let at = 0; at < bytes.length; at += size) parts.push(bytes.subarray(at, at + size))
  return parts
}

/** FastCGI 1.0, section 3.4. */
function length({ length: count }) {
  if (count < 0x80) return Buffer.from([count])
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(count + 0x8000_0000)
  return bytes
}

function short(number) {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(number)
  return bytes
}
