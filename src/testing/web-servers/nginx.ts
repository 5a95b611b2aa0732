/** nginx with `include fastcgi_params` or `include scgi_params`, and nothing else (Debian's 1.22). */
import { basicUser, headerOf, variableOf } from './sent-request.ts'
import { decoded, normalised } from '../path.ts'
import type { SentRequest, Variables } from './sent-request.ts'

export const NGINX_SOFTWARE = 'nginx/1.22.1'

export function nginxVariables(request: SentRequest, software: string): Variables {
  const path = normalised(decoded(request.rawPath))
  const type = headerOf(request, 'content-type') ?? ''
  const { documentRoot, remoteAddr, remotePort, serverName, serverPort, serverProtocol } = request
  const own: Variables =
    request.gateway === 'scgi'
      ? [
          ['CONTENT_LENGTH', String(request.length ?? 0)],
          ['REQUEST_METHOD', request.method],
          ['REQUEST_URI', request.target],
          ['QUERY_STRING', request.query],
          ['CONTENT_TYPE', type],
          ['DOCUMENT_URI', path],
          ['DOCUMENT_ROOT', documentRoot],
          ['SCGI', '1'],
          ['SERVER_PROTOCOL', serverProtocol],
          ['REQUEST_SCHEME', 'http'],
          ['REMOTE_ADDR', remoteAddr],
          ['REMOTE_PORT', remotePort],
          ['SERVER_PORT', serverPort],
          ['SERVER_NAME', serverName],
        ]
      : [
          ['QUERY_STRING', request.query],
          ['REQUEST_METHOD', request.method],
          ['CONTENT_TYPE', type],
          ['CONTENT_LENGTH', request.length === undefined ? '' : String(request.length)],
          ['SCRIPT_NAME', path],
          ['REQUEST_URI', request.target],
          ['DOCUMENT_URI', path],
          ['DOCUMENT_ROOT', documentRoot],
          ['SERVER_PROTOCOL', serverProtocol],
          ['REQUEST_SCHEME', 'http'],
          ['GATEWAY_INTERFACE', 'CGI/1.1'],
          ['SERVER_SOFTWARE', software],
          ['REMOTE_ADDR', remoteAddr],
          ['REMOTE_PORT', remotePort],
          ['REMOTE_USER', basicUser(request) ?? ''],
          ['SERVER_ADDR', request.serverAddr],
          ['SERVER_PORT', serverPort],
          ['SERVER_NAME', serverName],
          ['REDIRECT_STATUS', '200'],
        ]
  // Debian sends $host, without the port.
  own.push(['HTTP_HOST', request.host])
  for (const [name, value] of request.headers) {
    // Names with other characters are dropped, and each repeated header is a variable of its own.
    if (/^[a-z0-9-]+$/i.test(name) && name.toLowerCase() !== 'host') {
      own.push([variableOf(name), value])
    }
  }
  return own
}
