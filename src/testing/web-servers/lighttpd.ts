/**
 * lighttpd 1.4 with fastcgi.server, scgi.server or cgi.assign, and `"check-local" => "disable"`
 * where the application is not a file.
 */
import { percentEncode } from '../../text.ts'
import { joined, variableOf } from './sent-request.ts'
import { decoded, normalised } from '../path.ts'
import type { SentRequest, Variables } from './sent-request.ts'

export const LIGHTTPD_SOFTWARE = 'lighttpd/1.4.69'

/** What the normalisation of URLs (`server.http-parseopts`) encodes in a path. */
const UNSAFE = /[^A-Za-z0-9\-._~:@!$&'()*+,;=/]/g

export function lighttpdVariables(request: SentRequest, software: string): Variables {
  const { documentRoot, gateway, query, scriptFilename, target } = request
  const path = normalised(decoded(request.rawPath))
  const { script, info } = divided(path, request)
  const root = gateway === 'cgi' && scriptFilename ? directoryOf(scriptFilename) : documentRoot
  const uri = percentEncode(path, UNSAFE) + (target.includes('?') ? `?${query}` : '')
  return [
    ['CONTENT_LENGTH', String(request.length ?? 0)],
    ['QUERY_STRING', query],
    ['REQUEST_URI', target],
    ...(uri === target ? [] : ([['REDIRECT_URI', uri]] as Variables)),
    ['REDIRECT_STATUS', '200'],
    ['SCRIPT_NAME', script],
    ...(info === ''
      ? []
      : ([
          ['PATH_INFO', info],
          ['PATH_TRANSLATED', root.replace(/\/$/, '') + info],
        ] as Variables)),
    ['SCRIPT_FILENAME', gateway === 'cgi' && scriptFilename ? scriptFilename : root + script],
    ['DOCUMENT_ROOT', root],
    ['REQUEST_METHOD', request.method],
    ['SERVER_PROTOCOL', request.serverProtocol],
    ['SERVER_SOFTWARE', software],
    ['GATEWAY_INTERFACE', 'CGI/1.1'],
    ['REQUEST_SCHEME', 'http'],
    ['SERVER_PORT', request.serverPort],
    ['SERVER_ADDR', request.serverAddr],
    ['SERVER_NAME', request.host],
    ['REMOTE_ADDR', request.remoteAddr],
    ['REMOTE_PORT', request.remotePort],
    ...headerVariables(request),
    ...(gateway === 'scgi' ? ([['SCGI', '1']] as Variables) : []),
  ]
}

/**
 * A mount at '/' takes the first segment of the path for the name of a script, unless
 * `fix-root-scriptname` is set.
 */
function divided(path: string, { mount }: SentRequest): { script: string; info: string } {
  if (mount !== '') return { script: mount, info: path.slice(mount.length) }
  const end = path.indexOf('/', 1)
  return end < 0
    ? { script: path, info: '' }
    : { script: path.slice(0, end), info: path.slice(end) }
}

/** Every other character becomes '_', and a header without a value is dropped. */
function headerVariables(request: SentRequest): Variables {
  const variables: Variables = []
  for (const [name, value] of request.headers) {
    const variable = variableOf(name)
    if (value === '' || variable === 'HTTP_PROXY') continue
    if (variable === 'HTTP_CONTENT_TYPE') variables.push(['CONTENT_TYPE', value])
    else variables.push([variable, value])
  }
  return joined(variables, (name) => (name === 'HTTP_COOKIE' ? '; ' : ', '))
}

function directoryOf(file: string): string {
  return file.slice(0, file.lastIndexOf('/') + 1)
}
