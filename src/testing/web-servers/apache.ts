/**
 * Apache 2.4: `ProxyPass` to FastCGI (mod_proxy_fcgi) and SCGI (mod_proxy_scgi), and CGI scripts
 * (mod_cgid), each without further directives.
 */
import { ConfigurationError } from '../../errors.ts'
import { percentEncode } from '../../text.ts'
import { joined, variableOf } from './sent-request.ts'
import { decoded, normalised } from '../path.ts'
import type { SentRequest, Variables } from './sent-request.ts'

export const APACHE_SOFTWARE = 'Apache/2.4.68 (Debian)'

/** `CGIPassAuth Off`, and httpoxy (CVE-2016-5387). */
const DROPPED = new Set(['HTTP_AUTHORIZATION', 'HTTP_PROXY', 'HTTP_PROXY_AUTHORIZATION'])

/** What ap_proxy_canonenc() encodes in a path. */
const UNSAFE = /[^A-Za-z0-9~$\-_.+!*'(),;:@&=/]/g

export function apacheVariables(request: SentRequest, software: string): Variables {
  const { documentRoot, gateway, mount, rawPath } = request
  if (/%2f/i.test(rawPath)) {
    throw new ConfigurationError(
      'Apache responds to %2F in a path with 404 itself, unless AllowEncodedSlashes is set',
    )
  }
  const path = normalised(decoded(rawPath))
  const headers = joined(headerVariables(request), () => ', ')
  return [
    ...(gateway === 'scgi'
      ? ([
          ['CONTENT_LENGTH', String(request.length ?? 0)],
          ['SCGI', '1'],
        ] as Variables)
      : []),
    ...(gateway === 'scgi' ? headers.filter(([name]) => name !== 'CONTENT_LENGTH') : headers),
    ['PATH', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    ['SERVER_SIGNATURE', ''],
    ['SERVER_SOFTWARE', software],
    ['SERVER_NAME', request.host],
    ['SERVER_ADDR', request.serverAddr],
    // UseCanonicalName is off, so that both come from Host.
    ['SERVER_PORT', request.hostPort ?? '80'],
    ['REMOTE_ADDR', request.remoteAddr],
    ['DOCUMENT_ROOT', documentRoot],
    ['REQUEST_SCHEME', 'http'],
    ...context(request),
    ['REMOTE_PORT', request.remotePort],
    ...(gateway === 'scgi' ? [] : ([['GATEWAY_INTERFACE', 'CGI/1.1']] as Variables)),
    ['SERVER_PROTOCOL', request.serverProtocol],
    ['REQUEST_METHOD', request.method],
    ['QUERY_STRING', request.query],
    ['REQUEST_URI', request.target],
    ...(gateway === 'cgi'
      ? dividedPath(path, mount, documentRoot)
      : ([['SCRIPT_NAME', path]] as Variables)),
  ]
}

function headerVariables(request: SentRequest): Variables {
  const variables: Variables = []
  for (const [name, value] of request.headers) {
    if (!/^[a-z0-9-]+$/i.test(name)) continue
    const variable = variableOf(name)
    if (variable === 'HTTP_CONTENT_TYPE' || variable === 'HTTP_CONTENT_LENGTH') {
      variables.push([variable.slice('HTTP_'.length), value])
    } else if (!DROPPED.has(variable)) {
      variables.push([variable, value])
    }
  }
  return variables
}

/** Where the script is; for ProxyPass, the address of the application. */
function context({
  authority,
  documentRoot,
  gateway,
  mount,
  rawPath,
  scriptFilename,
}: SentRequest) {
  if (gateway === 'cgi') {
    const directory = mount.slice(0, mount.lastIndexOf('/') + 1)
    const file = scriptFilename ?? documentRoot + mount
    return [
      ['CONTEXT_PREFIX', directory],
      ['CONTEXT_DOCUMENT_ROOT', file.slice(0, file.lastIndexOf('/') + 1)],
      ['SERVER_ADMIN', '[no address given]'],
      ['SCRIPT_FILENAME', file],
    ] as Variables
  }
  const scheme = gateway === 'scgi' ? 'scgi' : 'fcgi'
  const path = normalised(decoded(rawPath)).slice(mount.length)
  return [
    ['CONTEXT_PREFIX', ''],
    ['CONTEXT_DOCUMENT_ROOT', documentRoot],
    ['SERVER_ADMIN', '[no address given]'],
    ['SCRIPT_FILENAME', `proxy:${scheme}://${authority}${percentEncode(path, UNSAFE)}`],
  ] as Variables
}

function dividedPath(path: string, mount: string, documentRoot: string): Variables {
  const info = path.slice(mount.length)
  const variables: Variables = [['SCRIPT_NAME', mount]]
  if (info !== '') variables.push(['PATH_INFO', info], ['PATH_TRANSLATED', documentRoot + info])
  return variables
}
